package outbox

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// begin starts a window. Those whom a discard is still to readmit are members in it.
func begin(tx *state.Tx, f *state.Field, since time.Time, seq uint64) {
	w := &f.Exits
	*w = state.ExitWindow{Since: since, Seq: seq, Members: f.Members + w.Returning, Undone: w.Undone, Returning: w.Returning}
	tx.Touch(f)
}

// MayUndo reports whether a discard may readmit a user that left by the record seq. A window from before a time, in
// ns, is over unless it tripped.
func MayUndo(w *state.ExitWindow, seq uint64, before int64) bool {
	open := !w.Tripped.IsZero() || w.Since.UnixNano() >= before
	return seq != 0 && seq >= w.Seq && open || w.Undone.Has(seq)
}

// OpenWindow starts a new window of f if the record being applied is outside the current one.
func OpenWindow(tx *state.Tx, f *state.Field, c *Cause) {
	w, length, at := &f.Exits, tx.State.Rules.Guard.Window, c.Event.Earliest()
	since := at
	switch {
	case !w.Tripped.IsZero():
		return // until an operator decides
	case w.Since.IsZero(), at.Before(w.Since.Add(-length)): // the clock was set back: else this window would last for as long
	case at.Sub(w.Since) < length:
		return
	default:
		since = w.Since.Add(at.Sub(w.Since) / length * length)
	}
	begin(tx, f, since, c.Seq)
}

// countEnter notes a new member in the window, whose base is the most members that the audience had in it.
func countEnter(tx *state.Tx, f *state.Field) {
	f.Exits.Members = max(f.Exits.Members, f.Members+f.Exits.Returning)
	tx.Touch(f)
}

// CountLeft counts a member that left, and trips the guard. A membership is the newer of identify and track, so a user
// counts once however many calls say it.
func CountLeft(tx *state.Tx, f *state.Field, en *state.Entry, c *Cause) {
	w, g := &f.Exits, &tx.State.Rules.Guard
	en.Left = c.Seq
	w.Left++
	tx.Touch(f)
	if !w.Tripped.IsZero() || w.Left < g.Count || float64(w.Left) <= g.Share*float64(w.Members) {
		return
	}
	w.Tripped, w.Until, w.Swept, w.Returning = c.Event.Received, c.Seq, state.IDKey(domain.ID{Seq: w.Seq}), 0
	tx.State.Sweeping = append(tx.State.Sweeping, f)
	tx.Log.Warn("too many members left an audience at once: its exits are held until you release or discard them",
		"computation", f.Key, "id", f.ID, "left", w.Left, "members", w.Members, "since", w.Since)
}

// UncountLeft stops counting a user as one that left: they are a member again, an operator decided about them, or their
// entry is removed. Every change of Entry.Left to zero is made here, so that the window counts what the rows say.
func UncountLeft(tx *state.Tx, f *state.Field, en *state.Entry) {
	w := &f.Exits
	switch {
	case en.Left == 0:
		return
	case en.Left >= w.Seq:
		w.Left -= min(w.Left, 1)
	case w.Undone.Has(en.Left):
		w.Returning -= min(w.Returning, 1)
	}
	en.Left = 0
	tx.Touch(f)
}

// HoldWaiting holds the pending exits of f for a user that records since from made. It leaves out in-flight exits
// and those by an operator. It also leaves out an exit behind which the user's return is pending: released later, it
// would leave after the return, and MoEngage would take a member for one that left. Of a user without consent, or whose
// consent suffices since a configuration with which they are still to be compared, it holds nothing: a pending change takes
// back the value that MoEngage may not have.
func HoldWaiting(tx *state.Tx, u *state.User, f *state.Field, from uint64) {
	en := tx.Entry(u, f.Number)
	if p := state.PolicyOf(tx, f); en.Withheld || !state.Allows(tx, u, &p) {
		return
	}
	queued := QueuedOf(tx, u, f)
	back := lastEnters(queued)
	for _, x := range tx.State.Registry.TargetFields(f) {
		e := tx.Entry(u, x.Number)
		t := e.Waiting
		returned := x == f && t.ID.Seq < back[true] // collapse was turned off between the exit and the return
		if t.Pending() && t.Transition == domain.TransitionExit && t.ID.Seq >= from && !returned && !decided(en, t.ID.Seq) && !tx.State.IsInFlight(x.Endpoint(), u.ID, t.ID) {
			ch := tx.PendingChange(u, x, &t)
			SettlePending(tx, u, x, &t)
			HoldExit(tx, u, x, ch, e)
			tx.Write(u, x.Number)
		}
	}
	for _, ch := range queued {
		if ch.Transition != domain.TransitionExit || ch.ID.Seq < from || ch.ID.Seq < back[ch.Loose] || decided(en, ch.ID.Seq) || tx.State.UnderWay(ch.Endpoint, u.ID, ch.ID) {
			continue
		}
		dequeue(tx, u, ch.Endpoint, ch.Lane, ch.ID)
		tx.State.Ledger.Changes.Pending--
		looseLess(tx, u, ch)
		HoldExit(tx, u, f, ch, nil)
	}
}

// decided reports whether an exit that the record seq made stands for an operator's decision: it was made by one, or one came
// later and found it pending, such as the withdrawal of a member without consent.
func decided(e *state.Entry, seq uint64) bool {
	return slices.ContainsFunc(e.Kept[:], func(s *domain.Assertion) bool {
		return s != nil && !s.IsIn() && s.Seq >= seq && s.Message == domain.ByOperator
	})
}

// lastEnters returns the record number of the last enter among changes of one user and audience, of loose attributes
// and of events.
func lastEnters(changes []*state.Stored) map[bool]uint64 {
	seqs := make(map[bool]uint64, 2)
	for _, ch := range changes {
		if ch.Transition == domain.TransitionEnter {
			seqs[ch.Loose] = max(seqs[ch.Loose], ch.ID.Seq)
		}
	}
	return seqs
}

// holdSwept holds what the sweeps in progress would hold of a user.
func holdSwept(tx *state.Tx, u *state.User) {
	for _, f := range tx.State.Sweeping {
		HoldWaiting(tx, u, f, f.Exits.Seq)
	}
}

// SweepSlice is how many changes one transaction of a sweep reads.
const SweepSlice = 2000

// Sweep continues the first sweep.
func Sweep(tx *state.Tx) {
	if len(tx.State.Sweeping) == 0 {
		return
	}
	f := tx.State.Sweeping[0]
	var spots []sweepSpot
	c := tx.Locator.Cursor()
	k, at := c.Seek(f.Exits.Swept)
	for ; len(k) == 10 && binary.BigEndian.Uint64(k) <= f.Exits.Until && len(spots) < SweepSlice; k, at = c.Next() {
		spots = append(spots, sweepSpot{bytes.Clone(k), bytes.Clone(at)})
	}
	users := func(yield func(string) bool) {
		for _, s := range spots {
			if len(s.at) >= 5 && concerns(tx, f, s) && !yield(string(s.at[5:])) {
				return
			}
		}
	}
	tx.WantUsers(users)
	for user := range users {
		HoldWaiting(tx, tx.User(user), f, f.Exits.Seq)
	}
	tx.Touch(f)
	if len(spots) == SweepSlice {
		f.Exits.Swept = bytes.Clone(k)
	}
	if len(spots) < SweepSlice || f.Exits.Swept == nil {
		endSweep(tx, f)
	}
}

type sweepSpot struct{ id, at []byte }

// concerns reports whether an entry of the locator may be an exit of f.
func concerns(tx *state.Tx, f *state.Field, s sweepSpot) bool {
	number := binary.BigEndian.Uint32(s.at[1:])
	if s.at[0] == state.LocatedInRow {
		x := tx.FieldOf(number)
		return x != nil && tx.State.Registry.ComputationOf(x) == f
	}
	ch := tx.FetchQueued(state.QueueKey(state.UserKey(string(s.at[5:])), number, state.IDFromKey(s.id, tx.State.Epochs)))
	return ch != nil && ch.Field == f.Number
}

func endSweep(tx *state.Tx, f *state.Field) {
	f.Exits.Swept = nil
	tx.State.Sweeping = slices.DeleteFunc(tx.State.Sweeping, func(x *state.Field) bool { return x == f })
}

// CancelHeld closes the held exits of f for a user that is a member again, on the targets of a sort, and reports
// where there were any.
func CancelHeld(tx *state.Tx, u *state.User, f *state.Field, en *state.Entry, sort int) (attribute, event bool) {
	return closeHeld(tx, u, f, en, sort, ^uint64(0), domain.StateCancelled, isHeldExit)
}

// closeHeld closes the held exits of f for a user that records before until made. is says which held changes are meant.
func closeHeld(tx *state.Tx, u *state.User, f *state.Field, en *state.Entry, sort int, until uint64, as domain.State, is func(*state.Stored) bool) (attribute, event bool) {
	if f.Held == 0 {
		return false, false
	}
	if t := en.Waiting; t.Place == state.PlaceHeld && sort != state.KeptTrack && t.ID.Seq < until {
		if ch := tx.Fetch(tx.Held, state.IDKey(t.ID)); ch != nil && is(ch) {
			attribute = true
			endHeld(tx, u, f, en, ch, as)
		}
	}
	prefix := binary.BigEndian.AppendUint32(slices.Clone(u.Key), state.LaneHeld)
	for _, key := range state.KeysWithPrefix(tx.Queue, prefix) {
		ch := tx.Fetch(tx.Held, key[len(prefix):])
		if ch == nil || ch.Field != f.Number || !is(ch) || ch.ID.Seq >= until ||
			ch.Loose && sort == state.KeptTrack || !ch.Loose && sort == state.KeptIdentify {
			continue
		}
		attribute, event = attribute || ch.Loose, event || !ch.Loose
		endHeld(tx, u, f, en, ch, as)
	}
	return attribute, event
}

// isHeldExit reports whether a held change is an exit that a return makes void: the guard, or a rollout, holds it. A pause
// keeps the events of both.
func isHeldExit(ch *state.Stored) bool {
	return ch.Reason == ReasonMassExit || ch.Reason == domain.ReasonRollout && ch.Transition == domain.TransitionExit
}

// isLastExit returns isHeldExit for a user whose return is not heard but ordered: what a pause holds counts too, but for
// an exit that a return has followed.
func isLastExit(tx *state.Tx, u *state.User) func(ch *state.Stored) bool {
	return func(ch *state.Stored) bool {
		return isHeldExit(ch) || ch.Reason == domain.ReasonPaused && ch.Transition == domain.TransitionExit && !isReturnedFrom(tx, u, tx.FieldOf(ch.Field), ch)
	}
}

// endHeld closes one change of f that is held.
func endHeld(tx *state.Tx, u *state.User, f *state.Field, e *state.Entry, ch *state.Stored, as domain.State) {
	tx.Withdraw(ch)
	if e.Waiting.ID == ch.ID {
		e.Waiting = state.Ticket{}
		tx.Write(u, f.Number)
	} else {
		tx.Remove(tx.Queue, state.QueueKey(u.Key, state.LaneHeld, ch.ID))
	}
	tx.Close(u, ch, as, tx.Now)
}

// ComeBack readmits a returning member also by the other call, if the guard held the exit that call brought:
// MoEngage never received that exit, and the enter that may follow by that call changes nothing.
func ComeBack(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, en *state.Entry, c *Cause, sort int) {
	if f.Held == 0 {
		return
	}
	for other, s := range en.Kept {
		if other == sort || s == nil || s.IsIn() {
			continue
		}
		own := HoldsExit(tx, u, f, s.Seq)
		attribute, event := CancelHeld(tx, u, f, en, other)
		if !own || !attribute && !event {
			continue
		}
		s.Readmit(c.Seq)
		if attribute {
			WantMember(tx, u, f, p, en, c)
		}
	}
}

// Decide ends the holding of f's exits and starts a new window. The orders that follow release or discard the held
// exits. Until they have come to all that left in a discarded window, a user that is read first is readmitted first,
// so that the order of the two makes no difference.
func Decide(tx *state.Tx, f *state.Field, c *Cause, o *record.Order) {
	endSweep(tx, f)
	w := &f.Exits
	w.Undone, w.Returning = state.RecordRange{}, 0
	if o.Verb == record.OrderDiscard && !w.Tripped.IsZero() {
		w.Undone, w.Returning = state.RecordRange{From: w.Seq, Until: c.Seq}, w.Left
	}
	begin(tx, f, o.Received, c.Seq)
}

// EndDiscard ends the readmission of those that left in a discarded window.
func EndDiscard(tx *state.Tx, f *state.Field) {
	f.Exits.Undone, f.Exits.Returning = state.RecordRange{}, 0
	tx.Touch(f)
}

// LetGo releases or discards one held exit.
func LetGo(tx *state.Tx, f *state.Field, p *domain.Policy, c *Cause, id domain.ID, discard bool) {
	ch := tx.Fetch(tx.Held, state.IDKey(id))
	if ch == nil || ch.Reason != ReasonMassExit {
		return
	}
	x := tx.FieldOf(ch.Field)
	if x == nil || tx.State.Registry.ComputationOf(x) != f {
		return
	}
	u := tx.User(ch.User)
	window := f.Exits.Undone
	if !window.Has(id.Seq) {
		window = state.RecordRange{From: id.Seq, Until: id.Seq + 1}
	}
	if discard {
		readmit(tx, u, f, p, c, window)
		if tx.Held.Get(state.IDKey(id)) == nil {
			return
		}
		// A member's exit repeats what one call said, or damage took its origin. A user that left later was a member
		// in between.
		if s := tx.Entry(u, f.Number).Newest(); s.IsIn() || s != nil && s.Seq > id.Seq {
			endHeld(tx, u, x, tx.Entry(u, x.Number), ch, domain.StateDropped)
			return
		}
	}
	Reach(tx, u, f, tx.Now) // an older one goes first
	if tx.Held.Get(state.IDKey(id)) == nil {
		return // a pause held a newer one instead of it
	}
	tx.Withdraw(ch)
	release(tx, u, x, p, ch, tx.Now)
}

// HoldsExit reports whether the guard, and no pause, holds an exit of a user that the record seq made. An exit of another record
// repeats an older state, as a reconcile does: a discard releases it, and a return is new to MoEngage all the same.
func HoldsExit(tx *state.Tx, u *state.User, f *state.Field, seq uint64) bool {
	for _, x := range tx.State.Registry.TargetFields(f) {
		t := tx.Entry(u, x.Number).Waiting
		if t.Place != state.PlaceHeld || t.ID.Seq != seq {
			continue
		}
		if ch := tx.Fetch(tx.Held, state.IDKey(t.ID)); ch == nil || ch.Reason != domain.ReasonPaused {
			return true
		}
	}
	prefix := binary.BigEndian.AppendUint32(slices.Clone(u.Key), state.LaneHeld)
	return slices.ContainsFunc(state.KeysWithPrefix(tx.Queue, prefix), func(key []byte) bool {
		ch := tx.Fetch(tx.Held, key[len(prefix):])
		return ch != nil && ch.ID.Seq == seq && ch.Field == f.Number && ch.Reason != domain.ReasonPaused
	})
}

// ReadmitFirst readmits a user that is read before a discard has come to them.
func ReadmitFirst(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *Cause) {
	if f.Exits.Undone != (state.RecordRange{}) {
		readmit(tx, u, f, p, c, f.Exits.Undone)
	}
}

// readmit makes a user that left in a discarded window a member of f again, on every target. Held exits are dropped,
// delivered ones are corrected by the net difference, and no event is made.
func readmit(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *Cause, window state.RecordRange) {
	en := tx.Entry(u, f.Number)
	left := window.Has(en.Left)
	if left {
		HoldWaiting(tx, u, f, window.From) // an exit whose request has failed
	}
	was, found := en.Newest().IsIn(), false
	for sort, s := range en.Kept {
		if s == nil || s.IsIn() || s.Message == domain.ByOperator || !left && !(window.Has(s.Seq) && HoldsExit(tx, u, f, s.Seq)) {
			continue
		}
		found = true
		closeHeld(tx, u, f, en, sort, window.Until, domain.StateDropped, isLastExit(tx, u))
		s.Readmit(c.Seq)
	}
	if !found {
		return
	}
	dropParkedExits(tx, u, f, window)
	tx.Write(u, f.Number)
	Mark(tx, u, f, p, en)
	again := &Cause{Seq: c.Seq, Slots: c.Slots, Why: domain.CauseDiscard, Event: &domain.Event{
		Received: tx.Now, Time: time.Unix(0, en.Newest().Time).UTC(), Class: f.Class, MessageID: record.OrderDiscard.String(),
	}}
	if c.Why == domain.CauseDiscard {
		again.By = c.By
	}
	if en.Newest().IsIn() {
		UncountLeft(tx, f, en)
		countReadmitted(tx, u, f, again, was)
		for _, x := range tx.State.Registry.TargetFields(f)[1:] {
			closeHeld(tx, u, x, tx.Entry(u, x.Number), state.KeptOne, window.Until, domain.StateDropped, isLastExit(tx, u))
		}
	}
	UpdateTargets(tx, u, f, p, en, again)
	if said := en.AssertionFor(p, domain.SendAttribute, state.KeptIdentify); said.IsIn() {
		WantMember(tx, u, f, p, en, again)
	}
	c.Slots = again.Slots
}

// dropParkedExits drops the exits of a discarded window that are parked as events: retried, they would say that a
// member left. A parked attribute is superseded by the value that readmit sends.
func dropParkedExits(tx *state.Tx, u *state.User, f *state.Field, window state.RecordRange) {
	prefix := binary.BigEndian.AppendUint32(slices.Clone(u.Key), state.LaneParked)
	for _, key := range state.KeysWithPrefix(tx.Queue, prefix) {
		ch := tx.Fetch(tx.Parked, key[len(prefix):])
		if ch == nil || ch.Field != f.Number || ch.Transition != domain.TransitionExit || !window.Has(ch.ID.Seq) {
			continue
		}
		tx.Withdraw(ch)
		tx.Remove(tx.Queue, key)
		tx.Close(u, ch, domain.StateDropped, tx.Now)
	}
}

// countReadmitted counts a user who turned out to be a member all along.
func countReadmitted(tx *state.Tx, u *state.User, f *state.Field, c *Cause, was bool) {
	if was {
		return
	}
	CountMember(tx, u, f, c, false, true)
	f.Entered--
	f.Exited--
}
