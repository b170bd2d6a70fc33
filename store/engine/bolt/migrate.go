package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
)

// Migrations are the steps to newer formats, the first from format 1 to format 2. A step may assume the format before. An
// upgrade that changes the format of state.db raises datadir.Format by one and adds a step. The files of the inbox are not
// migrated: a record has a version of its own, and a new program reads all of them.
var Migrations = []Migration{
	toFormat2,
}

// toFormat2 changes nothing, because format 1 is read as it is. A program of format 1 would park new records of the inbox as
// corrupt, and quarantine rows, because it does not know their versions.
func toFormat2(engine.Tx) error { return nil }

// Migration changes a state within a transaction.
type Migration func(tx engine.Tx) error

// errOlder means that the state has an older format. Only an agent's start migrates it.
var errOlder = errors.New("the data was written by an older version")

// Migrate runs the missing steps in one transaction, so the state always has one format, the old or the new. Before that it
// copies the file to before-format-N.db, for a return to the old version. It refuses with datadir.ErrNoRoom before it writes
// anything if the disk has no room. A state of a newer format is left alone; Epoch refuses it.
func (s *State) Migrate(steps []Migration, log *slog.Logger) error {
	format, err := s.Format()
	latest := uint32(len(steps)) + 1
	if err != nil || format >= latest {
		return err
	}
	if format == 0 {
		return fmt.Errorf("%s has format 0, which never was", filepath.Base(s.Path()))
	}
	if err := s.roomToMigrate(); err != nil {
		return err
	}
	backup := filepath.Join(filepath.Dir(s.Path()), fmt.Sprintf("before-format-%d.db", latest))
	if err := s.copyFile(backup); err != nil {
		return datadir.Roomless(fmt.Errorf("copy the state before its migration: %w", err))
	}
	crashpoint.Reach(crashpoint.MigrationCopied)
	log.Info("migrating the data", "from_format", format, "to_format", latest, "backup", backup)
	err = s.Update(func(tx engine.Tx) error {
		for i, step := range steps[format-1:] {
			if err := step(tx); err != nil {
				return fmt.Errorf("to format %d: %w", int(format)+i+1, err)
			}
		}
		if err := tx.Bucket(boltfile.BucketMeta).Put(boltfile.MetaFormat, binary.BigEndian.AppendUint32(nil, latest)); err != nil {
			return err
		}
		crashpoint.Reach(crashpoint.MigrationWritten)
		return nil
	})
	if err != nil {
		return datadir.Roomless(fmt.Errorf("migrate the data, which stays as it was: %w", err))
	}
	log.Info("the data is migrated; remove the backup when you are content", "format", latest, "backup", backup)
	return nil
}

// roomToMigrate returns datadir.ErrNoRoom unless the disk has room for the copy, and as much again for the pages that a
// step writes.
func (s *State) roomToMigrate() error {
	info, err := os.Stat(s.Path())
	if err != nil {
		return err
	}
	free, _, err := datadir.FreeBytes(filepath.Dir(s.Path()))
	if err != nil {
		return err
	}
	if need := 2 * boltfile.OnDisk(info); free < need {
		return fmt.Errorf("%w: this version brings the data up to date and keeps a copy of it, which takes %s, and %s are free: make room, or install the version before",
			datadir.ErrNoRoom, domain.Bytes(need), domain.Bytes(free))
	}
	return nil
}

// CheckMigrated returns errOlder unless the state has the current format or a newer one.
func (s *State) CheckMigrated() error {
	format, err := s.Format()
	if err == nil && format < datadir.Format {
		return fmt.Errorf("%w, in format %d: start the agent once, which brings it to format %d", errOlder, format, datadir.Format)
	}
	return err
}

// copyFile makes a copy of the file at path. After an error there is none.
func (s *State) copyFile(path string) error {
	temporary := path + ".new"
	err := s.view(func(tx *bbolt.Tx) error { return tx.CopyFile(temporary, 0o600) })
	if err == nil {
		err = syncFile(temporary)
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err == nil {
		return boltfile.SyncDir(filepath.Dir(path))
	}
	os.Remove(temporary)
	return datadir.Translate(err)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Format reads the format of the file. It returns boltfile.ErrForeign if the file is not one of ours.
func (s *State) Format() (format uint32, err error) {
	err = s.View(func(tx engine.Tx) error {
		meta := tx.Bucket(boltfile.BucketMeta)
		if meta == nil || len(meta.Get(boltfile.MetaFormat)) != 4 {
			return boltfile.NotOurs(s.Path())
		}
		format = binary.BigEndian.Uint32(meta.Get(boltfile.MetaFormat))
		return nil
	})
	return format, err
}
