package store

import (
	"context"
	"io"

	"personasync/store/internal/snapshot"
)

// Backup writes a backup of the store as it is now, while everything goes on. Until state.db is copied,
// pages freed meanwhile are not used again, so that it grows by what is written; when that uses up the
// room for events, the backup gives up. w must not dawdle. progress may be nil; it counts bytes.
func (s *Store) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (r snapshot.BackupReport, err error) {
	if err := s.beginUpkeep(); err != nil {
		return r, err
	}
	defer s.upkeep.Unlock()
	s.tail.Store(true)
	defer s.tail.Store(false)
	ctx, cancel := s.lifelong(ctx)
	defer cancel()
	halt, grew := s.longRead()
	r, err = snapshot.Backup(ctx, s.r, s.db, w, progress, halt)
	r.Grew = grew()
	return r, err
}
