package repair

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"slices"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/apply"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// rebuilder makes a whole state from the entries that a stateScanner saved. It makes everything that follows from them:
// the locator, the pending-index rows, the due index, the pointers of the queue, the gauges. A change stands in for a
// lost row of its user.
//
//	1 computations   one for every number that a row or a change names
//	2 deletions      until when MoEngage may delete users
//	3 history, journal  the users' chains
//	4 rows           pending attributes; those of an interrupted request are uncertain
//	5 parked, held   the pointers to them
//	6 queue          pending events
//	7 sums           entries that a counter promised and a count does not find are lost, and counted as lost
//
// A change may be found twice, because older pages were read too. The version in the later state is the newer. The locator
// knows which ids were met before.
type rebuilder struct {
	db     *bolt.State
	epoch  uint32
	found  *scanned
	report *Salvage
	log    *slog.Logger

	st *state.State
}

// rebuildSlice is how many entries one transaction handles, so that memory does not grow with the file.
const rebuildSlice = 2000

// run rebuilds everything, in the order above.
func (r *rebuilder) run() error {
	if err := r.addDisplaced(); err != nil {
		return err
	}
	made, err := addLostFields(r.db, r.epoch)
	if err != nil {
		return err
	}
	r.report.Lost.Computations += made
	r.found.lost = r.found.lost || made > 0
	if err := r.db.View(func(tx engine.Tx) (err error) { r.st, err = state.LoadState(tx); return err }); err != nil {
		return err
	}
	was := r.st.Ledger
	if err := r.in(state.RecountJournal); err != nil {
		return err
	}
	r.st.Ledger.Backlog, r.st.Ledger.Uncounted = domain.Backlog{}, false // counted again with the pending-index rows
	for _, step := range []struct {
		bucket []byte
		do     func(tx *state.Tx, k, v []byte)
	}{
		{state.BucketDeletions, r.receipt}, {state.BucketHistory, r.closed}, {state.BucketJournal, r.chunk}, {state.BucketRows, r.row}, {state.BucketParked, r.kept}, {state.BucketHeld, r.kept}, {state.BucketQueue, r.queued},
	} {
		if err := r.each(step.bucket, step.do); err != nil {
			return err
		}
	}
	var c *totals
	if err := r.in(func(tx *state.Tx) { c = countTotals(tx) }); err != nil {
		return err
	}
	return r.in(func(tx *state.Tx) { c.settle(tx, &was, r.found.located, r.report) })
}

// in runs one slice of the work in a transaction of its own.
func (r *rebuilder) in(do func(tx *state.Tx)) error {
	return r.db.Update(func(tx engine.Tx) error {
		b := state.NewTx(tx, r.st, r.log)
		b.Now = r.report.At
		do(b)
		return b.Flush()
	})
}

// each calls do for every entry of a bucket as it was when its slice began, in order. Entries that do adds behind the slice
// are visited too.
func (r *rebuilder) each(bucket []byte, do func(tx *state.Tx, k, v []byte)) error {
	type item struct{ k, v []byte }
	for from, more := []byte(nil), true; more; {
		err := r.in(func(tx *state.Tx) {
			list := make([]item, 0, rebuildSlice)
			c := tx.Bucket(bucket).Cursor()
			k, v := c.Seek(from)
			for ; k != nil && len(list) < rebuildSlice; k, v = c.Next() {
				list = append(list, item{bytes.Clone(k), bytes.Clone(v)})
			}
			from, more = bytes.Clone(k), k != nil
			for _, i := range list {
				do(tx, i.k, i.v)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// addDisplaced puts entries of the history whose number is damaged behind the others.
func (r *rebuilder) addDisplaced() error {
	return r.db.Update(func(tx engine.Tx) error {
		for _, frame := range r.found.displaced {
			r.found.newest++
			if err := tx.Bucket(state.BucketHistory).Put(state.NumberKey(r.found.newest), frame); err != nil {
				return err
			}
		}
		if err := tx.Bucket(state.BucketMeta).Put(state.MetaClosed, state.NumberKey(r.found.newest)); err != nil {
			return err
		}
		return nil
	})
}

// receipt learns until when MoEngage may delete users, which a lost count of deletes does not say.
func (r *rebuilder) receipt(tx *state.Tx, k, frame []byte) {
	one, err := state.DecodeReceipt(k, frame, tx.State.Epochs)
	if err != nil || one.Accepted.IsZero() {
		return
	}
	tx.State.Deletes.Accepted = max(tx.State.Deletes.Accepted, uint64(one.Accepted.Unix()))
}

// met adds a change to the locator, and reports whether it was there before.
func (r *rebuilder) met(tx *state.Tx, ch *state.Stored) (before bool) {
	if tx.Locator.Get(state.IDKey(ch.ID)) != nil {
		return true
	}
	tx.Locate(ch)
	return false
}

// closed puts an entry of the history at the end of its user's chain.
func (r *rebuilder) closed(tx *state.Tx, k, frame []byte) {
	ch, err := state.DecodeChange(frame, tx.State.Epochs)
	if err != nil || r.met(tx, ch) {
		tx.Remove(tx.History, k)
		return
	}
	u := tx.User(ch.User)
	if ch.Prev != u.Index.History {
		ch.Prev = u.Index.History
		tx.Put(tx.History, k, ch.Encode(nil))
	}
	u.Index.History, u.Dirty = state.Number(k), true
	r.learn(tx, u, ch)
}

// chunk puts the entries of a chunk of the journal at the ends of their users' chains. It erases those whose user is not
// known, because the entries before them are lost, or was forgotten.
func (r *rebuilder) chunk(tx *state.Tx, k, _ []byte) {
	stones := tx.Bucket(state.BucketTombstones)
	state.RewriteJournal(tx, state.Number(k), func(e *state.JournalEntry) (changed bool) {
		id := e.User
		if e.Outcome() {
			id = state.JournalOwner(tx, e.Prev)
		}
		forgotten := slices.ContainsFunc(apply.StoneTimes(stones.Get(state.Tombstone(tx.State.Salt, id))), func(stone int64) bool { return e.At.UnixNano() <= stone })
		if e.Erased = id == "" || forgotten; e.Erased {
			return true
		}
		u := tx.User(id)
		changed = e.Prev != u.Index.Journal
		e.Prev, u.Index.Journal, u.Dirty = u.Index.Journal, e.Number, true
		return changed
	})
}

// learn restores the assertion that a change was made of, if the row is lost. The value last sent to MoEngage is unknown
// then, so the next difference is sent.
func (r *rebuilder) learn(tx *state.Tx, u *state.User, ch *state.Stored) {
	f := tx.FieldOf(ch.Field)
	if !r.found.lost || f == nil || len(ch.Value) == 0 {
		return
	}
	e := tx.Entry(u, ch.Field)
	if f.Kind() != domain.KindAttribute { // a target keeps no assertion
		e.LastSent = state.LastSent{Kind: state.UncertainlySent}
		tx.Write(u, ch.Field)
		return
	}
	if s := e.Newest(); s != nil && s.Seq >= ch.ID.Seq {
		return
	}
	sort := state.KeptOne
	if p := tx.State.Rules.For(f.Key, f.ID); p.Send.Has(domain.SendAsReceived) {
		if sort = state.KeptIdentify; ch.Kind == domain.KindEvent {
			sort = state.KeptTrack
		}
	}
	at := ch.EventTime.UnixNano()
	assertion := &domain.Assertion{Value: bytes.Clone(ch.Value), Time: at, Since: at, Seq: ch.ID.Seq}
	if ch.Transition == domain.TransitionValue {
		assertion.Message = ch.MessageID
	}
	e.Keep(sort, assertion)
	e.LastSent = state.LastSent{Kind: state.UncertainlySent}
	tx.Write(u, ch.Field)
	r.report.Relearned++
}

// row makes the attributes of a row pending again.
func (r *rebuilder) row(tx *state.Tx, k, _ []byte) {
	id, rest, _ := state.UserOf(k)
	n := binary.BigEndian.Uint16(rest)
	if n >= state.BlockConsent {
		return // made in this pass, or kept as it is
	}
	u := tx.User(id)
	row := tx.Block(u, n)
	for _, e := range row.Entries {
		if f := tx.FieldOf(row.Field(e)); f != nil {
			r.entry(tx, u, f, e)
		}
	}
}

func (r *rebuilder) entry(tx *state.Tx, u *state.User, f *state.Field, e *state.Entry) {
	if e.Loose > 0 { // counted again with the queue
		e.Loose = 0
		tx.Write(u, f.Number)
	}
	switch {
	case e.InFlight.ID.IsZero():
	case tx.State.IsInFlight(f.Endpoint(), u.ID, e.InFlight.ID):
		r.fly(tx, u, f, e)
	default:
		r.interrupt(tx, u, f, e)
	}
	t := &e.Waiting
	switch {
	case t.ID.IsZero():
		return
	case !t.Pending():
		if kept := [...]engine.Bucket{state.PlaceParked: tx.Parked, state.PlaceHeld: tx.Held}; int(t.Place) >= len(kept) || kept[t.Place].Get(state.IDKey(t.ID)) == nil {
			e.Waiting = state.Ticket{} // lost: the sums say so
			tx.Write(u, f.Number)
		}
		return
	case r.met(tx, tx.PendingChange(u, f, t)): // an older row: the change is closed by now
		e.Waiting, e.LastSent = state.Ticket{}, state.LastSent{Kind: state.UncertainlySent}
		tx.Write(u, f.Number)
		return
	}
	if r.found.leasesLost {
		e.LastSent = state.LastSent{Kind: state.UncertainlySent}
		tx.Write(u, f.Number)
	}
	u.Index.SetPending(f.Number, true)
	await(tx, u, f.Endpoint(), t.Lane, t.Due)
}

// await gives a pending change its place in the user's pending index, where one of a user that MoEngage may still delete waits.
func await(tx *state.Tx, u *state.User, endpoint domain.Endpoint, lane, due uint32) {
	u.Index.Endpoint(endpoint).Add(lane, due)
	u.Dirty = true
	outbox.Bar(tx, u, tx.Now)
}

// fly counts an overtaken change whose lease is still open.
func (r *rebuilder) fly(tx *state.Tx, u *state.User, f *state.Field, e *state.Entry) {
	if r.met(tx, tx.PendingChange(u, f, &e.InFlight)) {
		e.InFlight, e.LastSent = state.Ticket{}, state.LastSent{Kind: state.UncertainlySent}
		tx.Write(u, f.Number)
		return
	}
	await(tx, u, f.Endpoint(), e.InFlight.Lane, e.InFlight.Due)
}

// interrupt ends an in-flight change whose lease is lost, so its outcome is unknown. An overtaken change is superseded; any
// other is pending again.
func (r *rebuilder) interrupt(tx *state.Tx, u *state.User, f *state.Field, e *state.Entry) {
	t := e.InFlight
	e.InFlight, e.LastSent = state.Ticket{}, state.LastSent{Kind: state.UncertainlySent}
	tx.Write(u, f.Number)
	ch := tx.PendingChange(u, f, &t)
	switch {
	case e.Waiting.ID.IsZero():
		e.Waiting = t
	case !r.met(tx, ch):
		ch.Successor = e.Waiting.ID
		tx.Close(u, ch, domain.StateSuperseded, r.report.At)
	}
}

// kept restores the pointer to a parked or held change.
func (r *rebuilder) kept(tx *state.Tx, k, frame []byte) {
	ch, err := state.DecodeChange(frame, tx.State.Epochs)
	if err != nil {
		return
	}
	from, lane, place := tx.Parked, state.LaneParked, state.PlaceParked
	if ch.State == domain.StateHeld {
		from, lane, place = tx.Held, state.LaneHeld, state.PlaceHeld
	}
	if ch.Kind == domain.KindReceived {
		if ch.User != "" && len(ch.User) <= domain.MaxUserID {
			tx.Put(tx.Queue, state.QueueKey(state.UserKey(ch.User), lane, ch.ID), nil)
		}
		return
	}
	if r.met(tx, ch) {
		tx.Remove(from, k)
		return
	}
	u := tx.User(ch.User)
	r.learn(tx, u, ch)
	if !ch.InRow() {
		tx.Put(tx.Queue, state.QueueKey(u.Key, lane, ch.ID), nil)
		return
	}
	switch e := tx.Entry(u, ch.Field); {
	case e.Waiting.ID == ch.ID:
		e.Waiting.Place = place
	case e.Waiting.ID.IsZero():
		e.Waiting = state.Ticket{ID: ch.ID, Place: place, Transition: ch.Transition}
	default: // another took its place
		ch.Successor = e.Waiting.ID
		tx.Remove(from, k)
		tx.Close(u, ch, domain.StateSuperseded, r.report.At)
		return
	}
	tx.Write(u, ch.Field)
}

// queued makes an event pending again.
func (r *rebuilder) queued(tx *state.Tx, k, v []byte) {
	_, rest, _ := state.UserOf(k)
	lane := binary.BigEndian.Uint32(rest)
	if lane == state.LaneParked || lane == state.LaneHeld {
		return // made in the pass before
	}
	due, _, frame := state.ParseQueueValue(v)
	ch, err := state.DecodeChange(frame, tx.State.Epochs)
	if err != nil || r.met(tx, ch) {
		tx.Remove(tx.Queue, k)
		return
	}
	u := tx.User(ch.User)
	r.learn(tx, u, ch)
	if ch.Loose {
		tx.Entry(u, ch.Field).Loose++
		tx.Write(u, ch.Field)
	}
	await(tx, u, ch.Endpoint, lane, due)
}
