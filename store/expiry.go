package store

import (
	"encoding/json"
	"time"

	"personasync/store/domain"

	bolt "go.etcd.io/bbolt"
)

// What is parked is somebody's to decide on, so it does not expire unannounced: that it will is said a
// week ahead (see Expiring), and what has not been said does not happen. The announcements are kept, so that neither a
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
// in silence. A damaged entry stays, for nobody knows when it was received, and those behind it do not
// wait for it.
func (b *batch) pruneParked(now time.Time, keep time.Duration) (more bool) {
	if keep <= 0 {
		return false
	}
	lead := min(noticeLead, keep)
	upTo := b.announce(now, keep, lead)
	var gone []*stored
	c := b.parked.Cursor()
	for k, frame := c.First(); k != nil; k, frame = c.Next() {
		ch, err := decodeChange(frame, b.st.epochs)
		if err != nil {
			continue
		}
		if now.Sub(ch.Received) < keep || ch.Received.After(upTo) {
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

// announce notes what Expiring speaks of from now on, once a day, and returns up to which receipt that was
// said long enough ago.
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
	text, err := json.Marshal(append(kept, next))
	if err != nil {
		b.err = err
		return upTo
	}
	b.put(meta, metaNotices, text)
	return upTo
}

func (b *batch) expire(ch *stored, now time.Time) {
	b.withdraw(ch)
	if ch.User != "" && len(ch.User) <= domain.MaxUserID {
		b.remove(b.queue, queueKey(userKey(ch.User), laneParked, ch.ID))
	}
	if ch.Kind == domain.KindReceived {
		b.st.ledger.events.Discarded++
		return
	}
	u := b.user(ch.User)
	if e := b.entry(u, ch.field); e.waiting.id == ch.ID {
		e.waiting = ticket{}
		b.write(u, ch.field)
	}
	b.close(u, ch, domain.StateExpired, now)
}

// Expiring is what is parked and will expire within a week, unless somebody decides.
type Expiring struct {
	Count uint64    `json:"count"`
	More  bool      `json:"more"`  // there are more: not all were looked at
	First time.Time `json:"first"` // when the first of them goes
}

// Expiring says what is going to expire, parked items being kept for so long; nil when nothing is.
func (v *reader) Expiring(now time.Time, keep time.Duration) (e *Expiring, err error) {
	if keep <= 0 {
		return nil, nil
	}
	err = v.look(func(tx *bolt.Tx) error {
		ids, c := epochsIn(tx), tx.Bucket(bucketParked).Cursor()
		k, frame := c.First()
		for n, size := 0, 0; k != nil; k, frame = c.Next() {
			ch, err := peekChange(frame, ids)
			if n, size = n+1, size+len(frame); err != nil {
				continue
			}
			goes := ch.Received.Add(keep)
			if goes.Sub(now) > noticeLead {
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
