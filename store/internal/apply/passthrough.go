package apply

import (
	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// passThrough sends a track event that may repeat on purpose, once for each message id. A flag in it sets the
// membership, but does not decide whether the event is sent.
func passThrough(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *outbox.Cause) domain.Outcome {
	e := c.Event
	if tx.State.Rules.MessageIDs > 0 && e.Age() > tx.State.Rules.MessageIDs {
		return domain.OutcomeStale // older than message ids are remembered: it may be a replay
	}
	if !firstSight(tx, u, f, e) {
		return domain.OutcomeDuplicate
	}
	outbox.Reach(tx, u, f, e.Received)
	result, t, value := domain.OutcomeUnchanged, domain.Transition(0), []byte(nil)
	switch {
	case e.Class == domain.ClassTrait:
		result, t = max(result, values(tx, u, f, p, c, false)), domain.TransitionValue
	case e.Flag == domain.FlagIn:
		result, t, value = member(tx, u, f, p, c, sortOf(p, e), false), domain.TransitionEnter, domain.JSONTrue
	case e.Flag == domain.FlagOut:
		result, t, value = member(tx, u, f, p, c, sortOf(p, e), false), domain.TransitionExit, domain.JSONFalse
	}
	if p.Send&(domain.SendAsReceived|domain.SendEvent) == 0 || p.IsTooOld(e) {
		return result
	}
	wantEvent(tx, u, f, p, c, t, value, true)
	return domain.OutcomeTransition
}
