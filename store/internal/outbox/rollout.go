package outbox

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// While a computation is rolled out, the changes of the users that it does not reach are held. What is held of a user
// collapses: of an attribute, a cohort and a list the newest, of events the newest, and an enter and an exit of which
// MoEngage knows neither are both cancelled. Four places see to that:
//
//	making a change     WantAttribute and HoldEvent hold one that is beyond the share
//	applying an event   Reach first lets go what the share has reached, so that the newer change leaves behind it
//	a new share         ReachAll and HoldOpen, for one user after the other; see apply.compareNext
//	taking a lease      HoldOpen holds what became beyond since: a retried change, a smaller share. LetTold lets go what
//	                    was held before MoEngage was told of the user after all, so that nothing newer overtakes it
//
// A share decides of whom MoEngage is told first. A user it was told of goes on being told: one who left an audience
// must not stay in it at MoEngage because the share shrank.

// Beyond reports whether the rollout of a policy holds the changes of a user about f.
func Beyond(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy) bool {
	return p.Rollout != nil && !p.Reaches(u.ID) && !p.HoldsOut(u.ID) && !told(tx, u, f)
}

// told reports whether MoEngage was told of a user's membership or value by any target, or may be by a request in flight.
func told(tx *state.Tx, u *state.User, f *state.Field) bool {
	for _, x := range tx.State.Registry.TargetFields(tx.State.Registry.Speaker(f)) {
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

// holdBeyond holds a change of the row, which replaces the open one, unless no net difference remains.
func holdBeyond(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, e *state.Entry, ch *state.Stored, at time.Time) {
	supersede(tx, u, f, e, ch.ID)
	tx.Write(u, f.Number)
	if needless(e, ch.Transition, ch.Value, p.UnknownExit) {
		tx.Locate(ch)
		tx.Close(u, ch, domain.StateCancelled, at)
		return
	}
	ch.Loose = false // it collapses, whatever the policy says
	holdForRollout(tx, u, f, p, ch, e)
}

func holdForRollout(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, ch *state.Stored, e *state.Entry) {
	ch.Reason, ch.Sentence = domain.ReasonRollout, "" // made when it is read
	if f.Key == "" {                                  // a forwarded trait goes with the computation that forwards it
		ch.Computation, ch.ComputedBy = p.Of, p.OfID
	}
	hold(tx, u, f, ch, e)
}

// HoldEvent holds an event of a user whom the rollout does not reach.
func HoldEvent(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, ch *state.Stored, at time.Time) {
	undone := false
	for _, old := range heldFor(tx, u, f) {
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
	holdForRollout(tx, u, f, p, ch, nil)
}

// heldFor returns the events about f that a rollout holds of a user, in the order in which they were made.
func heldFor(tx *state.Tx, u *state.User, f *state.Field) (list []*state.Stored) {
	if f.Rollout == 0 {
		return nil
	}
	for _, id := range heldEvents(tx, u) {
		if ch := tx.Fetch(tx.Held, id); ch != nil && ch.Field == f.Number && ch.Reason == domain.ReasonRollout {
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

// Reach lets go what a rollout holds of a user about f, and its cohort and list, if it reaches the user by now.
func Reach(tx *state.Tx, u *state.User, f *state.Field, at time.Time) {
	for _, x := range tx.State.Registry.TargetFields(f) {
		if t := &tx.Entry(u, x.Number).Waiting; x.Rollout > 0 && t.Place == state.PlaceHeld {
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

// LetTold lets go the held events of a user before a pending one: MoEngage was told of the user since, or the share
// reached them, and what the guard held was released. They keep their receipt, so that they are due before what is newer.
func LetTold(tx *state.Tx, u *state.User) {
	if u.Index.Backlog().Events == 0 {
		return // nothing overtakes them
	}
	for _, id := range heldEvents(tx, u) {
		if ch := tx.Fetch(tx.Held, id); ch != nil && ch.Reason == domain.ReasonRollout {
			reachOne(tx, u, id, ch.Received)
		}
	}
}

// reachOne lets one held change go, unless the rollout still holds it. It counts as received then, because nobody waited
// for it until then.
func reachOne(tx *state.Tx, u *state.User, id []byte, at time.Time) {
	ch := tx.Fetch(tx.Held, id)
	if ch == nil || ch.Reason != domain.ReasonRollout {
		return
	}
	f := tx.FieldOf(ch.Field)
	if f == nil {
		return // only corruption explains this
	}
	p := tx.RolloutOf(ch)
	if Beyond(tx, u, f, &p) {
		return
	}
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
	case !state.Allows(tx, u, &p):
		markOwn(tx, u, f, &p)
		closeWithheld(tx, u, &p, ch, at)
	case ch.Kind == domain.KindEvent && p.MaxEventAge > 0 && at.Sub(ch.EventTime) > p.MaxEventAge:
		ch.Sentence = "older than max_event_age when the share reached the user"
		tx.Close(u, ch, domain.StateCancelled, at)
	case tx.State.Registry.Conflicted(f, &p, &tx.State.Rules):
		HoldConflict(tx, u, f, ch, held)
	case GuardHolds(tx, u, f, &p, &Cause{}, ch.Transition):
		HoldExit(tx, u, f, ch, held)
	default:
		ch.Received = at
		release(tx, u, f, &p, ch, at)
	}
}

// HoldOpen holds the pending changes of a user whom a rollout does not reach. One in flight stays until it is settled. A
// forwarded trait stays: it was let go by the computation that forwarded it.
func HoldOpen(tx *state.Tx, u *state.User, at time.Time) {
	held := false
	for _, number := range u.Index.PendingFields(nil) {
		f, e := tx.FieldOf(number), tx.Entry(u, number)
		if f == nil || !e.Waiting.Pending() {
			continue
		}
		if p := state.PolicyOf(tx, f); Beyond(tx, u, f, &p) {
			ch := tx.PendingChange(u, f, &e.Waiting)
			SettlePending(tx, u, f, &e.Waiting)
			e.Waiting = state.Ticket{}
			holdBeyond(tx, u, f, &p, e, ch, at)
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
		if !Beyond(tx, u, f, &p) {
			continue
		}
		some = true
		Dequeue(tx, u, ch.Endpoint, ch.Lane, ch.ID)
		tx.State.Ledger.Changes.Pending--
		looseLess(tx, u, ch)
		e := tx.Entry(u, f.Number)
		switch newer := e.Waiting.ID; {
		case !ch.Loose:
			HoldEvent(tx, u, f, &p, ch, at)
		case newer.Compare(ch.ID) > 0: // made while this one was pending
			ch.Successor = newer
			tx.Close(u, ch, domain.StateSuperseded, at)
		default:
			holdBeyond(tx, u, f, &p, e, ch, at)
		}
	}
	return some
}
