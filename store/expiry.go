package store

import (
	"encoding/json"
	"time"
)

// What is parked is somebody's to decide on, so it does not expire unannounced: that it will is said a
// week ahead, and what has not been said does not happen. The announcements are kept, so that neither a
// restart nor an agent that was down for a month shortens the week. Nor does a clock that jumps ahead:
// what it makes look old is announced first, and that is taken back once the clock is.

// notice is one announcement: of what was received by upTo, at the moment said.
type notice struct {
	Said time.Time `json:"said"`
	UpTo time.Time `json:"up_to"`
}

// noticeLead is how long before it expires an item is announced; a day's items at a time.
const (
	noticeLead  = 7 * day
	noticeShare = 7
)

var metaNotices = []byte("notices")

// pruneParked expires what nobody decided on, and announces what is next. It is counted: nothing goes
// in silence.
func (b *batch) pruneParked(now time.Time, keep time.Duration) (more bool) {
	if keep <= 0 {
		return false
	}
	lead := min(noticeLead, keep)
	upTo := b.announce(now, keep, lead)
	var gone []*stored
	c := b.parked.Cursor()
	for k, frame := c.First(); k != nil; k, frame = c.Next() {
		ch, err := decodeChange(frame, b.st.epoch)
		if err != nil || now.Sub(ch.Received) < keep || ch.Received.After(upTo) {
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

// announce says what is about to expire, once a day, and returns up to which receipt that was said long
// enough ago.
func (b *batch) announce(now time.Time, keep, lead time.Duration) (upTo time.Time) {
	if k, _ := b.parked.Cursor().First(); k == nil {
		return upTo
	}
	var list []notice
	meta := b.tx.Bucket(bucketMeta)
	if json.Unmarshal(meta.Get(metaNotices), &list) != nil {
		list = nil // none yet
	}
	var kept []notice
	for _, n := range list {
		switch {
		case n.Said.After(now.Add(aheadOfClock)): // by a clock that has been set back since
		case now.Sub(n.Said) >= lead:
			upTo, kept = n.UpTo, []notice{n}
		default:
			kept = append(kept, n)
		}
	}
	next := notice{Said: now.UTC().Round(0), UpTo: now.Add(lead - keep).UTC().Round(0)}
	var last time.Time
	if len(kept) > 0 {
		last = kept[len(kept)-1].UpTo
	}
	if !next.UpTo.After(last) {
		return upTo
	}
	next.UpTo = next.UpTo.Add(lead / noticeShare) // what is that old within a day
	if n := b.parkedBetween(last, next.UpTo); n > 0 {
		b.log.Warn("parked items will expire: retry them, drop them, or raise retention.parked", "count", n, "not_before", now.Add(lead))
	}
	text, err := json.Marshal(append(kept, next))
	if err != nil {
		b.err = err
		return upTo
	}
	b.put(meta, metaNotices, text)
	return upTo
}

// parkedBetween counts the parked items received after one moment and up to another.
func (b *batch) parkedBetween(after, upTo time.Time) (n int) {
	c := b.parked.Cursor()
	for k, frame := c.First(); k != nil; k, frame = c.Next() {
		ch, err := decodeChange(frame, b.st.epoch)
		switch {
		case err != nil:
		case ch.Received.After(upTo):
			return n
		case ch.Received.After(after):
			n++
		}
	}
	return n
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
