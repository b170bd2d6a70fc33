package outbox

import (
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

const reasonConflict = "key_conflict"

// HoldConflict holds a change whose name another computation owns. e is nil for an event.
func HoldConflict(tx *state.Tx, u *state.User, f *state.Field, ch *state.Stored, e *state.Entry) {
	ch.Reason = reasonConflict
	p := tx.State.Rules.For(f.Key, f.ID)
	ch.Sentence = tx.State.Registry.ConflictSentence(f, &p, &tx.State.Rules)
	if f.Held == 0 {
		tx.Log.Warn("two computations send under one name; changes of the later one are held", "computation", f.Key, "id", f.ID, "column", f.SQLColumn(),
			"name", domain.SentName(f.Kind(), f.Attribute(&p)), "why", ch.Sentence)
	}
	hold(tx, u, f, ch, e)
}

// hold keeps a change until an operator decides. e is nil for an event.
func hold(tx *state.Tx, u *state.User, f *state.Field, ch *state.Stored, e *state.Entry) {
	ch.State = domain.StateHeld
	tx.State.Ledger.Changes.Held++
	f.Held++
	if n := f.HeldFor(ch.Reason); n != nil {
		*n++
	}
	tx.Touch(f)
	tx.Locate(ch)
	tx.Put(tx.Held, state.IDKey(ch.ID), tx.Frame(ch.Encode))
	if e != nil {
		e.Waiting = state.Ticket{ID: ch.ID, Place: state.PlaceHeld, Transition: ch.Transition}
		return
	}
	tx.Put(tx.Queue, state.QueueKey(u.Key, state.LaneHeld, ch.ID), nil)
}

// ReleaseConflicts releases the changes that were held for a name that is nobody else's any more.
func ReleaseConflicts(tx *state.Tx) {
	for _, key := range state.KeysWithPrefix(tx.Held, nil) {
		ch := tx.Fetch(tx.Held, key)
		if ch == nil || ch.Reason != reasonConflict {
			continue
		}
		f := tx.FieldOf(ch.Field)
		p := tx.State.Rules.For(f.Key, f.ID)
		if tx.State.Registry.Conflicted(f, &p, &tx.State.Rules) {
			continue
		}
		tx.Withdraw(ch)
		release(tx, tx.User(ch.User), f, &p, ch, ch.Received) // rules have no time
	}
}

// release makes a held change pending, unless MoEngage already has its value.
func release(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, ch *state.Stored, at time.Time) {
	ch.Reason, ch.Sentence = "", ""
	ch.Lane = state.LaneOf(tx, u, f, p.Job, ch.Transition)
	e := tx.Entry(u, f.Number)
	if ch.InRow() && ch.Kind == domain.KindAttribute && e.Loose > 0 { // behind the queued ones, which are older
		e.Waiting, ch.Loose = state.Ticket{}, true
	}
	if ch.InRow() {
		tx.Write(u, f.Number)
		if e.InFlight.ID.IsZero() && needless(e, ch.Transition, ch.Value, p.UnknownExit) {
			e.Waiting = state.Ticket{}
			tx.Close(u, ch, domain.StateCancelled, at)
			return
		}
		ch.Name, ch.State = f.Attribute(p), domain.StatePending
		Await(tx, u, e, ch)
		return
	}
	tx.Remove(tx.Queue, state.QueueKey(u.Key, state.LaneHeld, ch.ID))
	if ch.Loose && untold(e, ch, p) {
		tx.Close(u, ch, domain.StateCancelled, at)
		return
	}
	if ch.Loose {
		e.Loose++
		tx.Write(u, f.Number)
	}
	Requeue(tx, u, ch)
}

// ReasonMassExit is the reason of an exit that the mass-exit guard holds.
const ReasonMassExit = "mass_exit"

// GuardHolds reports whether the guard holds a transition of f. It holds none of a user without consent.
func GuardHolds(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *Cause, t domain.Transition) bool {
	return t == domain.TransitionExit && !tx.State.Registry.ComputationOf(f).Exits.Tripped.IsZero() && !c.Unguarded && tx.State.Rules.Guards(p) && state.Allows(tx, u, p)
}

// HoldExit holds an exit until an operator decides. e is nil for a queued one.
func HoldExit(tx *state.Tx, u *state.User, f *state.Field, ch *state.Stored, e *state.Entry) {
	ch.Reason = ReasonMassExit
	ch.Sentence = "too many members left this audience at once: release or discard its exits"
	hold(tx, u, f, ch, e)
}
