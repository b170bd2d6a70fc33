package outbox

import (
	"bytes"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// Where a computation asks for consent, MoEngage is told the same of a user as it would be if they were no member, until
// the user has given it. Three places see to that:
//
//	making a change     WantAttribute and Withhold close one that may not be sent, and take back the values sent before
//	a new statement     Comply takes back, or sends again, for every computation of the user
//	taking a lease      withholdOpen closes what became forbidden since: a failed request, a new configuration
//
// The membership is kept as it is. So a withdrawal is no exit: the mass-exit guard neither counts nor holds it.

// reasonConsent is the reason of a change that is withheld.
const reasonConsent = "consent"

// Withhold closes a change that was just drafted, because the user's consent is missing.
func Withhold(tx *state.Tx, u *state.User, p *domain.Policy, c *Cause, ch *state.Stored) {
	ch.Props = nil
	tx.Locate(ch)
	closeWithheld(tx, u, p, ch, c.Event.Received)
}

// WithholdParked closes a parked change that was to be tried again, because the user's consent is missing.
func WithholdParked(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, ch *state.Stored) {
	markOwn(tx, u, f, p)
	closeWithheld(tx, u, p, ch, tx.Now)
}

func closeWithheld(tx *state.Tx, u *state.User, p *domain.Policy, ch *state.Stored, at time.Time) {
	ch.Reason, ch.Sentence = reasonConsent, domain.ConsentSentence(p.Consent)
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

// takesBack returns the change that a user's missing consent asks for. needed is false if MoEngage never knew of the value that it
// would remove, or will be told anyway.
func takesBack(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, e *state.Entry) (t domain.Transition, value []byte, needed bool) {
	t, value, needed = Removal(f, p)
	if e.Waiting.ID.IsZero() && unheard(e, value) || expects(tx, u, f, e, t, value, true) {
		needed = false
	}
	return t, value, needed
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

// markOwn is Mark for the computation whose target f may be. All that is withheld is marked, because the comparison with a
// new configuration may not have come to the user yet.
func markOwn(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy) {
	own := tx.State.Registry.ComputationOf(f)
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
