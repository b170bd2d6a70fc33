package store

import (
	"bytes"
	"context"
	"time"
)

// pruneSlice bounds what one call of Prune removes, so that outcomes never wait long behind it.
const pruneSlice = 5000

// Prune removes what its retention no longer covers, a bounded slice at a time; more says that
// another call would find work.
func (s *Store) Prune(ctx context.Context, now time.Time) (more bool, err error) {
	applied, keep := uint64(0), s.retention.Load()
	err = s.run(ctx, func(b *batch) error {
		b.now = now
		more = b.pruneHistory(now, keep.Delivered) || more
		more = b.pruneParked(now, keep.Parked) || more
		more = b.pruneMessages(now) || more
		b.pruneVerdicts(s.inbox.First())
		return b.err
	}, func(b *batch) { applied = b.st.applied })
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

// pruneHistory deletes what was closed long enough ago: a prefix, for the history is in that order. What
// was closed under a clock that has been set back since would stand in the way until the clock is there
// again, so it counts as closed now.
func (b *batch) pruneHistory(now time.Time, keep time.Duration) (more bool) {
	if keep <= 0 {
		return false
	}
	type entry struct {
		number uint64
		change *stored // nil: damaged
	}
	var gone, ahead []entry
	c := b.history.Cursor()
	for k, frame := c.First(); k != nil; k, frame = c.Next() {
		ch, err := decodeChange(frame, b.st.epochs)
		if err != nil {
			b.log.Error("a damaged entry of the history was removed", "err", err)
			ch = nil
		} else if age := now.Sub(ch.Closed); age < keep && age >= -aheadOfClock {
			break
		}
		if more = len(gone)+len(ahead) == pruneSlice; more {
			break
		}
		if ch != nil && ch.Closed.After(now) {
			ahead = append(ahead, entry{number(k), ch})
		} else {
			gone = append(gone, entry{number(k), ch})
		}
	}
	for _, e := range ahead {
		e.change.Closed = now
		b.put(b.history, numberKey(e.number), b.frame(e.change.encode))
	}
	for _, e := range gone {
		b.remove(b.history, numberKey(e.number))
		if e.change != nil {
			b.endChain(e.number, e.change)
		}
	}
	return more
}

// endChain lets go of what points to a removed entry of the history.
func (b *batch) endChain(n uint64, ch *stored) {
	b.remove(b.locator, idKey(ch.ID))
	if u := b.user(ch.User); u.head.history == n {
		u.head.history = 0
		u.dirty = true
	}
}

// pruneMessages forgets the message ids of days that are over, the oldest first: the ids of a day, a slice
// at a time, and at last its bucket. Dropped whole, one of many millions would have the writer free
// hundreds of thousands of pages in one transaction.
func (b *batch) pruneMessages(now time.Time) (more bool) {
	oldest := dayKey(now.Add(-b.st.rules.MessageIDs))
	days := b.tx.Bucket(bucketMessages)
	k, _ := days.Cursor().First()
	if k == nil || bytes.Compare(k, oldest) >= 0 || b.st.rules.MessageIDs <= 0 || b.err != nil {
		return false
	}
	over := bytes.Clone(k)
	ids := days.Bucket(over)
	var gone [][]byte
	c := ids.Cursor()
	for id, _ := c.First(); id != nil && len(gone) < pruneSlice; id, _ = c.Next() {
		gone = append(gone, bytes.Clone(id))
	}
	for _, id := range gone {
		b.remove(ids, id)
	}
	if len(gone) == pruneSlice || b.err != nil {
		return true
	}
	b.noteDrop(bucketMessages, over)
	b.err = days.DeleteBucket(over)
	next, _ := days.Cursor().First()
	return next != nil && bytes.Compare(next, oldest) < 0
}
