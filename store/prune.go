package store

import (
	"context"
	"time"

	"personasync/store/internal/apply"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// Prune removes what its retention no longer covers, a bounded slice at a time; more says that
// another call would find work.
func (s *Store) Prune(ctx context.Context, now time.Time) (more bool, err error) {
	applied, keep := uint64(0), s.retention.Load()
	err = s.writer.Do(ctx, func(tx *state.Tx) error {
		tx.Now = now
		more = apply.PruneHistory(tx, now, keep.Delivered) || more
		more = outbox.PruneParked(tx, now, keep.Parked) || more
		more = apply.PruneMessages(tx, now) || more
		state.PruneVerdicts(tx, s.inbox.First())
		return tx.Err
	}, func(tx *state.Tx) { applied = tx.State.Applied })
	if err != nil {
		return false, err
	}
	walking, err := s.forgetExits(ctx, now, keep.ExMembers)
	if err != nil {
		return false, err
	}
	more = more || walking
	if s.tail.Load() { // only now: what was applied later, a backup that began meanwhile has in its state
		return more, nil
	}
	return more, s.inbox.Trim(applied, now, keep.ReceivedFor, keep.ReceivedBytes)
}
