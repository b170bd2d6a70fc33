package preview

import (
	"cmp"
	"fmt"
	"strings"

	"personasync/agent/api"
	"personasync/store"
	"personasync/store/domain"
)

// verdict is what an event came to, in a word and a sentence.
func verdict(e *domain.Event, came *store.TrialResult, rules *domain.Rules) (o api.PreviewOutcome) {
	p := rules.For(e.Key, e.ComputationID)
	if e.IsConsentUpdate() && came.Outcome < domain.OutcomeParked && rules.AsksConsent() {
		return consentVerdict(e, came)
	}
	switch came.Outcome {
	case domain.OutcomeParked:
		o.Outcome = "parked"
		for i := range came.Changes {
			if c := &came.Changes[i]; c.Kind == domain.KindReceived {
				o.Reason, o.Sentence = c.Reason, c.Sentence
			}
		}
	case domain.OutcomeTransition:
		o.Outcome, o.Sentence = transition(e, came)
		if len(came.Changes) == 0 {
			o.Sentence += ". Nothing is sent: " + unsent(e, &p)
		}
	case domain.OutcomeUnchanged:
		o.Outcome, o.Sentence = "unchanged", unchanged(e)
	case domain.OutcomeDuplicate:
		o.Outcome, o.Sentence = "duplicate", "the same event, or an equal one of the same time, was applied before: nothing is sent"
	case domain.OutcomeStale:
		o.Outcome, o.Sentence = "stale", stale(e, rules)
		if replayed(e, rules) {
			o.Do = "preview it with --received, at a time shortly after the event, to see what it comes to when it is new"
		}
	default:
		o.Outcome, o.Sentence = ignored(e, rules, &p)
	}
	return o
}

// consentVerdict is the verdict on Segment's reserved event about consent.
func consentVerdict(e *domain.Event, came *store.TrialResult) (o api.PreviewOutcome) {
	given := cmp.Or(strings.Join(e.Consent.Given, ", "), "nothing")
	switch came.Outcome {
	case domain.OutcomeTransition:
		o.Outcome, o.Sentence = "consent", "the user gives consent to "+given+"; what that allows or forbids is sent or taken back, and the event itself is not sent"
	case domain.OutcomeUnchanged, domain.OutcomeDuplicate:
		o.Outcome, o.Sentence = came.Outcome.String(), "the user has given consent to just that before: "+given
	case domain.OutcomeStale:
		o.Outcome, o.Sentence = "stale", "a statement about consent of a later time was applied before: this one changes nothing"
	default:
		o.Outcome, o.Sentence = "ignored", "it names no user of MoEngage: an anonymous visitor, or one who was erased since"
	}
	return o
}

// transition names what happened to the user.
func transition(e *domain.Event, came *store.TrialResult) (outcome, sentence string) {
	is := domain.TransitionValue
	for i := range came.Changes {
		if came.Changes[i].Computation == e.Key {
			is = came.Changes[i].Transition
			break
		}
	}
	if len(came.Changes) == 0 || is == domain.TransitionValue {
		switch e.Flag {
		case domain.FlagIn:
			is = domain.TransitionEnter
		case domain.FlagOut:
			is = domain.TransitionExit
		}
	}
	switch {
	case e.PassThrough && e.Flag == domain.FlagSilent && e.Class != domain.ClassTrait:
		return "event", "the event is sent on, once for each messageId"
	case is == domain.TransitionEnter:
		return "enter", "the user enters " + e.Key
	case is == domain.TransitionExit:
		return "exit", "the user leaves " + e.Key
	}
	return "value", fmt.Sprintf("the value of %s is new", cmp.Or(e.Key, "a trait"))
}

// unsent says why a transition makes no change.
func unsent(e *domain.Event, p *domain.Policy) string {
	switch {
	case p.Send == domain.SendNone:
		return `send = "none"`
	case p.IsTooOld(e):
		return "the event is older than max_event_age"
	case e.Class == domain.ClassTrait:
		return `the value is null, and on_null = "skip"`
	}
	return "send does not include the kind of this call"
}

func unchanged(e *domain.Event) string {
	switch e.Flag {
	case domain.FlagIn:
		return "the user is a member already: nothing is sent"
	case domain.FlagOut:
		return `the user is no member: this is recorded, and nothing is sent. unknown_exit = "send" sends the exit of a user who was never seen entering`
	}
	return "the value is the one that is known: nothing is sent"
}

func stale(e *domain.Event, rules *domain.Rules) string {
	switch {
	case e.Call == domain.CallDelete:
		return "the user was erased at a later time: nothing is erased again"
	case replayed(e, rules):
		return "the event is older than retention.message_ids, so it may be a replay: nothing is sent"
	}
	return "an event of a later time was applied before: this one changes nothing"
}

// replayed reports whether an event is too old to be told apart from a replay.
func replayed(e *domain.Event, rules *domain.Rules) bool {
	return e.PassThrough && rules.MessageIDs > 0 && e.Age() > rules.MessageIDs
}

func ignored(e *domain.Event, rules *domain.Rules, p *domain.Policy) (outcome, sentence string) {
	_, who := domain.IdentifyUser(e, p)
	switch {
	case e.Call == domain.CallDelete && rules.OnDelete == "ignore":
		return "ignored", `it asks to erase the user, and on_delete = "ignore"`
	case e.Call == domain.CallDelete && rules.Deletes.Send:
		return "erased", "everything about the user is erased here, their pending changes are cancelled, and MoEngage is asked to delete them"
	case e.Call == domain.CallDelete:
		return "erased", "everything about the user is erased here, and their pending changes are cancelled; MoEngage is not told (moengage.delete_users)"
	case e.Class == domain.ClassNone:
		return "ignored", "an ordinary event: it names neither an audience nor a trait. Events of Engage have context.personas; Segment's Event Tester sends none unless it is given one"
	case who == domain.IdentityIgnored:
		return "ignored", `the event has no userId, and anonymous or email_only is "ignore"`
	}
	return "ignored", "the event is older than the erasure of its user, or of an audience that was created again since"
}
