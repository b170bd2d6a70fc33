package apply

import (
	"bytes"
	"cmp"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// memberAssertion returns the assertion of c about a membership.
func memberAssertion(c *outbox.Cause) domain.Assertion {
	at := c.Event.Time.UnixNano()
	assertion := domain.Assertion{Value: domain.JSONFalse, Time: at, Since: at, Seq: c.Seq}
	if c.Event.Flag == domain.FlagIn {
		assertion.Value = domain.JSONTrue
	}
	if c.Unguarded {
		assertion.Message = domain.ByOperator
	}
	return assertion
}

// member applies a membership to one of the kept assertions. tell is false if the transition makes no event: the
// event is sent by itself, or not at all.
func member(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *outbox.Cause, sort int, tell bool) domain.Outcome {
	outbox.ReadmitFirst(tx, u, f, p, c)
	outbox.Reach(tx, u, f, c.Event.Received)
	en, assertion := tx.Entry(u, f.Number), memberAssertion(c)
	outbox.ComplyFirst(tx, u, f, p, en, c)
	wasIn, before := en.Newest().IsIn(), en.Known(sort)
	untold := sort == state.KeptIdentify && assertion.IsIn() && en.Kept[sort] == nil // an import without events sent nothing
	if f.NoteCall(sort, c.Event.Call) {
		tx.Touch(f)
	}
	watched := tx.State.Rules.Guards(p) && !c.Unguarded
	if watched {
		outbox.OpenWindow(tx, f, c)
	}
	if f.Exits.Swept != nil {
		outbox.HoldWaiting(tx, u, f, f.Exits.Seq)
	}
	result := observe(en, sort, assertion, true, believable(tx, c))
	if result == domain.OutcomeStale || result == domain.OutcomeDuplicate {
		return result
	}
	tx.Write(u, f.Number)
	isIn := en.Newest().IsIn()
	outbox.CountMember(tx, u, f, c, wasIn, isIn)
	outbox.Mark(tx, u, f, p, en)
	switch {
	case isIn || c.Unguarded:
		outbox.UncountLeft(tx, f, en)
	case watched && wasIn:
		outbox.CountLeft(tx, f, en, c)
	}
	if isIn && !wasIn {
		outbox.ComeBack(tx, u, f, p, en, c, sort)
	}
	if result == domain.OutcomeTransition || isIn != wasIn {
		outbox.UpdateTargets(tx, u, f, p, en, c)
	}
	if result != domain.OutcomeTransition {
		if untold {
			outbox.WantMember(tx, u, f, p, en, c)
		}
		return result
	}
	t := domain.TransitionEnter
	if !assertion.IsIn() {
		if t = domain.TransitionExit; before == nil && !p.UnknownExit {
			return domain.OutcomeUnchanged // Segment sends exits for every identifier: kept, and not sent
		}
	}
	attribute, held := true, false
	if assertion.IsIn() && f.Held > 0 {
		own := before != nil && outbox.HoldsExit(tx, u, f, before.Seq)
		attribute, held = outbox.CancelHeld(tx, u, f, en, sort)
		attribute, held = !(attribute && en.LastSent.Is(assertion.Value) && !en.Moving()), held && own
	}
	emit(tx, u, f, p, en, c, sort, t, assertion.Value, attribute, tell && !held)
	return domain.OutcomeTransition
}

// values applies every value of a trait's event.
func values(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *outbox.Cause, event bool) domain.Outcome {
	e, result := c.Event, domain.OutcomeIgnored
	for _, col := range e.Columns {
		target := f
		if col.Name != e.Key {
			target = column(tx, f, col.Name)
		}
		result = max(result, value(tx, u, target, p, c, e.Bytes(col.Value), event))
	}
	return result
}

// value applies one value of a trait. event is false if the event is sent by itself.
func value(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *outbox.Cause, value []byte, event bool) domain.Outcome {
	outbox.Reach(tx, u, f, c.Event.Received)
	at := c.Event.Time.UnixNano()
	assertion := domain.Assertion{Value: bytes.Clone(value), Time: at, Since: at, Message: c.Event.MessageID, Seq: c.Seq}
	en, sort := tx.Entry(u, f.Number), sortOf(p, c.Event)
	outbox.ComplyFirst(tx, u, f, p, en, c)
	first := en.Known(sort) == nil
	result := observe(en, sort, assertion, false, believable(tx, c))
	if result == domain.OutcomeStale || result == domain.OutcomeDuplicate && !en.Known(sort).Agree(assertion) {
		return result
	}
	tx.Write(u, f.Number)
	outbox.Mark(tx, u, f, p, en)
	if result != domain.OutcomeTransition {
		return result
	}
	if first && bytes.Equal(value, domain.JSONNull) {
		return domain.OutcomeUnchanged // no value before, and none now
	}
	if value, send := p.Sendable(assertion.Value); send {
		emit(tx, u, f, p, en, c, sort, domain.TransitionValue, value, true, event)
	}
	return domain.OutcomeTransition
}

// observe compares an assertion with the kept one, keeps it unless it is stale or a duplicate, and returns the
// outcome. A kept assertion of a time beyond believable counts as older.
func observe(e *state.Entry, sort int, assertion domain.Assertion, membership bool, believable int64) domain.Outcome {
	known := e.Known(sort)
	if known != nil && known.Time > believable {
		k := *known
		k.Before(assertion.Time)
		known = &k
	}
	came := domain.OutcomeTransition
	switch domain.Compare(known, assertion, membership) {
	case domain.CompareStale:
		return domain.OutcomeStale
	case domain.CompareDuplicate:
		return domain.OutcomeDuplicate
	case domain.CompareUnchanged:
		assertion.Value, assertion.Since, assertion.Seq = known.Value, known.Since, known.Seq // 450.0 is still the 450 that was sent
		if came = domain.OutcomeUnchanged; membership {
			assertion.Message = cmp.Or(assertion.Message, known.Message)
		}
	}
	for _, s := range e.Kept { // of the other call as well, or it would hide this one
		if s != nil && s.Time > believable {
			s.Before(assertion.Time)
		}
	}
	e.Keep(sort, &assertion)
	return came
}

// sortOf returns the sort under which the assertion of an event is kept.
func sortOf(p *domain.Policy, e *domain.Event) int {
	switch {
	case !p.Send.Has(domain.SendAsReceived):
		return state.KeptOne
	case e.Call == domain.CallTrack:
		return state.KeptTrack
	default:
		return state.KeptIdentify
	}
}

// emit makes the changes of a transition on the attribute and as an event, as far as the policy sends them.
func emit(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, en *state.Entry, c *outbox.Cause, sort int, t domain.Transition, value []byte, attribute, event bool) {
	e := c.Event
	asAttribute := attribute && (p.Send.Has(domain.SendAttribute) || p.Send.Has(domain.SendAsReceived) && sort == state.KeptIdentify)
	asEvent := event && (p.Send.Has(domain.SendEvent) || p.Send.Has(domain.SendAsReceived) && sort == state.KeptTrack)
	if p.IsTooOld(e) {
		asEvent = false // a replay: the state is new, the event is too old to send
	}
	if asAttribute {
		outbox.WantAttribute(tx, u, f, p, en, c, t, value)
	}
	if asEvent {
		wantEvent(tx, u, f, p, c, t, value, sort == state.KeptTrack)
	}
}

// wantEvent makes an event change: the received event, or one that is the same whichever call came first.
func wantEvent(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *outbox.Cause, t domain.Transition, value []byte, received bool) {
	ch := outbox.Draft(tx, u, f, p, c, domain.KindEvent, t)
	ch.Value = domain.CloneValue(value)
	why := outbox.HeldAs(tx, u, f, p)
	switch t {
	case domain.TransitionEnter:
		ch.Name = p.EnterEvent
	case domain.TransitionExit:
		ch.Name = p.ExitEvent
	default:
		ch.Name = p.TraitEvent
	}
	if received {
		ch.Name = cmp.Or(c.Event.Name, ch.Name) // a narrow webhook mapping omits the name
		ch.Props = c.Event.Properties()
	}
	tx.State.Ledger.Changes.Created++
	switch {
	case !state.Allows(tx, u, p):
		outbox.Withhold(tx, u, p, c, ch)
	case why != "":
		outbox.HoldOpen(tx, u, c.Event.Received)
		outbox.HoldEvent(tx, u, f, p, ch, why, c.Event.Received)
	case tx.State.Registry.Conflicted(f, p, &tx.State.Rules):
		outbox.HoldConflict(tx, u, f, ch, nil)
	case outbox.GuardHolds(tx, u, f, p, c, t):
		outbox.HoldExit(tx, u, f, ch, nil)
	default:
		if t == domain.TransitionExit { // released later, the held ones would leave behind this newer one
			outbox.CancelHeld(tx, u, f, tx.Entry(u, f.Number), state.KeptTrack)
		}
		outbox.Enqueue(tx, u, ch)
	}
}

// believable returns the latest time, in ns, that a kept assertion can have. One beyond it was written while the
// clock was ahead and is not compared by time, or everything would be stale until the clock is there. A record whose
// own time is ahead of its receipt came while the clock was set back, and vouches for the times before it.
func believable(tx *state.Tx, c *outbox.Cause) int64 {
	return domain.Later(tx.Now, c.Event.Time).Add(domain.MaxAhead).UnixNano()
}
