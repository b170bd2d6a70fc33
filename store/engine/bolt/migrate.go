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

// An upgrade that changes how things are kept raises Format by one and adds the step that leads there.
// The files of the inbox are not migrated: records bear versions of their own, and a new program reads
// all of them.

// Migrations lead on, the first from format 1 to format 2. Each changes a state.db within the
// transaction that it is given, and may assume that of the format before.
var Migrations = []Migration{
	toFormat2,
}

// toFormat2 changes nothing: what is there is read as it stands. A program of format 1 would park new records
// of the inbox as corrupt, and set rows aside as damaged, because their versions are higher than it knows.
func toFormat2(engine.Tx) error { return nil }

type Migration func(tx engine.Tx) error

// ErrOlder says that the state is of a format that only an agent's start brings up to date.
var ErrOlder = errors.New("the data was written by an older version")

// Migrate brings the state up to date: all steps in one transaction, so that whatever happens it
// is of one format, the old or the new. Before that it copies the file, for whoever must go back.
func (s *State) Migrate(steps []Migration, log *slog.Logger) error {
	format, err := s.Format()
	latest := uint32(len(steps)) + 1
	if err != nil || format >= latest {
		return err // a newer one is for the caller to refuse
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

// roomToMigrate refuses before gigabytes are written what would not fit: the copy, and as much again for
// what a step writes anew.
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

// CheckMigrated refuses a state that must not be read as if it were of today's format, with ErrOlder.
func (s *State) CheckMigrated() error {
	format, err := s.Format()
	if err == nil && format < datadir.Format {
		return fmt.Errorf("%w, in format %d: start the agent once, which brings it to format %d", ErrOlder, format, datadir.Format)
	}
	return err
}

// copyFile puts a copy of db at path, whole and on disk, or nothing.
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

// Format reads the format of the file, and answers boltfile.ErrForeign if it is not one of ours.
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
