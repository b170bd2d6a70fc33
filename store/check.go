package store

import (
	"context"

	"personasync/store/internal/repair"
)

// Check checks a store that is at work, all but bbolt's page links, at one moment: like a backup it is a
// long reader, and gives up when what is written meanwhile uses up the room for events.
func (s *Store) Check(ctx context.Context, progress func(done, total int64)) (*repair.CheckReport, error) {
	if err := s.beginUpkeep(); err != nil {
		return nil, err
	}
	defer s.upkeep.Unlock()
	ctx, cancel := s.lifelong(ctx)
	defer cancel()
	halt, grew := s.longRead()
	r, err := repair.CheckLive(ctx, s.r, s.db, progress, halt)
	if err == nil {
		r.Grew = grew()
	}
	return r, err
}
