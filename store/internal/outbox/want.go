package outbox

import (
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// WantAttribute makes the change by which the attribute, or the target, becomes want. It replaces an open change. If
// MoEngage already has the value, or never knew the user in an audience that they left, the change is cancelled at
// once. Cohorts and lists collapse whatever the policy says: adding and removing in turn informs nobody. Without the
// user's consent nothing but a removal leaves.
func WantAttribute(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, e *state.Entry, c *Cause, t domain.Transition, want []byte) {
	tx.Write(u, f.Number)
	ch := new(state.Stored) // kept by nobody, so it is not allocated
	draftWanted(ch, tx, u, f, p, c, t, want)
	allowed := state.Allows(tx, u, p)
	if !allowed {
		markOwn(tx, u, f, p)
	}
	if !allowed && !Removes(f, p, t, want) {
		Withhold(tx, u, p, c, ch)
		needed := false
		if t, want, needed = takesBack(tx, u, f, p, e); !needed {
			return
		}
		draftWanted(ch, tx, u, f, p, c, t, want)
	}
	if why := HeldAs(tx, u, f, p); why == domain.ReasonPaused || allowed && why != "" {
		HoldOpen(tx, u, c.Event.Received) // of an older share, or of before a pause: the newer change is compared with the held one
		holdBeyond(tx, u, f, p, e, ch, why, c.Event.Received)
		return
	}
	switch {
	case tx.State.Registry.Conflicted(f, p, &tx.State.Rules):
		supersede(tx, u, f, e, ch.ID)
		HoldConflict(tx, u, f, ch, e)
		return
	case GuardHolds(tx, u, f, p, c, t):
		supersede(tx, u, f, e, ch.ID)
		HoldExit(tx, u, f, ch, e)
		return
	}
	held := isSelected(tx, e)
	if ch.Kind == domain.KindAttribute && (!p.Collapse && !held || e.Loose > 0) && (allowed || !unheard(e, want)) && (!untold(e, ch, p) || setAside(tx, u, f)) { // changes queued before collapse was turned on leave first
		if held {
			supersede(tx, u, f, e, ch.ID)
		}
		ch.Loose = true
		e.Loose++
		Enqueue(tx, u, ch)
		return
	}
	parked := supersede(tx, u, f, e, ch.ID)
	if e.InFlight.ID.IsZero() && (needless(e, ch.Transition, ch.Value, p.UnknownExit) || !allowed && unheard(e, want)) {
		tx.Locate(ch)
		tx.Close(u, ch, domain.StateCancelled, c.Event.Received)
		return
	}
	Await(tx, u, e, ch)
	if parked != nil {
		RepeatCohorts(tx, c, parked)
	}
}

// isSelected reports whether a rollout, or a pause, held the open change of e. Once neither does, a newer one replaces it
// whether values collapse or not: let go later, it would leave behind the newer one.
func isSelected(tx *state.Tx, e *state.Entry) bool {
	if e.Waiting.Place != state.PlaceHeld {
		return false
	}
	ch := tx.Fetch(tx.Held, state.IDKey(e.Waiting.ID))
	return ch != nil && domain.IsSelection(ch.Reason)
}

// draftWanted makes ch the change by which field f becomes want.
func draftWanted(ch *state.Stored, tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *Cause, t domain.Transition, want []byte) {
	draft(ch, tx, u, f, p, c, f.Kind(), t)
	ch.Name, ch.Value = f.Attribute(p), domain.CloneValue(want)
	tx.State.Ledger.Changes.Created++
}

// supersede closes the open attribute change of e, because successor replaces it. An in-flight one stays until its
// request is settled. A parked one is returned.
func supersede(tx *state.Tx, u *state.User, f *state.Field, e *state.Entry, successor domain.ID) (parked *state.Stored) {
	t := e.Waiting
	e.Waiting = state.Ticket{}
	switch {
	case t.ID.IsZero():
		return nil
	case t.Pending() && tx.State.IsInFlight(f.Endpoint(), u.ID, t.ID):
		e.InFlight = t
		u.Index.SetPending(f.Number, false)
		u.Dirty = true // the successor may be held, and not change the pending index
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

// RepeatCohorts sends a user's cohort changes again after a parked change that is retried or superseded. A parked
// change does not block cohort changes, so those sent meanwhile may have met a user without a profile, whom MoEngage
// silently skips. It does nothing if MoEngage accepted anything of the user before that change and nothing since.
func RepeatCohorts(tx *state.Tx, c *Cause, was *state.Stored) {
	u := tx.User(was.User)
	if last := u.Index.Accepted; was.Endpoint != domain.EndpointTransition || last != 0 && last < Second(was.Received) {
		return
	}
	if c.Room() < len(tx.State.Registry.Cohorts) {
		tx.Log.Error("cohort changes of a user were not repeated, because the order has no change ids left: reconcile the audiences that are sent to cohorts",
			"change", was.ID.String())
		return
	}
	again := &Cause{Seq: c.Seq, Slots: c.Slots, Why: domain.CauseRetry, By: c.By, Unguarded: true} // an exit that was sent is sent again
	defer func() { c.Slots = again.Slots }()
	for _, x := range tx.State.Registry.Cohorts {
		f := tx.State.Registry.ComputationOf(x)
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

// TellAgain sends an attribute again, whatever was last sent. An open change already does that, but for queued ones of which
// an operator dropped the last.
func TellAgain(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, en *state.Entry, c *Cause, t domain.Transition, value []byte) {
	if !en.Waiting.ID.IsZero() {
		return
	}
	if !state.Allows(tx, u, p) { // a removal, where MoEngage may know otherwise
		send := false
		if t, value, send = Removal(f, p); !send || en.LastSent.Kind == state.NeverSent {
			return
		}
	}
	if en.Loose > 0 {
		if _, last := lastLoose(tx, u, f); domain.SameValue(last, value) {
			return
		}
	}
	if en.LastSent.Kind != state.NeverSent { // else it is sent, or held, anyway, and MoEngage knows nothing of it until then
		en.LastSent = state.LastSent{Kind: state.UncertainlySent}
	}
	WantAttribute(tx, u, f, p, en, c, t, value)
}

// WantMember sends a target that a user is a member, unless MoEngage will know that once the open changes are
// delivered.
func WantMember(tx *state.Tx, u *state.User, x *state.Field, p *domain.Policy, e *state.Entry, c *Cause) {
	if !expects(tx, u, x, e, domain.TransitionEnter, domain.JSONTrue, false) {
		WantAttribute(tx, u, x, p, e, c, domain.TransitionEnter, domain.JSONTrue)
	}
}
