package recovery

import (
	"os"
	"path/filepath"

	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/datadir"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
)

// removeLeftovers removes what a crash left half done. The directory is locked, so that no other process works on it.
func (s *Start) removeLeftovers() {
	os.Remove(filepath.Join(s.dir, datadir.CompactFile))
	os.Remove(filepath.Join(s.dir, boltfile.NewPath(datadir.StateFile)))
	wal.RemoveHalfWritten(s.dir)
	os.RemoveAll(filepath.Join(s.dir, datadir.RestoreDir))
	if aside, _ := boltfile.Named(s.dir, datadir.ReplacedPattern); len(aside) > 0 {
		s.log.Warn("an interrupted restore left the files it replaced: remove them when you are content", "dirs", aside)
		s.finishRestore(aside[len(aside)-1])
	}
}

// finishRestore moves the inbox of the replaced store aside, which an interrupted restore left in place. The inbox of the
// same store may stay: its numbers lie below those that come.
func (s *Start) finishRestore(aside string) {
	epoch, _ := s.stateMeta()
	inboxes, _, _ := wal.Files(s.dir)
	for _, path := range inboxes {
		if its := segmentEpoch(path); epoch == 0 || its == 0 || its == epoch {
			continue
		}
		if err := os.Rename(path, filepath.Join(aside, filepath.Base(path))); err != nil {
			s.log.Error("the inbox of the store that was replaced could not be moved aside", "file", filepath.Base(path), "err", err)
		}
	}
}

// segmentEpoch reads which store an inbox file belongs to; 0 if it cannot be read.
func segmentEpoch(path string) (epoch uint32) {
	if boltpage.Glance(path) != nil {
		return 0
	}
	x, _ := wal.ReadExtent(path)
	return x.Epoch
}

// stateMeta reads the epoch of the state, and the number of the last record applied; zeros if they cannot be read.
func (s *Start) stateMeta() (epoch uint32, applied uint64) {
	path := filepath.Join(s.dir, datadir.StateFile)
	if boltpage.Glance(path) != nil {
		return 0, 0
	}
	db, err := bolt.Open(path, 0, true)
	if err != nil {
		return 0, 0
	}
	defer db.Close()
	err = boltfile.Guard(func() (err error) {
		if epoch, err = db.Epoch(); err != nil {
			return err
		}
		return db.View(func(tx engine.Tx) error {
			applied = state.Number(tx.Bucket(state.BucketMeta).Get(state.MetaApplied))
			return nil
		})
	})
	if err != nil {
		return 0, 0
	}
	return epoch, applied
}
