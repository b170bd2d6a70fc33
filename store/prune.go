package store

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"personasync/store/engine"
	"personasync/store/internal/apply"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// prune is Store.Prune.
func (u *upkeep) prune(ctx context.Context, now time.Time) (more bool, err error) {
	applied, keep := uint64(0), u.retention.Load()
	err = u.writer.Do(ctx, func(tx *state.Tx) error {
		tx.Now = now
		more = apply.PruneHistory(tx, now, keep.Delivered) || more
		more = outbox.PruneParked(tx, now, keep.Parked) || more
		more = apply.PruneMessages(tx, now) || more
		state.PruneVerdicts(tx, u.inbox.First())
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
	if u.pinned.Load() { // only now: what was applied later, a backup that began meanwhile has in its state
		return more, nil
	}
	return more, u.inbox.Trim(applied, now, keep.ReceivedFor, keep.ReceivedBytes)
}

// An exit is remembered: it fences off older news, and a reconcile tells it again. Where it need not be
// remembered for ever (retention.ex_members), it goes once it is old and MoEngage knows it, or never
// needed to.
//
// No index leads to the exits that are due: it would be as large as the memberships, and dirty a page of
// its own for each. So the rows are walked, once a day, some of them every minute. A walk that begins
// anywhere serves all of them, however often the agent is started again.
type exitWalk struct {
	mu   sync.Mutex
	last time.Time // when the minute under way began
	left uint64    // slices to walk in it
	from []byte    // row to go on with
	met  uint64    // exits forgotten since the walk passed its end
}

const minutesADay = 24 * 60

// forgetExits walks a slice of the rows, if it is time; more says that this minute's share is not done.
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

// beginMinute works out how much of a day's walk a minute takes.
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
