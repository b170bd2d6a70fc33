package apply

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Applying is a pure function of the state and the record: no clock, no random, no look outside. The
// record's receipt is the only "now". So the same records give the same state in whatever batches,
// and a crash between two commits repeats the work and not its effect.

func Record(tx *state.Tx, rec record.Record, frame []byte) {
	tx.State.Applied, tx.Bulk = rec.Seq, rec.Event == nil
	switch {
	case rec.Rules != nil:
		applyRules(tx, rec.Rules)
		return
	case rec.Repair != nil:
		applyRepair(tx, rec.Seq, rec.Repair)
		return
	case rec.Action != nil:
		applyAction(tx, rec.Seq, rec.Action)
		return
	case rec.Order != nil:
		ApplyOrder(tx, rec.Seq, rec.Order)
		return
	case rec.Erased:
		return // and so applied before
	}
	l := &tx.State.Ledger.Events
	if rec.Again != nil {
		applyAgain(tx, rec.Seq, rec.Again)
		return
	}
	if rec.Event == nil { // acknowledged, and lost before it was applied
		l.Accepted++
		l.Lost++
		return
	}
	tx.Now = rec.Event.Received
	l.Accepted++
	came := applyEvent(tx, &outbox.Cause{Seq: rec.Seq, Event: rec.Event}, frame)
	tx.Verdict(rec.Seq, came)
	l.Count(came)
}

// Damaged parks a record whose checksum does not hold. It was accepted, so it is accounted for.
func Damaged(tx *state.Tx, seq uint64, frame []byte, cause error) {
	tx.State.Applied = seq
	tx.State.Ledger.Events.Accepted++
	tx.State.Ledger.Events.Parked++
	tx.Log.Error("a damaged record of the inbox was parked", "record", seq, "err", cause)
	tx.Verdict(seq, domain.OutcomeParked)
	outbox.ParkEvent(tx, domain.ID{Epoch: tx.State.Epochs.Of(seq), Seq: seq}, frame, &domain.Event{Received: tx.Now}, "", "corrupt", "its checksum does not hold: the disk changed it after it was written")
}

// Missing counts records that were received and are in no file of the inbox: somebody removed one, or put an
// older state.db in place. How many a jump as large as a restore's passes over, nobody knows.
func Missing(tx *state.Tx, n uint64) {
	tx.Log.Error("records that were received and not applied are in no file of the inbox", "first", tx.State.Applied+1, "last", tx.State.Applied+n)
	if n < record.RestoreJump {
		tx.State.Ledger.Events.Accepted += n
		tx.State.Ledger.Events.Lost += n
	}
}

func applyRules(tx *state.Tx, r *domain.Rules) {
	text, err := json.Marshal(r)
	if err != nil {
		tx.Err = err
		return
	}
	tx.State.Rules = *r
	tx.Put(tx.Bucket(state.BucketMeta), state.MetaRules, text)
	tx.State.Registry.SettleOwners(r)
	outbox.ReleaseConflicts(tx)
}

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
		return domain.OutcomeIgnored
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
		return domain.OutcomeIgnored // late news of an audience that was made again
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
	if e.PassThrough {
		return passThrough(tx, u, f, &p, c)
	}
	if e.ClockShift != 0 && !firstSight(tx, u, f, e) {
		return domain.OutcomeDuplicate // its time was corrected by its receipt, so a repeat bears another
	}
	return applyState(tx, u, f, &p, c)
}

// withClass returns an event without a class as one of the computation that it names, nil where that is not known,
// or where the event says nothing that this class reads. A step of a journey is not guessed: whether its event may
// repeat on purpose depends on the class.
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

// applyState diffs what the event says against what is kept.
func applyState(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *outbox.Cause) domain.Outcome {
	if c.Event.Class != domain.ClassTrait {
		return max(member(tx, u, f, p, c, sortOf(p, c.Event), true), forwardTraits(tx, u, f, p, c))
	}
	return max(values(tx, u, f, p, c, true), forwardTraits(tx, u, f, p, c))
}

// values applies every value that a trait's event holds.
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

// memberWord is what c says of a membership.
func memberWord(c *outbox.Cause) domain.Assertion {
	at := c.Event.Time.UnixNano()
	word := domain.Assertion{Value: domain.JSONFalse, Time: at, Since: at, Seq: c.Seq}
	if c.Event.Flag == domain.FlagIn {
		word.Value = domain.JSONTrue
	}
	if c.Unguarded {
		word.Message = domain.ByOperator
	}
	return word
}

// member applies a membership to one of the states that are kept. tell is false when no event is to be
// made of it: it is sent on by itself, or nobody wants one.
func member(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *outbox.Cause, sort int, tell bool) domain.Outcome {
	outbox.ReadmitFirst(tx, u, f, p, c)
	en, word := tx.Entry(u, f.Number), memberWord(c)
	wasIn, before := en.Newest().IsIn(), en.Known(sort)
	untold := sort == state.KeptIdentify && word.IsIn() && en.Kept[sort] == nil // what a list said before told nobody
	if f.Hear(sort, c.Event.Call) {
		tx.Touch(f)
	}
	watched := tx.State.Rules.Guards(p) && !c.Unguarded
	if watched {
		outbox.OpenWindow(tx, f, c)
	}
	if f.Watch.Swept != nil {
		outbox.HoldWaiting(tx, u, f, f.Watch.Seq)
	}
	result := observe(en, sort, word, true, believable(tx, c))
	if result == domain.OutcomeStale || result == domain.OutcomeDuplicate {
		return result
	}
	tx.Write(u, f.Number)
	isIn := en.Newest().IsIn()
	countMember(tx, f, wasIn, isIn)
	if watched {
		outbox.WatchMember(tx, f, en, wasIn, isIn, c)
	}
	if isIn {
		if en.Left = 0; !wasIn {
			outbox.ComeBack(tx, u, f, p, en, c, sort)
		}
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
	if !word.IsIn() {
		if t = domain.TransitionExit; before == nil && !p.UnknownExit {
			return domain.OutcomeUnchanged // Segment fans exits out to every identifier: recorded, nothing to say
		}
	}
	attribute, held := true, false
	if word.IsIn() && f.Held > 0 {
		own := before != nil && outbox.HoldsExit(tx, u, f, before.Seq)
		attribute, held = outbox.CancelHeld(tx, u, f, en, sort)
		attribute, held = !(attribute && en.LastSent.Is(word.Value) && en.InFlight.ID.IsZero()), held && own
	}
	emit(tx, u, f, p, en, c, sort, t, word.Value, attribute, tell && !held)
	return domain.OutcomeTransition
}

// value applies one value of a trait. event is false when the event itself is sent on by itself.
func value(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *outbox.Cause, value []byte, event bool) domain.Outcome {
	at := c.Event.Time.UnixNano()
	word := domain.Assertion{Value: bytes.Clone(value), Time: at, Since: at, Message: c.Event.MessageID, Seq: c.Seq}
	en, sort := tx.Entry(u, f.Number), sortOf(p, c.Event)
	first := en.Known(sort) == nil
	result := observe(en, sort, word, false, believable(tx, c))
	if result == domain.OutcomeStale || result == domain.OutcomeDuplicate && !en.Known(sort).Agree(word) {
		return result
	}
	tx.Write(u, f.Number)
	if result != domain.OutcomeTransition {
		return result
	}
	if first && bytes.Equal(value, domain.JSONNull) {
		return domain.OutcomeUnchanged // there was no value before, and there is none now
	}
	if value, send := p.Sendable(word.Value); send {
		emit(tx, u, f, p, en, c, sort, domain.TransitionValue, value, true, event)
	}
	return domain.OutcomeTransition
}

// observe takes in a word, and says what it amounts to. What is kept of a time beyond believable is older.
func observe(e *state.Entry, sort int, word domain.Assertion, membership bool, believable int64) domain.Outcome {
	known := e.Known(sort)
	if known != nil && known.Time > believable {
		k := *known
		k.Before(word.Time)
		known = &k
	}
	came := domain.OutcomeTransition
	switch domain.Compare(known, word, membership) {
	case domain.CompareStale:
		return domain.OutcomeStale
	case domain.CompareDuplicate:
		return domain.OutcomeDuplicate
	case domain.CompareUnchanged:
		word.Value, word.Since, word.Seq = known.Value, known.Since, known.Seq // 450.0 is still the 450 that was sent
		if came = domain.OutcomeUnchanged; membership {
			word.Message = cmp.Or(word.Message, known.Message)
		}
	}
	for _, s := range e.Kept { // of the other call, too: else it would hide this word
		if s != nil && s.Time > believable {
			s.Before(word.Time)
		}
	}
	e.Keep(sort, &word)
	return came
}

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

func countMember(tx *state.Tx, f *state.Field, was, is bool) {
	switch {
	case is && !was:
		f.Members++
		f.Entered++
		f.Watch.Members = max(f.Watch.Members, f.Members)
	case was && !is:
		f.Leave()
		f.Exited++
	default:
		return
	}
	tx.Touch(f)
}

// emit makes the changes that a transition causes, on the targets of its policy, as far as they are wanted as an
// attribute and as an event.
func emit(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, en *state.Entry, c *outbox.Cause, sort int, t domain.Transition, value []byte, attribute, event bool) {
	e := c.Event
	asAttribute := attribute && (p.Send.Has(domain.SendAttribute) || p.Send.Has(domain.SendAsReceived) && sort == state.KeptIdentify)
	asEvent := event && (p.Send.Has(domain.SendEvent) || p.Send.Has(domain.SendAsReceived) && sort == state.KeptTrack)
	if p.IsTooOld(e) {
		asEvent = false // a replay: the state is news, the event is not
	}
	if asAttribute {
		outbox.WantAttribute(tx, u, f, p, en, c, t, value)
	}
	if asEvent {
		wantEvent(tx, u, f, p, c, t, value, sort == state.KeptTrack)
	}
}

// wantEvent makes an event change: the event that was received, or one made up so that it is the same
// whichever call came first.
func wantEvent(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *outbox.Cause, t domain.Transition, value []byte, received bool) {
	ch := outbox.Draft(tx, u, f, p, c, domain.KindEvent, t)
	ch.Value = bytes.Clone(value)
	switch t {
	case domain.TransitionEnter:
		ch.Name = p.EnterEvent
	case domain.TransitionExit:
		ch.Name = p.ExitEvent
	default:
		ch.Name = p.TraitEvent
	}
	if received {
		ch.Name = cmp.Or(c.Event.Name, ch.Name) // a narrow webhook mapping leaves the name out
		ch.Props = c.Event.Properties()
	}
	tx.State.Ledger.Changes.Created++
	switch {
	case tx.State.Registry.Conflicted(f, p, &tx.State.Rules):
		outbox.HoldConflict(tx, u, f, ch, nil)
	case outbox.Withholds(tx, f, p, c, t):
		outbox.HoldExit(tx, u, f, ch, nil)
	default:
		outbox.Enqueue(tx, u, ch)
	}
}

// believable is the latest time that a word kept of a user can be of, as far as a record may know. What is
// kept beyond it was written under a clock that was ahead, and is no fence: else a moment of a wrong clock
// would make everything stale until the clock is there. A record whose own time lies ahead of its receipt came
// in under a clock that was set back, and vouches for the times before it.
func believable(tx *state.Tx, c *outbox.Cause) int64 {
	at := tx.Now
	if c.Event.Time.After(at) {
		at = c.Event.Time
	}
	return at.Add(domain.MaxAhead).UnixNano()
}
