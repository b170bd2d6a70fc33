package outbox

import (
	"bytes"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// Where a computation asks for consent, MoEngage is told of a user what it would be told of one who is no member, until
// the user has given it. Three places see to that:
//
//	making a change     WantAttribute and Withhold close one that may not be sent, and take back what was sent before
//	a new statement     Comply takes back, or sends again, for every computation of the user
//	taking a lease      withholdOpen closes what became forbidden since: a failed request, a new configuration
//
// The membership is kept as it is. So a withdrawal is no exit: the mass-exit guard neither counts nor holds it.

// ReasonConsent is the reason of a change that is withheld.
const ReasonConsent = "consent"

// Withhold closes a change that was just drafted, because the user's consent is missing.
func Withhold(tx *state.Tx, u *state.User, p *domain.Policy, c *Cause, ch *state.Stored) {
	ch.Props = nil
	tx.Locate(ch)
	closeWithheld(tx, u, p, ch, c.Event.Received)
}

func closeWithheld(tx *state.Tx, u *state.User, p *domain.Policy, ch *state.Stored, at time.Time) {
	ch.Reason, ch.Sentence = ReasonConsent, domain.ConsentSentence(p.Consent)
	if p.HoldsOut(u.ID) {
		ch.Reason, ch.Sentence = domain.ReasonHoldout, p.RolloutSentence(u.ID)
	}
	tx.Close(u, ch, domain.StateWithheld, at)
}

// Removal returns what MoEngage is told about field f of a user without consent: that they are no member, or what
// on_null says of a trait without a value. send is false if nothing is.
func Removal(f *state.Field, p *domain.Policy) (t domain.Transition, value []byte, send bool) {
	if f.Class.HasMembers() {
		return domain.TransitionExit, domain.JSONFalse, true
	}
	value, send = p.Sendable(domain.JSONNull)
	return domain.TransitionValue, value, send
}

// Removes reports whether a change of f says nothing of a user but that.
func Removes(f *state.Field, p *domain.Policy, t domain.Transition, value []byte) bool {
	as, want, send := Removal(f, p)
	return send && t == as && bytes.Equal(value, want)
}

// unheard reports whether MoEngage needs no removal: it knows nothing of field f, or has the removal already, and
// nothing else is in flight.
func unheard(e *state.Entry, value []byte) bool {
	return e.InFlight.ID.IsZero() && e.Loose == 0 && (e.LastSent.Kind == state.NeverSent || e.LastSent.Is(value))
}

// TakeBack has MoEngage told that a user without consent is no member of f, or has no value of it, unless it never knew
// otherwise or will be told anyway.
func TakeBack(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, e *state.Entry, c *Cause) {
	t, value, send := Removal(f, p)
	switch {
	case !send,
		e.Waiting.ID.IsZero() && unheard(e, value),
		e.Waiting.Pending() && bytes.Equal(e.Waiting.Value, value),
		e.Loose > 0 && bytes.Equal(lastLoose(tx, u, f), value):
		return
	}
	WantAttribute(tx, u, f, p, e, c, t, value)
	tx.Write(u, f.Number)
}

// lastLoose returns the value of the newest attribute of f in the queue.
func lastLoose(tx *state.Tx, u *state.User, f *state.Field) (value []byte) {
	newest := domain.ID{}
	for _, ch := range QueuedOf(tx, u, f) {
		if ch.Loose && ch.ID.Compare(newest) > 0 {
			newest, value = ch.ID, ch.Value
		}
	}
	return value
}

// Mark notes whether the membership, or the value, of a user is withheld. Call it after either changed, and after the
// consent did.
func Mark(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, en *state.Entry) {
	if !p.Withholds() && !en.Withheld {
		return
	}
	s := en.Newest()
	there := s.IsIn()
	if !f.Class.HasMembers() {
		there = s != nil && !bytes.Equal(s.Value, domain.JSONNull)
	}
	now := there && !state.Allows(tx, u, p)
	if now == en.Withheld {
		return
	}
	en.Withheld = now
	if now {
		f.Withheld++
	} else {
		f.Withheld -= min(f.Withheld, 1)
	}
	tx.Touch(f)
	tx.Write(u, f.Number)
}

// markOwn is Mark for the computation whose target f may be. Whatever is withheld is marked, because the comparison with a
// new configuration may not have come to the user yet.
func markOwn(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy) {
	own := tx.State.Registry.Speaker(f)
	Mark(tx, u, own, p, tx.Entry(u, own.Number))
}

// Unmark is Mark for an entry that is removed.
func Unmark(tx *state.Tx, f *state.Field, en *state.Entry) {
	if en.Withheld {
		en.Withheld = false
		f.Withheld -= min(f.Withheld, 1)
		tx.Touch(f)
	}
}

// Comply compares what MoEngage is told of a user about computation f, or a column of one, with the user's consent: what
// was sent is taken back, and what was withheld is sent again as it is now. No event is made of either.
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

// ComplyFirst sends what was withheld of a user before an event on it is applied, if a new configuration allows it and the
// comparison has not come to the user yet. So the order of the two makes no difference.
func ComplyFirst(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, en *state.Entry, c *Cause) {
	if en.Withheld && state.Allows(tx, u, p) {
		Comply(tx, u, f, p, en, c)
	}
}

// sendAgain sends what is kept of a user to every target that does not have it.
func sendAgain(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, en *state.Entry, c *Cause) {
	if f.Class.HasMembers() {
		UpdateTargets(tx, u, f, p, en, c)
	}
	s := en.Spoken(p, domain.SendAttribute, state.KeptIdentify)
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
	if send && !expects(en, domain.TransitionValue, value, false) {
		WantAttribute(tx, u, f, p, en, c, domain.TransitionValue, value)
		tx.Write(u, f.Number)
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
// know what they remove.
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
		Dequeue(tx, u, ch.Endpoint, ch.Lane, ch.ID)
		tx.State.Ledger.Changes.Pending--
		looseLess(tx, u, ch)
		markOwn(tx, u, tx.FieldOf(ch.Field), &p)
		ch.Props = nil
		closeWithheld(tx, u, &p, ch, at)
	}
}
