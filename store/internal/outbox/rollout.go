package outbox

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// While a computation is rolled out, the changes of the users that it does not reach are held. While it is paused, those
// of all users are. The held changes of a user collapse: of an attribute, a cohort and a list the newest. A rollout also
// keeps of events the newest, and an enter and an exit of which MoEngage knows neither are both cancelled; a pause keeps
// every event. Four places see to that:
//
//	making a change     WantAttribute and HoldEvent hold one that is beyond the share, or paused
//	applying an event   Reach first lets go what the share has reached, so that the newer change leaves behind it, and
//	                    holds what a pause has not come to, so that the newer change does not leave before it
//	new rules           ReachAll and HoldOpen, for one user after the other; see apply.compareNext
//	taking a lease      HoldOpen holds what became beyond since: a retried change, a smaller share, a pause. letTold lets
//	                    go the changes held before MoEngage was told of the user after all, so that nothing newer overtakes it
//
// A share decides of whom MoEngage is told first. A user it was told of goes on being told: one that left an audience
// must not stay in it at MoEngage because the share shrank. A pause asks nothing of that. Where both hold a change, the
// reason is the rollout, which goes on when the pause ends.

// HeldAs returns the reason for which a rollout, or a pause, holds the changes of a user about f, "" if neither does.
func HeldAs(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy) string {
	switch {
	case p.Rollout != nil && !p.Reaches(u.ID) && !p.HoldsOut(u.ID) && !told(tx, u, f):
		return domain.ReasonRollout
	case p.Paused != nil:
		return domain.ReasonPaused
	}
	return ""
}

// told reports whether MoEngage was told of a user's membership or value by any target, or may be by a request in flight.
func told(tx *state.Tx, u *state.User, f *state.Field) bool {
	for _, x := range tx.State.Registry.TargetFields(tx.State.Registry.ComputationOf(f)) {
		e := tx.Entry(u, x.Number)
		if e.LastSent.Kind != state.NeverSent || !e.InFlight.ID.IsZero() || e.Waiting.Pending() && tx.State.IsInFlight(x.Endpoint(), u.ID, e.Waiting.ID) {
			return true
		}
	}
	lease := tx.State.InFlight[state.LeaseKey{Endpoint: domain.EndpointTransition, User: u.ID}]
	if lease == nil || !lease.Loose {
		return false
	}
	ch := tx.FetchQueued(state.QueueKey(u.Key, lease.Queued.Number, lease.Queued.ID))
	return ch != nil && ch.Field == f.Number
}

// holdBeyond holds a change of the row, which replaces the open one, unless no net difference remains. One in flight
// stays, and decides about the difference when the held one is let go.
func holdBeyond(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, e *state.Entry, ch *state.Stored, why string, at time.Time) {
	supersede(tx, u, f, e, ch.ID)
	tx.Write(u, f.Number)
	still := e.InFlight.ID.IsZero() && e.Loose == 0
	if still && (needless(e, ch.Transition, ch.Value, p.UnknownExit) || !state.Allows(tx, u, p) && unheard(e, ch.Value)) {
		tx.Locate(ch)
		tx.Close(u, ch, domain.StateCancelled, at)
		return
	}
	ch.Loose = false // it collapses, whatever the policy says
	holdAs(tx, u, f, p, ch, e, why)
}

// holdAs holds a change for a reason that HeldAs returned. e is nil for an event.
func holdAs(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, ch *state.Stored, e *state.Entry, why string) {
	ch.Reason, ch.Sentence = why, "" // made when it is read
	if f.Key == "" {                 // a forwarded trait goes with the computation that forwards it
		ch.Computation, ch.ComputedBy = p.Of, p.OfID
	}
	hold(tx, u, f, ch, e)
}

// HoldEvent holds an event for a reason that HeldAs returned. What a rollout holds collapses.
func HoldEvent(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, ch *state.Stored, why string, at time.Time) {
	if why != domain.ReasonRollout {
		holdAs(tx, u, f, p, ch, nil, why)
		return
	}
	undone := false
	for _, old := range heldFor(tx, u, f) {
		if old.Reason != why {
			continue
		}
		as := domain.StateSuperseded
		if old.Transition == domain.TransitionEnter && ch.Transition == domain.TransitionExit || old.Transition == domain.TransitionExit && ch.Transition == domain.TransitionEnter {
			undone, as = true, domain.StateCancelled
		}
		old.Successor = ch.ID
		tx.Withdraw(old)
		tx.Remove(tx.Queue, state.QueueKey(u.Key, state.LaneHeld, old.ID))
		tx.Close(u, old, as, at)
	}
	if undone {
		tx.Locate(ch)
		tx.Close(u, ch, domain.StateCancelled, at)
		return
	}
	holdAs(tx, u, f, p, ch, nil, why)
}

// heldFor returns the events about f that a rollout, or a pause, holds of a user, in the order in which they were made.
func heldFor(tx *state.Tx, u *state.User, f *state.Field) (list []*state.Stored) {
	if f.Rollout+f.Paused == 0 {
		return nil
	}
	for _, id := range heldEvents(tx, u) {
		if ch := tx.Fetch(tx.Held, id); ch != nil && ch.Field == f.Number && domain.IsSelection(ch.Reason) {
			list = append(list, ch)
		}
	}
	return list
}

// heldEvents returns the keys of the held events of a user.
func heldEvents(tx *state.Tx, u *state.User) (ids [][]byte) {
	prefix := binary.BigEndian.AppendUint32(slices.Clone(u.Key), state.LaneHeld)
	for _, key := range state.KeysWithPrefix(tx.Queue, prefix) {
		ids = append(ids, key[len(prefix):])
	}
	return ids
}

// Reach lets go what a rollout or a pause holds of a user about f, and its cohort and list, if neither does by now. Of a
// paused computation it holds the pending changes still.
func Reach(tx *state.Tx, u *state.User, f *state.Field, at time.Time) {
	if len(tx.State.Rules.Paused) > 0 {
		if p := state.PolicyOf(tx, f); p.Paused != nil {
			HoldOpen(tx, u, at)
			return
		}
	}
	if tx.State.Ledger.Changes.Held == 0 {
		return // nothing is held of anybody
	}
	for _, x := range tx.State.Registry.TargetFields(f) {
		if x.Rollout+x.Paused == 0 {
			continue
		}
		if t := &tx.Entry(u, x.Number).Waiting; t.Place == state.PlaceHeld {
			reachOne(tx, u, state.IDKey(t.ID), at)
		}
	}
	for _, ch := range heldFor(tx, u, f) {
		reachOne(tx, u, state.IDKey(ch.ID), at)
	}
}

// ReachAll is Reach of everything that is held of a user. The caller names the rows of the user.
func ReachAll(tx *state.Tx, u *state.User, rows []uint16, at time.Time) {
	ids := heldEvents(tx, u)
	for _, number := range rows {
		for _, e := range tx.Block(u, number).Entries {
			if e.Waiting.Place == state.PlaceHeld {
				ids = append(ids, state.IDKey(e.Waiting.ID))
			}
		}
	}
	slices.SortFunc(ids, bytes.Compare)
	for _, id := range ids {
		reachOne(tx, u, id, at)
	}
}

// letTold lets go the held events of a user before a pending one: MoEngage was told of the user since, or the share
// reached them, or the pause ended, and what the guard held was released. They keep their receipt, so that they are due
// before the newer ones.
func letTold(tx *state.Tx, u *state.User) {
	if u.Index.Backlog().Events == 0 {
		return // nothing overtakes them
	}
	for _, id := range heldEvents(tx, u) {
		if ch := tx.Fetch(tx.Held, id); ch != nil && domain.IsSelection(ch.Reason) {
			reachOne(tx, u, id, ch.Received)
		}
	}
}

// reachOne lets one held change go, unless the rollout or the pause still holds it. It counts as received then, because
// nobody waited for it until then.
func reachOne(tx *state.Tx, u *state.User, id []byte, at time.Time) {
	ch := tx.Fetch(tx.Held, id)
	if ch == nil || !domain.IsSelection(ch.Reason) {
		return
	}
	f := tx.FieldOf(ch.Field)
	if f == nil {
		return // only corruption explains this
	}
	p := tx.SelectionOf(ch)
	why := HeldAs(tx, u, f, &p)
	if why == ch.Reason {
		return
	}
	own := tx.State.Registry.ComputationOf(f)
	final := ch.ID.Seq < own.Exits.Seq || decided(tx.Entry(u, own.Number), ch.ID.Seq) || ch.Kind == domain.KindEvent && isReturnedFrom(tx, u, f, ch) // as in HoldWaiting
	tx.Withdraw(ch)
	e := tx.Entry(u, f.Number)
	held := e
	if ch.InRow() {
		e.Waiting = state.Ticket{}
		tx.Write(u, f.Number)
	} else {
		held = nil
		tx.Remove(tx.Queue, state.QueueKey(u.Key, state.LaneHeld, ch.ID))
	}
	switch {
	case why != "" && held == nil:
		HoldEvent(tx, u, f, &p, ch, why, at)
	case why != "":
		holdAs(tx, u, f, &p, ch, held, why)
	case !state.Allows(tx, u, &p) && !(ch.InRow() && Removes(f, &p, ch.Transition, ch.Value)):
		markOwn(tx, u, f, &p)
		closeWithheld(tx, u, &p, ch, at)
	case ch.Kind == domain.KindEvent && p.MaxEventAge > 0 && at.Sub(ch.EventTime) > p.MaxEventAge:
		ch.Sentence = "older than max_event_age when it was let go"
		tx.Close(u, ch, domain.StateCancelled, at)
	case tx.State.Registry.Conflicted(f, &p, &tx.State.Rules):
		HoldConflict(tx, u, f, ch, held)
	case !final && GuardHolds(tx, u, f, &p, &Cause{}, ch.Transition):
		HoldExit(tx, u, f, ch, held)
	default:
		ch.Received = at
		release(tx, u, f, &p, ch, at)
	}
}

// isReturnedFrom reports whether a held exit is followed by a held enter: both are sent, in order.
func isReturnedFrom(tx *state.Tx, u *state.User, f *state.Field, exit *state.Stored) bool {
	return exit.Transition == domain.TransitionExit && slices.ContainsFunc(heldFor(tx, u, f), func(ch *state.Stored) bool {
		return ch.Transition == domain.TransitionEnter && ch.ID.Compare(exit.ID) > 0
	})
}

// HoldOpen holds the pending changes of a user whom a rollout does not reach, and those of paused computations. One in
// flight stays until it is settled. A forwarded trait stays: it was let go by the computation that forwarded it.
func HoldOpen(tx *state.Tx, u *state.User, at time.Time) {
	held := false
	for _, number := range u.Index.PendingFields(nil) {
		f, e := tx.FieldOf(number), tx.Entry(u, number)
		if f == nil || !e.Waiting.Pending() || tx.State.IsInFlight(f.Endpoint(), u.ID, e.Waiting.ID) {
			continue
		}
		p := state.PolicyOf(tx, f)
		if why := HeldAs(tx, u, f, &p); why != "" {
			ch := tx.PendingChange(u, f, &e.Waiting)
			SettlePending(tx, u, f, &e.Waiting)
			e.Waiting = state.Ticket{}
			holdBeyond(tx, u, f, &p, e, ch, why, at)
			held = true
		}
	}
	if u.Index.Backlog().Events > 0 {
		held = holdQueued(tx, u, at) || held
	}
	for _, endpoint := range [...]domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort} {
		if held && len(u.Index.Endpoint(endpoint).Lanes) > 0 {
			Retime(tx, u, endpoint)
		}
	}
}

// holdQueued is HoldOpen of the user's queue, and reports whether it held anything.
func holdQueued(tx *state.Tx, u *state.User, at time.Time) (some bool) {
	var list []*state.Stored
	for _, key := range state.KeysWithPrefix(tx.Queue, u.Key) {
		if ch := tx.FetchQueued(key); ch != nil && !tx.State.UnderWay(ch.Endpoint, u.ID, ch.ID) {
			list = append(list, ch)
		}
	}
	slices.SortFunc(list, func(a, b *state.Stored) int { return a.ID.Compare(b.ID) })
	for _, ch := range list {
		f := tx.FieldOf(ch.Field)
		if f == nil {
			continue
		}
		p := state.PolicyOf(tx, f)
		why := HeldAs(tx, u, f, &p)
		if why == "" {
			continue
		}
		some = true
		dequeue(tx, u, ch.Endpoint, ch.Lane, ch.ID)
		tx.State.Ledger.Changes.Pending--
		looseLess(tx, u, ch)
		e := tx.Entry(u, f.Number)
		switch newer := e.Waiting.ID; {
		case !ch.Loose:
			HoldEvent(tx, u, f, &p, ch, why, at)
		case newer.Compare(ch.ID) > 0: // made while this one was pending
			ch.Successor = newer
			tx.Close(u, ch, domain.StateSuperseded, at)
		default:
			holdBeyond(tx, u, f, &p, e, ch, why, at)
		}
	}
	return some
}
