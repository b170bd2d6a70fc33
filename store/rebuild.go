package store

import (
	"bytes"
	"encoding/binary"
	"log/slog"

	"personasync/store/domain"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/boltfile"
)

// A rebuilder makes a state whole again from the entries that were saved of it. What follows from
// them is made anew: locator, heads, due index, the queue's pointers, gauges. What says the same thing
// as something lost stands in for it: a change for the row of its user.
//
//	1 computations   every number that a row or a change speaks of has one
//	2 history        the users' chains
//	3 rows           attributes that wait; what was in a request under way is uncertain
//	4 parked, held   who points at them
//	5 queue          events that wait
//	6 sums           what a counter promised and a count does not find is lost, and is said to be
//
// Of a change that is found twice, because older pages were read too, the one further on in its life
// is the newer: the locator knows which ids were met before.
type rebuilder struct {
	*stateSalvager
	log *slog.Logger
	st  *state
	was ledger // as it was saved
}

// rebuildSlice is how many entries one transaction handles: memory is flat in the file's size.
const rebuildSlice = 2000

func (r *rebuilder) run() error {
	if err := r.addDisplaced(); err != nil {
		return err
	}
	if err := r.computations(); err != nil {
		return err
	}
	if err := r.db.View(func(tx *bolt.Tx) (err error) { r.st, err = loadState(tx); return err }); err != nil {
		return err
	}
	r.was = r.st.ledger
	r.st.ledger.backlog, r.st.ledger.uncounted = domain.Backlog{}, false // counted again with the heads
	for _, step := range []struct {
		bucket []byte
		do     func(b *batch, k, v []byte)
	}{
		{bucketHistory, r.closed}, {bucketRows, r.row}, {bucketParked, r.kept}, {bucketHeld, r.kept}, {bucketQueue, r.queued},
	} {
		if err := r.each(step.bucket, step.do); err != nil {
			return err
		}
	}
	return r.sums()
}

// in runs one slice of the work in a batch of its own.
func (r *rebuilder) in(do func(b *batch)) error {
	return r.db.Update(func(tx *bolt.Tx) error {
		b := newBatch(tx, r.st, r.log)
		do(b)
		return b.flush()
	})
}

// each calls do for every entry of a bucket as it was when its slice began, in order. What do adds
// behind the slice is met too.
func (r *rebuilder) each(bucket []byte, do func(b *batch, k, v []byte)) error {
	type item struct{ k, v []byte }
	for from, more := []byte(nil), true; more; {
		err := r.in(func(b *batch) {
			list := make([]item, 0, rebuildSlice)
			c := b.tx.Bucket(bucket).Cursor()
			k, v := c.Seek(from)
			for ; k != nil && len(list) < rebuildSlice; k, v = c.Next() {
				list = append(list, item{bytes.Clone(k), bytes.Clone(v)})
			}
			from, more = bytes.Clone(k), k != nil
			for _, i := range list {
				do(b, i.k, i.v)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// addDisplaced puts entries of the history whose number was hit behind the others.
func (r *rebuilder) addDisplaced() error {
	return r.db.Update(func(tx *bolt.Tx) error {
		for _, frame := range r.displaced {
			r.newest++
			if err := tx.Bucket(bucketHistory).Put(numberKey(r.newest), frame); err != nil {
				return err
			}
		}
		if err := tx.Bucket(bucketMeta).Put(metaClosed, numberKey(r.newest)); err != nil {
			return err
		}
		return boltfile.Seal(tx)
	})
}

// met notes a change for whoever asks by its id, and reports whether it was met before.
func (r *rebuilder) met(b *batch, ch *stored) (before bool) {
	if b.locator.Get(idKey(ch.ID)) != nil {
		return true
	}
	b.locate(ch)
	return false
}

// closed puts an entry of the history at the end of its user's chain.
func (r *rebuilder) closed(b *batch, k, frame []byte) {
	ch, err := decodeChange(frame, b.st.epochs)
	if err != nil || r.met(b, ch) {
		b.remove(b.history, k)
		return
	}
	u := b.user(ch.User)
	if ch.prev != u.head.history {
		ch.prev = u.head.history
		b.put(b.history, k, ch.encode(nil))
	}
	u.head.history, u.dirty = number(k), true
	r.learn(b, u, ch)
}

// learn keeps the word that a change was made of where the row is lost. What MoEngage knows of it is
// not known any more: the next difference is sent.
func (r *rebuilder) learn(b *batch, u *user, ch *stored) {
	f := b.fieldOf(ch.field)
	if !r.lost || f == nil || len(ch.Value) == 0 {
		return
	}
	e := b.entry(u, ch.field)
	if f.kind() != domain.KindAttribute { // a channel keeps no word of its own
		e.lastSent = lastSent{kind: uncertainlySent}
		b.write(u, ch.field)
		return
	}
	if s := e.newest(); s != nil && s.Seq >= ch.ID.Seq {
		return
	}
	sort := keptOne
	if p := b.st.rules.For(f.key, f.id); p.Send.Has(domain.SendAsReceived) {
		if sort = keptIdentify; ch.Kind == domain.KindEvent {
			sort = keptTrack
		}
	}
	at := ch.EventTime.UnixNano()
	word := &domain.Assertion{Value: bytes.Clone(ch.Value), Time: at, Since: at, Seq: ch.ID.Seq}
	if ch.Transition == domain.TransitionValue {
		word.Message = ch.MessageID
	}
	e.keep(sort, word)
	e.lastSent = lastSent{kind: uncertainlySent}
	b.write(u, ch.field)
	r.report.Relearned++
}

// row has the attributes of a row wait again.
func (r *rebuilder) row(b *batch, k, _ []byte) {
	id, rest, _ := userOf(k)
	n := binary.BigEndian.Uint16(rest)
	if n == blockHead {
		return // made in this pass
	}
	u := b.user(id)
	row := b.block(u, n)
	for _, e := range row.entries {
		if f := b.fieldOf(row.field(e)); f != nil {
			r.entry(b, u, f, e)
		}
	}
}

func (r *rebuilder) entry(b *batch, u *user, f *field, e *entry) {
	if e.loose > 0 { // counted again with the queue
		e.loose = 0
		b.write(u, f.number)
	}
	switch {
	case e.inFlight.id.IsZero():
	case b.st.isInFlight(f.endpoint(), u.id, e.inFlight.id):
		r.fly(b, u, f, e)
	default:
		r.interrupt(b, u, f, e)
	}
	t := &e.waiting
	switch {
	case t.id.IsZero():
		return
	case !t.pending():
		if kept := [...]*bolt.Bucket{placeParked: b.parked, placeHeld: b.held}; int(t.place) >= len(kept) || kept[t.place].Get(idKey(t.id)) == nil {
			e.waiting = ticket{} // lost: the sums say so
			b.write(u, f.number)
		}
		return
	case r.met(b, b.change(u, f, t)): // an older row: the change is closed by now
		e.waiting, e.lastSent = ticket{}, lastSent{kind: uncertainlySent}
		b.write(u, f.number)
		return
	}
	if r.flightsLost {
		e.lastSent = lastSent{kind: uncertainlySent}
		b.write(u, f.number)
	}
	u.head.setPending(f.number, true)
	u.head.endpoint(f.endpoint()).add(t.lane, t.due)
	u.dirty = true
}

// fly counts an overtaken change whose request is still to be settled.
func (r *rebuilder) fly(b *batch, u *user, f *field, e *entry) {
	if r.met(b, b.change(u, f, &e.inFlight)) {
		e.inFlight, e.lastSent = ticket{}, lastSent{kind: uncertainlySent}
		b.write(u, f.number)
		return
	}
	u.head.endpoint(f.endpoint()).add(e.inFlight.lane, e.inFlight.due)
	u.dirty = true
}

// strand ends a request of which no lease is known any more: nobody knows how far it came. What was
// overtaken meanwhile gives way; else it waits again.
func (r *rebuilder) interrupt(b *batch, u *user, f *field, e *entry) {
	t := e.inFlight
	e.inFlight, e.lastSent = ticket{}, lastSent{kind: uncertainlySent}
	b.write(u, f.number)
	ch := b.change(u, f, &t)
	switch {
	case e.waiting.id.IsZero():
		e.waiting = t
	case !r.met(b, ch):
		ch.Successor = e.waiting.id
		b.close(u, ch, domain.StateSuperseded, r.report.At)
	}
}

// kept has whoever a parked or held change belongs to point at it.
func (r *rebuilder) kept(b *batch, k, frame []byte) {
	ch, err := decodeChange(frame, b.st.epochs)
	if err != nil {
		return
	}
	from, lane, place := b.parked, laneParked, placeParked
	if ch.State == domain.StateHeld {
		from, lane, place = b.held, laneHeld, placeHeld
	}
	if ch.Kind == domain.KindReceived {
		if ch.User != "" && len(ch.User) <= domain.MaxUserID {
			b.put(b.queue, queueKey(userKey(ch.User), lane, ch.ID), nil)
		}
		return
	}
	if r.met(b, ch) {
		b.remove(from, k)
		return
	}
	u := b.user(ch.User)
	r.learn(b, u, ch)
	if !ch.inRow() {
		b.put(b.queue, queueKey(u.key, lane, ch.ID), nil)
		return
	}
	switch e := b.entry(u, ch.field); {
	case e.waiting.id == ch.ID:
		e.waiting.place = place
	case e.waiting.id.IsZero():
		e.waiting = ticket{id: ch.ID, place: place, transition: ch.Transition}
	default: // another took its place
		ch.Successor = e.waiting.id
		b.remove(from, k)
		b.close(u, ch, domain.StateSuperseded, r.report.At)
		return
	}
	b.write(u, ch.field)
}

// queued has an event wait again.
func (r *rebuilder) queued(b *batch, k, v []byte) {
	_, rest, _ := userOf(k)
	lane := binary.BigEndian.Uint32(rest)
	if lane == laneParked || lane == laneHeld {
		return // made in the pass before
	}
	due, _, frame := parseQueueValue(v)
	ch, err := decodeChange(frame, b.st.epochs)
	if err != nil || r.met(b, ch) {
		b.remove(b.queue, k)
		return
	}
	u := b.user(ch.User)
	r.learn(b, u, ch)
	if ch.loose {
		b.entry(u, ch.field).loose++
		b.write(u, ch.field)
	}
	u.head.endpoint(ch.endpoint).add(lane, due)
	u.dirty = true
}
