package store

import (
	"bytes"

	"personasync/store/domain"
)

// totals is what a state holds, counted.
type totals struct {
	users, members, pending uint64
	changes                 [2]uint64 // parked and held, as keptPlaces
	received                uint64
	history, located        uint64
	closed                  domain.ChangeLedger // of the history, by state
	in                      map[uint32]uint64   // members by field
	held                    map[uint32]uint64
}

func (r *rebuilder) count(b *batch) *totals {
	c := &totals{in: make(map[uint32]uint64), held: make(map[uint32]uint64)}
	last := []byte(nil)
	_ = b.rows.ForEach(func(k, frame []byte) error {
		row, err := decodeBlock(k, frame, b.st.epochs)
		if err != nil {
			return nil // a head
		}
		if user := k[:len(k)-2]; !bytes.Equal(user, last) {
			c.users++
			last = bytes.Clone(user)
		}
		for _, e := range row.entries {
			c.pending += uint64(boolByte(e.waiting.pending())) + uint64(boolByte(e.inFlight.pending()))
			if f := b.fieldOf(row.field(e)); f != nil && f.class != domain.ClassTrait && e.newest().IsIn() {
				c.in[f.number]++
				c.members++
			}
		}
		return nil
	})
	_ = b.queue.ForEach(func(_, v []byte) error {
		c.pending += uint64(boolByte(len(v) > 0))
		return nil
	})
	for i, p := range keptPlaces {
		_ = b.tx.Bucket(p.bucket).ForEach(func(_, frame []byte) error {
			switch ch, err := decodeChange(frame, b.st.epochs); {
			case err != nil:
			case ch.Kind == domain.KindReceived:
				c.received++
			default:
				c.changes[i]++
				if p.state == domain.StateHeld {
					c.held[ch.field]++
				}
			}
			return nil
		})
	}
	_ = b.history.ForEach(func(_, frame []byte) error {
		if ch, err := decodeChange(frame, b.st.epochs); err == nil {
			c.history++
			*c.closed.Column(ch.State)++
		}
		return nil
	})
	c.located = uint64(b.locator.Stats().KeyN)
	return c
}

// sums counts the gauges again, and books what is missing as lost: both laws hold as before.
func (r *rebuilder) sums() error {
	var c *totals
	if err := r.in(func(b *batch) { c = r.count(b) }); err != nil {
		return err
	}
	return r.in(func(b *batch) {
		l, saved, lost := &b.st.ledger, &r.report.Saved, &r.report.Lost
		saved.Users, saved.Members, saved.Pending, saved.History = c.users, c.members, c.pending, c.history
		saved.Parked, saved.Held = c.changes[0]+c.received, c.changes[1]
		saved.Computations = uint64(len(b.st.registry.fields)) - lost.Computations
		lost.Users = less(r.was.users, c.users)
		lost.Pending, lost.Held = less(r.was.changes.Pending, c.pending), less(r.was.changes.Held, c.changes[1])
		lost.Parked = less(r.was.changes.Parked+r.was.events.Parked, saved.Parked)
		for _, f := range b.st.registry.fields {
			lost.Members += less(f.members, c.in[f.number])
			f.members, f.held = c.in[f.number], c.held[f.number]
			b.touch(f)
		}
		gone := lost.Pending + lost.Held + less(r.was.changes.Parked, c.changes[0])
		lost.History = less(r.located, c.located+gone)

		if r.report.LedgerLost {
			l.changes = c.closed
		}
		l.users, l.tombstones = c.users, uint64(b.tx.Bucket(bucketTombstones).Stats().KeyN)
		l.damaged = uint64(b.tx.Bucket(bucketDamaged).Stats().KeyN)
		l.changes.Pending, l.changes.Parked, l.changes.Held, l.events.Parked = c.pending, c.changes[0], c.changes[1], c.received
		settle := func(whole, lost *uint64, terms func() uint64) {
			if known := terms() - *lost; *whole >= known {
				*lost = *whole - known
			} else { // more was saved than a sum that was lost knows of
				*whole = terms()
			}
		}
		settle(&l.changes.Created, &l.changes.Lost, l.changes.Sum)
		settle(&l.events.Accepted, &l.events.Lost, l.events.Sum)
	})
}
