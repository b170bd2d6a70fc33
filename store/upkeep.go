package store

import (
	"context"
	"errors"
	"path/filepath"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
)

// Upkeep is what is done about the data as a whole: a compaction, a backup, a check, an erasure. One of them at
// a time, and none outlives the store.

// ErrUnderway says that the store is being compacted, backed up or checked already.
var ErrUnderway = errors.New("a compaction, a backup or a check is under way already: try again when it is done")

// beginUpkeep takes the upkeep lock, if it is free and the store is open.
func (s *Store) beginUpkeep() error {
	if !s.upkeep.TryLock() {
		return ErrUnderway
	}
	if s.life.Err() != nil {
		s.upkeep.Unlock()
		return domain.ErrClosed
	}
	return nil
}

// lifelong ends ctx with the store.
func (s *Store) lifelong(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.life, func() { cancel(domain.ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// longRead bounds a reader of all there is at one moment: pages that are freed meanwhile are not used again,
// so that state.db grows by what is written. halt says when that uses up the room for events; grew, by how
// much the file did.
func (s *Store) longRead() (halt func() error, grew func() int64) {
	path, had := filepath.Join(s.dir, datadir.StateFile), s.Full() == nil
	before := boltfile.OnDiskAt(path)
	return func() error {
		if full := s.Full(); had && full != nil {
			return full
		}
		return nil
	}, func() int64 { return boltfile.OnDiskAt(path) - before }
}
