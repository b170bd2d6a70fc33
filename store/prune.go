package store

import (
	"bytes"
	"context"
	"encoding/binary"
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
		b.pruneMessages(now)
		return b.err
	}, func(b *batch) { applied = b.st.applied })
	if err != nil {
		return false, err
	}
	return more, s.inbox.trim(applied, now, keep.ReceivedFor, keep.ReceivedBytes)
}

// pruneHistory deletes what was closed long enough ago: a prefix, for the history is in that order.
func (b *batch) pruneHistory(now time.Time, keep time.Duration) (more bool) {
	if keep <= 0 {
		return false
	}
	type entry struct {
		number uint64
		change *stored // nil: damaged
	}
	var gone []entry
	c := b.history.Cursor()
	for k, frame := c.First(); k != nil; k, frame = c.Next() {
		ch, err := decodeChange(frame, b.st.epoch)
		if err != nil {
			b.log.Error("a damaged entry of the history was removed", "err", err)
			ch = nil
		} else if now.Sub(ch.Closed) < keep {
			break
		}
		if more = len(gone) == pruneSlice; more {
			break
		}
		gone = append(gone, entry{number(k), ch})
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

// pruneParked expires what nobody decided on. It is counted: nothing goes in silence.
func (b *batch) pruneParked(now time.Time, keep time.Duration) (more bool) {
	if keep <= 0 {
		return false
	}
	var gone []*stored
	c := b.parked.Cursor()
	for k, frame := c.First(); k != nil; k, frame = c.Next() {
		ch, err := decodeChange(frame, b.st.epoch)
		if err != nil || now.Sub(ch.Received) < keep {
			break
		}
		if more = len(gone) == pruneSlice; more {
			break
		}
		gone = append(gone, ch)
	}
	for _, ch := range gone {
		b.expire(ch, now)
	}
	if len(gone) > 0 {
		b.log.Warn("parked items expired", "count", len(gone))
	}
	return more
}

func (b *batch) expire(ch *stored, now time.Time) {
	b.withdraw(ch)
	if ch.User != "" && len(ch.User) <= MaxUserID {
		b.remove(b.queue, queueKey(userKey(ch.User), laneParked, ch.ID))
	}
	if ch.Kind == KindReceived {
		b.st.ledger.events.Discarded++
		return
	}
	u := b.user(ch.User)
	if e := b.entry(u, ch.field); e.waiting.id == ch.ID {
		e.waiting = ticket{}
		b.write(u, ch.field)
	}
	b.close(u, ch, StateExpired, now)
}

// pruneMessages forgets the message ids of days that are over, one day's bucket at a time.
func (b *batch) pruneMessages(now time.Time) {
	oldest := uint64(max(now.Add(-b.st.rules.MessageIDs).Unix(), 0)) / uint64(day/time.Second)
	days := b.tx.Bucket(bucketMessages)
	k, _ := days.Cursor().First()
	if k == nil || binary.BigEndian.Uint64(k) >= oldest || b.st.rules.MessageIDs <= 0 {
		return
	}
	if b.err == nil {
		b.err = days.DeleteBucket(bytes.Clone(k))
	}
}
