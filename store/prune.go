package store

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"personasync/store/engine"
	"personasync/store/internal/apply"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// Prune removes what its retention no longer covers, a bounded slice at a time. more says that another call would find
// work.
func (s *Store) Prune(ctx context.Context, now time.Time) (more bool, err error) {
	return s.upkeep.prune(ctx, now)
}

// prune is Store.Prune.
func (u *upkeep) prune(ctx context.Context, now time.Time) (more bool, err error) {
	applied, keep := uint64(0), u.retention.Load()
	err = u.writer.Do(ctx, func(tx *state.Tx) error {
		tx.Now = now
		more = apply.PruneHistory(tx, now, keep.Delivered) || more
		more = outbox.PruneParked(tx, now, keep.Parked) || more
		more = apply.PruneMessages(tx, now) || more
		more = apply.PruneJournal(tx, now, keep.Journal, keep.JournalBytes) || more
		state.PruneVerdicts(tx, u.records.First())
		return tx.Err
	}, func(tx *state.Tx) { applied = tx.State.Applied })
	if err != nil {
		return false, err
	}
	walking, err := u.forgetExits(ctx, now, keep.ExMembers)
	if err != nil {
		return false, err
	}
	more = more || walking
	if u.pinned.Load() { // asked only now: a backup that begins later has in its state all that is applied by now
		return more, nil
	}
	return more, u.records.Trim(applied, now, keep.ReceivedFor, keep.ReceivedBytes)
}

// exitWalk forgets exits past their retention. An exit is remembered because it fences off older events, and because a
// reconcile sends it again. Where retention.ex_members bounds that, it is forgotten once it is old, and MoEngage has it or
// never needed it.
//
// No index leads to the exits that are due: it would be as large as the memberships, and each entry would dirty a page of
// its own. So all rows are walked once a day, some of them every minute. A walk may begin anywhere, so that a restart does
// not matter. It is memory of the process.
type exitWalk struct {
	mu   sync.Mutex
	last time.Time // when the minute under way began
	left uint64    // slices to walk in it
	from []byte    // row to go on with
	met  uint64    // exits forgotten since the walk last passed the end of the rows
}

const minutesADay = 24 * 60

// forgetExits walks a slice of the rows, if one is due. more says that this minute's share is not done.
func (u *upkeep) forgetExits(ctx context.Context, now time.Time, keep time.Duration) (more bool, err error) {
	w := &u.exits
	w.mu.Lock()
	defer w.mu.Unlock()
	if keep <= 0 || w.left == 0 && now.Sub(w.last).Abs() < time.Minute {
		return false, nil
	}
	if w.left == 0 {
		if err := u.beginMinute(now); err != nil {
			return false, err
		}
	}
	w.left--
	before := now.Add(-keep).UnixNano()
	users, next, err := u.r.ExMembers(w.from, before)
	if err == nil && len(users) > 0 {
		err = u.writer.Do(ctx, func(tx *state.Tx) error {
			tx.WantUsers(slices.Values(users))
			for _, id := range users {
				w.met += apply.ForgetExitsOf(tx, tx.User(id), before)
			}
			return nil
		}, nil)
	}
	if err != nil {
		return false, err
	}
	if w.from = next; next == nil && w.met > 0 {
		u.log.Info("exits past their retention were forgotten", "exits", w.met)
		w.met = 0
	}
	return w.left > 0, nil
}

// beginMinute computes how many slices a minute takes, so that a day walks all rows.
func (u *upkeep) beginMinute(now time.Time) error {
	w := &u.exits
	if w.last.IsZero() {
		w.from = []byte{byte(rand.IntN(state.Partitions))}
	}
	return u.r.Look(func(tx engine.Tx) error {
		l, err := state.DecodeLedger(tx.Bucket(state.BucketMeta).Get(state.MetaLedger))
		if err == nil {
			w.last, w.left = now, 1+l.Users/(state.PageScan*minutesADay)
		}
		return err
	})
}
