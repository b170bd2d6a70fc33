package writer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// carryOver is what an earlier run, or a transaction that failed, left for the next transaction.
type carryOver struct {
	arrival      *state.Arrival // still to be noted; nil: nothing is
	epochPending atomic.Bool    // the epoch that arrival begins is not on disk yet
	interrupted  bool           // leases that the last process left are still to be settled
	orphaned     []uint64       // leases that no sender was given: they are still to be released

	unread    bool   // a transaction failed, and the state was not read back since: see readBack
	lastLease uint64 // before that transaction
}

func (c *carryOver) any() bool { return c.interrupted || c.arrival != nil || len(c.orphaned) > 0 }

// settled is called after a commit.
func (c *carryOver) settled() {
	c.interrupted, c.arrival, c.orphaned = false, nil, nil
	c.epochPending.Store(false)
}

// Arrive has the next transaction note where the state runs, and the epoch that begins with it. It is called before
// Recover.
func (w *Writer) Arrive(a *state.Arrival) { w.carry.arrival = a }

// EpochPending reports whether the epoch of the changes that new records make is not on disk yet. Until it is, no
// record is taken: a crash would leave its change to the epoch before.
func (w *Writer) EpochPending() bool { return w.carry.epochPending.Load() }

// Recover settles the leases that the last process left, and writes the epoch that this one begins. Without either
// it writes nothing. It is called once, before Run. On a full disk the writer does it later, because a start needs
// no room.
func (w *Writer) Recover() error {
	begins := w.carry.arrival != nil && w.carry.arrival.Epoch != 0
	w.carry.epochPending.Store(begins)
	if w.carry.interrupted = len(w.state.Leases)+len(w.state.CorruptLeases) > 0; !w.carry.interrupted && !begins {
		return nil
	}
	err := w.Write(false)
	if errors.Is(err, domain.ErrFull) {
		w.log.Error("the disk is full: requests that the last stop cut off are settled, and events taken, once there is room", "err", err)
		return nil
	}
	return err
}

// settleCarried releases orphaned leases, and settles those that were under way when the last process ended.
func (w *Writer) settleCarried(tx *state.Tx) {
	if w.carry.arrival != nil {
		state.MoveIn(tx, w.carry.arrival)
	}
	for _, n := range w.carry.orphaned {
		outbox.Settle(tx, domain.Settlement{Lease: n, At: time.Now(), NotSent: true})
	}
	if !w.carry.interrupted {
		return
	}
	for _, f := range slices.Sorted(maps.Keys(w.state.Leases)) {
		outbox.Interrupt(tx, f, time.Now())
	}
	for _, n := range w.state.CorruptLeases {
		key := state.NumberKey(n)
		tx.Quarantine(state.BucketLeases, key, tx.Bucket(state.BucketLeases).Get(key), wire.ErrDamaged)
	}
}

// readBack reads the state from the file after a transaction that failed. Until it succeeds there is no other
// transaction: what the failed one left in memory would be written by the next.
func (w *Writer) readBack() error {
	if !w.carry.unread {
		return nil
	}
	err := w.db.View(func(tx engine.Tx) error {
		st, err := state.LoadCounted(tx)
		if err == nil {
			w.state = st
		}
		return err
	})
	if err != nil {
		w.damage.Note(err)
		w.log.Error("the state could not be read back after a transaction that failed; trying again", "err", err)
		return fmt.Errorf("read the state back after a transaction that failed: %w", err)
	}
	w.carry.unread = false
	w.noteOrphaned()
	return nil
}

// noteOrphaned notes the leases of a transaction that failed at its very end, and is in the file all the same. The
// senders that asked for them were told that there are none.
func (w *Writer) noteOrphaned() {
	for n := range w.state.Leases {
		if n > w.carry.lastLease {
			w.carry.orphaned = append(w.carry.orphaned, n)
		}
	}
}
