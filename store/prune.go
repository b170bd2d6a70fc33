package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	bolt "go.etcd.io/bbolt"
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

// pruneParked expires what nobody decided on. It is counted: nothing goes in silence. A damaged entry stays,
// for nobody knows when it was received, and those behind it do not wait for it.
func (b *batch) pruneParked(now time.Time, keep time.Duration) (more bool) {
	if keep <= 0 {
		return false
	}
	var gone []*stored
	c := b.parked.Cursor()
	for k, frame := c.First(); k != nil; k, frame = c.Next() {
		ch, err := decodeChange(frame, b.st.epoch)
		if err != nil {
			continue
		}
		if now.Sub(ch.Received) < keep {
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

// pruneMessages forgets the message ids of days that are over, the oldest first: the ids of a day, a slice
// at a time, and at last its bucket. Dropped whole, one of many millions would have the writer free
// hundreds of thousands of pages in one transaction.
func (b *batch) pruneMessages(now time.Time) (more bool) {
	oldest := uint64(max(now.Add(-b.st.rules.MessageIDs).Unix(), 0)) / uint64(day/time.Second)
	days := b.tx.Bucket(bucketMessages)
	k, _ := days.Cursor().First()
	if k == nil || binary.BigEndian.Uint64(k) >= oldest || b.st.rules.MessageIDs <= 0 || b.err != nil {
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
	return next != nil && binary.BigEndian.Uint64(next) < oldest
}

// expiryNotice is how long before it expires a parked item is announced.
const expiryNotice = 7 * 24 * time.Hour

// Expiring is what is parked and will expire within a week, unless somebody decides.
type Expiring struct {
	Count uint64    `json:"count"`
	More  bool      `json:"more"`  // there are more: not all were looked at
	First time.Time `json:"first"` // when the first of them goes
}

// Expiring says what is going to expire, parked items being kept for so long; nil when nothing is.
func (v *View) Expiring(now time.Time, keep time.Duration) (e *Expiring, err error) {
	if keep <= 0 {
		return nil, nil
	}
	err = v.look(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketParked).Cursor()
		k, frame := c.First()
		for n, size := 0, 0; k != nil; k, frame = c.Next() {
			ch, err := peekChange(frame, v.inbox.epoch)
			if n, size = n+1, size+len(frame); err != nil {
				continue
			}
			goes := ch.Received.Add(keep)
			if goes.Sub(now) > expiryNotice {
				return nil
			}
			if e == nil {
				e = &Expiring{First: goes}
			}
			if e.More = n > pageScan || size > pageBytes; e.More {
				return nil
			}
			e.Count++
		}
		return nil
	})
	return e, err
}
