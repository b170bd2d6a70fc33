package apply

import (
	"bytes"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// causeOf returns what the journal says of an order.
func causeOf(o *record.Order) domain.JournalCause {
	switch o.Verb {
	case record.OrderImport:
		return domain.CauseImport
	case record.OrderBaseline:
		return domain.CauseBaseline
	case record.OrderReconcile:
		return domain.CauseReconcile
	case record.OrderClose:
		return domain.CauseClose
	case record.OrderDiscard:
		return domain.CauseDiscard
	case record.OrderAdopt:
		return domain.CauseAdopt
	}
	return 0 // it makes no change
}

// ApplyOrder applies one record of an operator's order. The record has everything that was decided, so that applying
// it again gives the same.
func ApplyOrder(tx *state.Tx, seq uint64, o *record.Order) {
	tx.Now = o.Received
	if o.Verb == record.OrderName {
		if len(tx.State.Registry.ByKey[o.Key]) == 0 {
			tx.NewField(&state.Field{Key: o.Key, Class: domain.ClassAudience})
		}
		return
	}
	if o.Verb == record.OrderCompare {
		compareNext(tx, seq, o)
		return
	}
	if o.Verb == record.OrderDelete {
		applyForget(tx, seq, o)
		return
	}
	f := tx.FieldOf(o.Field)
	if f == nil {
		return // only corruption explains this
	}
	p := tx.State.Rules.For(f.Key, f.ID)
	c := &outbox.Cause{Seq: seq, Why: causeOf(o), By: o.By, Unguarded: o.Verb == record.OrderClose || o.Verb == record.OrderBaseline}
	switch o.Verb {
	case record.OrderRelease, record.OrderDiscard:
		applyDecision(tx, f, &p, c, o)
		return
	case record.OrderDiscarded:
		outbox.EndDiscard(tx, f)
		return
	case record.OrderForget:
		applyRemoval(tx, f, o)
		return
	case record.OrderAdopt:
		applyAdoption(tx, f, &p, c, o)
		return
	}
	for i := range o.Targets {
		w := &o.Targets[i]
		c.Event = &domain.Event{Received: o.Received, Time: o.Time, Class: f.Class, MessageID: o.Verb.String(), Flag: domain.FlagOut}
		if w.In {
			c.Event.Flag = domain.FlagIn
		}
		if o.Verb != record.OrderReconcile && forgotten(tx, w.User, o.Time, believable(tx, c)) {
			continue
		}
		obey(tx, tx.User(w.User), f, &p, c, o)
	}
}

// applyDecision releases or discards held exits. A record without ids or users is the decision itself; those that
// follow have the exits.
func applyDecision(tx *state.Tx, f *state.Field, p *domain.Policy, c *outbox.Cause, o *record.Order) {
	if len(o.IDs)+len(o.Targets) == 0 {
		outbox.Decide(tx, f, c, o)
	}
	for i := range o.Targets {
		outbox.ReadmitFirst(tx, tx.User(o.Targets[i].User), f, p, c)
	}
	for _, id := range o.IDs {
		id.Epoch = tx.State.Epochs.Of(id.Seq)
		outbox.LetGo(tx, f, p, c, id, o.Verb == record.OrderDiscard)
	}
}

// obey applies an order to one user.
func obey(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *outbox.Cause, o *record.Order) {
	outbox.ReadmitFirst(tx, u, f, p, c)
	en := tx.Entry(u, f.Number)
	switch o.Verb {
	case record.OrderImport:
		for _, sort := range states(f, p, en) {
			member(tx, u, f, p, c, sort, o.Events)
		}
	case record.OrderClose:
		if s := en.Newest(); s != nil && c.Event.Time.UnixNano() < s.Time && s.Time <= believable(tx, c) {
			c.Event.Time = time.Unix(0, s.Time).UTC() // of one time an exit wins
		}
		for _, sort := range states(f, p, en) {
			if en.Known(sort).IsIn() {
				member(tx, u, f, p, c, sort, o.Events)
			}
		}
	case record.OrderBaseline:
		baseline(tx, u, f, p, c)
	case record.OrderReconcile:
		outbox.Reach(tx, u, f, o.Received) // a repeated change leaves behind it
		reconcile(tx, u, f, p, c, o.Events)
	}
}

// states lists the sorts of assertion that an order sets: one, or those of identify and track that have come. Before
// the first event it is one, with which both are compared later.
func states(f *state.Field, p *domain.Policy, en *state.Entry) (sorts []int) {
	if p.Send.Has(domain.SendAsReceived) {
		for _, sort := range [...]int{state.KeptIdentify, state.KeptTrack} {
			if f.Flags&(1<<sort) != 0 || en.Kept[sort] != nil {
				sorts = append(sorts, sort)
			}
		}
	}
	if len(sorts) == 0 {
		return []int{state.KeptOne}
	}
	return sorts
}

// baseline keeps the order's memberships as known to MoEngage.
func baseline(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *outbox.Cause) {
	en := tx.Entry(u, f.Number)
	wasIn, applied := en.Newest().IsIn(), false
	assertion := memberAssertion(c)
	for _, sort := range states(f, p, en) {
		applied = observe(en, sort, assertion, true, believable(tx, c)) != domain.OutcomeStale || applied
	}
	if !applied {
		return
	}
	isIn := en.Newest().IsIn()
	outbox.UncountLeft(tx, f, en)
	tx.Write(u, f.Number)
	outbox.CountMember(tx, u, f, c, wasIn, isIn)
	outbox.Mark(tx, u, f, p, en)
	if assertion.IsIn() {
		outbox.CancelHeld(tx, u, f, en, state.KeptOne) // a held exit would undo it
	}
	if p.SendsAttributes() {
		assume(tx, u, f, p, en, c, transitionOf(assertion), assertion.Value)
	}
	t, value := en.Membership()
	for _, x := range state.Targets(tx, f, p) {
		assume(tx, u, x, p, tx.Entry(u, x.Number), c, t, value)
	}
}

// assume records that MoEngage has a value of field x, unless it is to delete the user: then it is told after that.
func assume(tx *state.Tx, u *state.User, x *state.Field, p *domain.Policy, e *state.Entry, c *outbox.Cause, t domain.Transition, value []byte) {
	tx.Write(u, x.Number)
	if outbox.Deleting(tx, u) { // MoEngage has it no longer by then
		outbox.WantAttribute(tx, u, x, p, e, c, t, value)
		return
	}
	if !e.InFlight.ID.IsZero() || e.Loose > 0 || e.Waiting.Pending() && tx.State.IsInFlight(x.Endpoint(), u.ID, e.Waiting.ID) {
		// An in-flight value, or one that is queued because it does not collapse, may differ: this value is
		// sent after it. Until then MoEngage has either.
		if t == domain.TransitionEnter || e.LastSent.Kind != state.NeverSent {
			e.LastSent = state.LastSent{Kind: state.UncertainlySent}
		}
		outbox.WantAttribute(tx, u, x, p, e, c, t, value)
		return
	}
	outbox.CancelWaiting(tx, u, x, e)
	if t == domain.TransitionEnter || e.LastSent.Kind != state.NeverSent {
		e.LastSent = state.SentValue(value)
	}
	if !state.Allows(tx, u, p) {
		outbox.TakeBack(tx, u, x, p, e, c)
	}
}

func transitionOf(s domain.Assertion) domain.Transition {
	if s.IsIn() {
		return domain.TransitionEnter
	}
	return domain.TransitionExit
}

// reconcile sends again what MoEngage should know of a user, with the columns of a SQL trait. An open change already
// does that, or will once an operator decides.
func reconcile(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *outbox.Cause, events bool) {
	en := tx.Entry(u, f.Number)
	if f.Class == domain.ClassTrait {
		reconcileValue(tx, u, f, p, c, events)
		return
	}
	s := en.Newest()
	if s == nil {
		return
	}
	c.Event.Time = time.Unix(0, s.Since).UTC()
	reconcileTargets(tx, u, f, p, c, en)
	if said := en.AssertionFor(p, domain.SendAttribute, state.KeptIdentify); said != nil && !en.IsUnknownExit(said, p) {
		outbox.TellAgain(tx, u, f, p, en, c, transitionOf(*said), said.Value)
	}
	if said := en.AssertionFor(p, domain.SendEvent, state.KeptTrack); events && said != nil && !en.IsUnknownExit(said, p) {
		wantEvent(tx, u, f, p, c, transitionOf(*said), said.Value, false)
	}
}

func reconcileTargets(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *outbox.Cause, en *state.Entry) {
	t, value := en.Membership()
	for _, x := range state.Targets(tx, f, p) {
		e := tx.Entry(u, x.Number)
		if t == domain.TransitionExit && e.LastSent.Kind == state.NeverSent && !p.UnknownExit {
			continue
		}
		outbox.TellAgain(tx, u, x, p, e, c, t, value)
	}
}

func reconcileValue(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *outbox.Cause, events bool) {
	en := tx.Entry(u, f.Number)
	if s := en.AssertionFor(p, domain.SendAttribute, state.KeptIdentify); s != nil && !(en.LastSent.Kind == state.NeverSent && bytes.Equal(s.Value, domain.JSONNull)) {
		if value, send := p.Sendable(s.Value); send {
			c.Event.Time = time.Unix(0, s.Since).UTC()
			outbox.TellAgain(tx, u, f, p, en, c, domain.TransitionValue, value)
		}
	}
	if s := en.AssertionFor(p, domain.SendEvent, state.KeptTrack); events && s != nil {
		if value, send := p.Sendable(s.Value); send {
			c.Event.Time = time.Unix(0, s.Since).UTC()
			wantEvent(tx, u, f, p, c, domain.TransitionValue, value, false)
		}
	}
}
