package outbox

import (
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// TakeBack has MoEngage told that a user without consent is no member of f, or has no value of it, unless that needs no
// change.
func TakeBack(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, e *state.Entry, c *Cause) {
	if t, value, needed := takesBack(tx, u, f, p, e); needed {
		WantAttribute(tx, u, f, p, e, c, t, value)
	}
}

// Comply compares what MoEngage is told of a user about computation f, or a column of one, with the user's consent: what
// was sent is taken back, and a withheld change is sent again as it is now. No event is made of either.
func Comply(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, en *state.Entry, c *Cause) {
	was := en.Withheld
	Mark(tx, u, f, p, en)
	if state.Allows(tx, u, p) {
		if was {
			sendAgain(tx, u, f, p, en, c)
		}
		return
	}
	for _, x := range tx.State.Registry.TargetFields(f) {
		TakeBack(tx, u, x, p, tx.Entry(u, x.Number), c)
	}
}

// ComplyFirst sends the withheld changes of a user before an event on it is applied, if a new configuration allows it and the
// comparison has not come to the user yet. So the order of the two makes no difference.
func ComplyFirst(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, en *state.Entry, c *Cause) {
	if en.Withheld && state.Allows(tx, u, p) {
		why := c.Why
		c.Why = domain.CauseConsent
		Comply(tx, u, f, p, en, c)
		c.Why = why
	}
}

// sendAgain sends the kept state of a user to every target that does not have it.
func sendAgain(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, en *state.Entry, c *Cause) {
	if f.Class.HasMembers() {
		UpdateTargets(tx, u, f, p, en, c)
	}
	s := en.AssertionFor(p, domain.SendAttribute, state.KeptIdentify)
	switch {
	case s == nil:
		return
	case f.Class.HasMembers():
		if s.IsIn() {
			WantMember(tx, u, f, p, en, c)
		}
		return
	}
	value, send := p.Sendable(s.Value)
	if send && !expects(tx, u, f, en, domain.TransitionValue, value, false) {
		WantAttribute(tx, u, f, p, en, c, domain.TransitionValue, value)
	}
}

// WithholdOpen closes the pending changes of a user that may not be sent. One in flight stays until it is settled.
func WithholdOpen(tx *state.Tx, u *state.User, at time.Time) {
	for _, number := range u.Index.PendingFields(nil) {
		f, e := tx.FieldOf(number), tx.Entry(u, number)
		if f == nil || !e.Waiting.Pending() || tx.State.IsInFlight(f.Endpoint(), u.ID, e.Waiting.ID) {
			continue
		}
		p := state.PolicyOf(tx, f)
		if state.Allows(tx, u, &p) || Removes(f, &p, e.Waiting.Transition, e.Waiting.Value) {
			continue
		}
		t := e.Waiting
		SettlePending(tx, u, f, &t)
		e.Waiting = state.Ticket{}
		tx.Write(u, number)
		markOwn(tx, u, f, &p)
		closeWithheld(tx, u, &p, tx.PendingChange(u, f, &t), at)
	}
	if u.Index.Backlog().Events > 0 {
		withholdQueued(tx, u, at)
	}
	for _, endpoint := range [...]domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort} {
		if len(u.Index.Endpoint(endpoint).Lanes) > 0 {
			Retime(tx, u, endpoint)
		}
	}
}

// withholdQueued is WithholdOpen of the user's queue. Of values that do not collapse it keeps the removals, if MoEngage may
// know the values that they remove.
func withholdQueued(tx *state.Tx, u *state.User, at time.Time) {
	var list []*state.Stored
	known := make(map[uint32]bool) // fields of which MoEngage may know a value
	for _, key := range state.KeysWithPrefix(tx.Queue, u.Key) {
		switch ch := tx.FetchQueued(key); {
		case ch == nil || tx.FieldOf(ch.Field) == nil:
		case tx.State.UnderWay(ch.Endpoint, u.ID, ch.ID):
			known[ch.Field] = true
		default:
			list = append(list, ch)
		}
	}
	for _, ch := range list {
		p, e := state.PolicyOf(tx, tx.FieldOf(ch.Field)), tx.Entry(u, ch.Field)
		knows := known[ch.Field] || e.LastSent.Kind != state.NeverSent || !e.InFlight.ID.IsZero()
		if state.Allows(tx, u, &p) || ch.Loose && knows && Removes(tx.FieldOf(ch.Field), &p, ch.Transition, ch.Value) {
			continue
		}
		dequeue(tx, u, ch.Endpoint, ch.Lane, ch.ID)
		tx.State.Ledger.Changes.Pending--
		looseLess(tx, u, ch)
		markOwn(tx, u, tx.FieldOf(ch.Field), &p)
		ch.Props = nil
		closeWithheld(tx, u, &p, ch, at)
	}
}
