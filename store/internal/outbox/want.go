package outbox

import (
	"bytes"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// WantAttribute makes a change of the attribute, or the channel, that should become want. One that
// already waits gives way to it; and when MoEngage knows the value already, or never heard of an
// audience the user is not in, no net change remains and nothing will be sent. A cohort and a list
// collapse whatever the policy says: to add and remove in turn tells nobody anything.
func WantAttribute(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, e *state.Entry, c *Cause, t domain.Transition, want []byte) {
	ch := Draft(tx, u, f, p, c, f.Kind(), t)
	ch.Name, ch.Value = f.Attribute(p), bytes.Clone(want)
	tx.State.Ledger.Changes.Created++
	switch {
	case tx.State.Registry.Conflicted(f, p, &tx.State.Rules):
		supersede(tx, u, f, e, ch.ID)
		HoldConflict(tx, u, f, ch, e)
		return
	case Withholds(tx, f, p, c, t):
		supersede(tx, u, f, e, ch.ID)
		HoldExit(tx, u, f, ch, e)
		return
	}
	if ch.Kind == domain.KindAttribute && (!p.Collapse || e.Loose > 0) { // what was queued before collapse was turned on goes first
		ch.Loose = true
		e.Loose++
		Enqueue(tx, u, ch)
		return
	}
	parked := supersede(tx, u, f, e, ch.ID)
	if e.InFlight.ID.IsZero() && needless(e, ch.Transition, ch.Value, p.UnknownExit) {
		tx.Locate(ch)
		tx.Close(u, ch, domain.StateCancelled, c.Event.Received)
		return
	}
	Await(tx, u, e, ch)
	if parked != nil {
		RepeatCohorts(tx, c, parked)
	}
}

// supersede closes whatever attribute change waits in e, because successor takes its place. One that
// is in a request under way stays until the answer comes. One that was parked is returned.
func supersede(tx *state.Tx, u *state.User, f *state.Field, e *state.Entry, successor domain.ID) (parked *state.Stored) {
	t := e.Waiting
	e.Waiting = state.Ticket{}
	switch {
	case t.ID.IsZero():
		return nil
	case t.Pending() && tx.State.IsInFlight(f.Endpoint(), u.ID, t.ID):
		e.InFlight = t
		u.Index.SetPending(f.Number, false)
		u.Dirty = true // the successor may be held, and not touch the head
		return nil
	case t.Pending():
		SettlePending(tx, u, f, &t)
	}
	ch := tx.ChangeAt(u, f, &t)
	if ch == nil {
		return nil
	}
	ch.Successor = successor
	if !t.Pending() {
		tx.Withdraw(ch)
	}
	tx.Close(u, ch, domain.StateSuperseded, tx.Now)
	if t.Place == state.PlaceParked {
		return ch
	}
	return nil
}

// RepeatCohorts has a user's cohorts told again behind a change that was parked, and is sent after all or has
// given way to another. It held nothing back meanwhile, and what the cohorts were told then went by a user
// whom MoEngage may not have known, without a word. Of a user whom MoEngage accepted something of before that
// change, and nothing since, this is not so.
func RepeatCohorts(tx *state.Tx, c *Cause, was *state.Stored) {
	u := tx.User(was.User)
	if last := u.Index.Accepted; was.Endpoint != domain.EndpointTransition || last != 0 && last < Second(was.Received) {
		return
	}
	if c.Room() < len(tx.State.Registry.Cohorts) {
		tx.Log.Error("cohorts are not told again of a user whom MoEngage may not have known, because one order has no numbers left for it: reconcile the audiences that are sent to cohorts",
			"change", was.ID.String())
		return
	}
	again := &Cause{Seq: c.Seq, Slots: c.Slots, Unguarded: true} // an exit that was told is told
	defer func() { c.Slots = again.Slots }()
	for _, x := range tx.State.Registry.Cohorts {
		f := tx.State.Registry.Speaker(x)
		p := tx.State.Rules.For(f.Key, f.ID)
		e, en := tx.Entry(u, x.Number), tx.Entry(u, f.Number)
		s := en.Newest()
		if !p.Send.Has(domain.SendCohort) || s == nil || e.LastSent.Kind == state.NeverSent {
			continue
		}
		again.Event = &domain.Event{Received: tx.Now, Time: time.Unix(0, s.Since).UTC(), Class: f.Class, MessageID: "retry"}
		t, value := en.Membership()
		TellAgain(tx, u, x, &p, e, again, t, value)
	}
}

// TellAgain has an attribute sent whatever MoEngage was last told.
func TellAgain(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, en *state.Entry, c *Cause, t domain.Transition, value []byte) {
	if !en.Waiting.ID.IsZero() || en.Loose > 0 {
		return
	}
	en.LastSent = state.LastSent{Kind: state.UncertainlySent}
	tx.Write(u, f.Number)
	WantAttribute(tx, u, f, p, en, c, t, value)
}
