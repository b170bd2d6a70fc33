package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/datadir"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Retry has parked changes wait again, as if they had never been tried, and returns once that is done.
// Whatever is not parked by then is left alone, and so is an event that could not be used.
func (s *Store) Retry(ctx context.Context, now time.Time, ids []domain.ID) error {
	return s.handle(ctx, record.Action{Received: now, Verb: record.ActionRetry, IDs: ids})
}

// Drop throws away changes that wait, are held or parked, and events that could not be used, and
// returns once that is done. Memberships, and what MoEngage was last told, stay. What is in a request
// under way, or closed, is left alone.
func (s *Store) Drop(ctx context.Context, now time.Time, ids []domain.ID) error {
	return s.handle(ctx, record.Action{Received: now, Verb: record.ActionDrop, IDs: ids})
}

func (s *Store) handle(ctx context.Context, h record.Action) error {
	switch {
	case len(h.IDs) == 0:
		return nil
	case len(h.IDs) > record.MaxActionIDs:
		return fmt.Errorf("%d changes are too many at once", len(h.IDs))
	}
	most := 0
	if err := s.read(func(tx *state.Tx) error { most = outbox.PerRecord(tx.State.Registry, record.MaxActionIDs); return nil }); err != nil {
		return err
	}
	var frames [][]byte
	for part := range slices.Chunk(h.IDs, most) {
		frames = append(frames, (&record.Action{Received: h.Received, Verb: h.Verb, IDs: part}).Encode(nil))
	}
	if err := datadir.Translate(s.inbox.AppendOther(ctx, frames...)); err != nil {
		return s.cutShort(orderAbsent, err)
	}
	return s.carriedOut(ctx)
}
