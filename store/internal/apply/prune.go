package apply

import (
	"bytes"
	"time"

	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// PruneHistory deletes closed changes after their retention. The history is sorted by closing, so they are a prefix.
// One that was closed while the clock was ahead would block those behind it, so it counts as closed now.
func PruneHistory(tx *state.Tx, now time.Time, keep time.Duration) (more bool) {
	if keep <= 0 {
		return false
	}
	type entry struct {
		number uint64
		change *state.Stored // nil: corrupt
	}
	var gone, ahead []entry
	c := tx.History.Cursor()
	for k, frame := c.First(); k != nil; k, frame = c.Next() {
		ch, err := state.DecodeChange(frame, tx.State.Epochs)
		if err != nil {
			tx.Log.Error("a corrupt entry of the history was removed", "err", err)
			ch = nil
		} else if age := now.Sub(ch.Closed); age < keep && age >= -outbox.AheadOfClock {
			break
		}
		if more = len(gone)+len(ahead) == state.PruneSlice; more {
			break
		}
		if ch != nil && ch.Closed.After(now) {
			ahead = append(ahead, entry{state.Number(k), ch})
		} else {
			gone = append(gone, entry{state.Number(k), ch})
		}
	}
	for _, e := range ahead {
		e.change.Closed = now
		tx.Put(tx.History, state.NumberKey(e.number), tx.Frame(e.change.Encode))
	}
	tx.WantUsers(func(yield func(string) bool) {
		for _, e := range gone {
			if e.change != nil && !yield(e.change.User) {
				return
			}
		}
	})
	for _, e := range gone {
		tx.Remove(tx.History, state.NumberKey(e.number))
		if e.change != nil {
			endChain(tx, e.number, e.change)
		}
	}
	return more
}

// endChain removes what points to a deleted entry of the history.
func endChain(tx *state.Tx, n uint64, ch *state.Stored) {
	tx.Remove(tx.Locator, state.IDKey(ch.ID))
	if u := tx.User(ch.User); u.Index.History == n {
		u.Index.History = 0
		u.Dirty = true
	}
}

// PruneMessages deletes the message ids of expired days, the oldest first: a slice of ids at a time, and at last the
// bucket. Dropping a bucket of many millions would free hundreds of thousands of pages in one transaction.
func PruneMessages(tx *state.Tx, now time.Time) (more bool) {
	oldest := DayKey(now.Add(-tx.State.Rules.MessageIDs))
	days := tx.Bucket(state.BucketMessages)
	k, _ := days.Cursor().First()
	if k == nil || bytes.Compare(k, oldest) >= 0 || tx.State.Rules.MessageIDs <= 0 || tx.Err != nil {
		return false
	}
	over := bytes.Clone(k)
	ids := days.Inner(over)
	var gone [][]byte
	c := ids.Cursor()
	for id, _ := c.First(); id != nil && len(gone) < state.PruneSlice; id, _ = c.Next() {
		gone = append(gone, bytes.Clone(id))
	}
	for _, id := range gone {
		tx.Remove(ids, id)
	}
	if len(gone) == state.PruneSlice || tx.Err != nil {
		return true
	}
	tx.Err = days.DropInner(over)
	next, _ := days.Cursor().First()
	return next != nil && bytes.Compare(next, oldest) < 0
}
