package apply

import (
	"cmp"
	"fmt"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// applyEvent applies one event, and returns the ledger column it is counted under.
func applyEvent(tx *state.Tx, c *outbox.Cause, frame []byte) domain.Outcome {
	if known := withClass(tx, c.Event); known != nil {
		c.Event = known
	}
	e := c.Event
	park := func(reason, sentence string) domain.Outcome {
		outbox.ParkEvent(tx, c.ParkedAs(tx.State.Epochs), frame, e, cmp.Or(e.User.ID, e.Anonymous.ID, e.Email.ID), reason, sentence)
		return domain.OutcomeParked
	}
	switch {
	case e.Fault != "":
		return park(e.Fault, e.Sentence)
	case e.Call == domain.CallDelete:
		return applyDelete(tx, c, park)
	case e.Class == domain.ClassNone:
		return applyOrdinary(tx, c)
	}
	f, ambiguous := tx.State.Registry.Find(e)
	other := tx.State.Registry.OtherClass(f, e)
	switch {
	case ambiguous:
		return park("ambiguous_key", "several computations may be meant by the space, the id and the key that the event names: send the whole of context.personas along")
	case other != nil:
		return park("class_conflict", fmt.Sprintf("the event is of class %s, and the computation %q that it names is of class %s: nothing was changed; look at what builds this event, or, if the computation was made by mistake, remove it with `personasync audience forget %s` and retry the event",
			e.Class, other.Key, other.Class, state.Arguments(cmp.Or(other.ID, other.Key))))
	case overflows(tx, f, e):
		return park("too_many_names", fmt.Sprintf("it names a computation, a column or a trait that is not known yet, and %d of them are known, the most there may be: find out who makes them up", state.MaxFields))
	}
	f = resolve(tx, f, e)
	if f.Former() {
		return domain.OutcomeIgnored // a late event of an audience that was created again
	}
	p := tx.State.Rules.For(f.Key, f.ID)
	who, verdict := domain.IdentifyUser(e, &p)
	switch verdict {
	case domain.IdentityIgnored:
		return domain.OutcomeIgnored
	case domain.IdentityParked:
		return park(who.Fault, domain.IdentitySentence(who.Fault))
	}
	if forgotten(tx, who.ID, e.Time, believable(tx, c)) {
		return domain.OutcomeIgnored
	}
	if f.LastEvent.Before(e.Received) || f.LastEvent.After(tx.Now.Add(outbox.AheadOfClock)) {
		f.LastEvent = e.Received
		tx.Touch(f)
	}
	u := tx.User(who.ID)
	keepConsent(tx, u, c)
	if e.PassThrough {
		return passThrough(tx, u, f, &p, c)
	}
	if e.ClockShift != 0 && !firstSight(tx, u, f, e) {
		return domain.OutcomeDuplicate // its time was corrected by its receipt, so a repeat has another time
	}
	return applyState(tx, u, f, &p, c)
}

// withClass returns an event without a class as one of its computation's class. It is nil if the computation is
// unknown, or if the event has nothing that the class reads. A journey step is never assumed: whether its events may
// repeat depends on the class.
func withClass(tx *state.Tx, e *domain.Event) *domain.Event {
	if e.Fault != domain.UnknownClass || e.Flag == domain.FlagSilent && len(e.Columns) == 0 {
		return nil
	}
	f, ambiguous := tx.State.Registry.Find(e)
	if f == nil || ambiguous || f.Former() || f.Class == domain.ClassJourneyStep {
		return nil
	}
	known := *e
	known.Class, known.Fault, known.Sentence = f.Class, "", ""
	if f.Class == domain.ClassTrait {
		known.Flag = domain.FlagSilent
		return &known
	}
	if known.Columns = nil; known.Flag == domain.FlagSilent {
		return nil
	}
	return &known
}

// applyState compares the event with the kept assertions.
func applyState(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *outbox.Cause) domain.Outcome {
	if c.Event.Class != domain.ClassTrait {
		return max(member(tx, u, f, p, c, sortOf(p, c.Event), true), forwardTraits(tx, u, f, p, c))
	}
	return max(values(tx, u, f, p, c, true), forwardTraits(tx, u, f, p, c))
}
