package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"

	"personasync/store/domain"
)

// Applying is a pure function of the state and the record: no clock, no random, no look outside. The
// record's receipt is the only "now". So the same records give the same state in whatever batches,
// and a crash between two commits repeats the work and not its effect.

func (b *batch) apply(rec record, frame []byte) {
	b.st.applied, b.bulk = rec.seq, rec.event == nil
	switch {
	case rec.rules != nil:
		b.applyRules(rec.rules)
		return
	case rec.repair != nil:
		b.applyRepair(rec.seq, rec.repair)
		return
	case rec.action != nil:
		b.applyAction(rec.seq, rec.action)
		return
	case rec.order != nil:
		b.applyOrder(rec.seq, rec.order)
		return
	case rec.erased:
		return // and so applied before
	}
	l := &b.st.ledger.events
	if rec.again != nil {
		b.applyAgain(rec.seq, rec.again)
		return
	}
	if rec.event == nil { // acknowledged, and lost before it was applied
		l.Accepted++
		l.Lost++
		return
	}
	b.now = rec.event.Received
	l.Accepted++
	came := b.applyEvent(&cause{seq: rec.seq, event: rec.event}, frame)
	b.verdict(rec.seq, came)
	l.Count(came)
}

// applyDamaged parks a record whose checksum does not hold. It was accepted, so it is accounted for.
func (b *batch) applyDamaged(seq uint64, frame []byte, cause error) {
	b.st.applied = seq
	b.st.ledger.events.Accepted++
	b.st.ledger.events.Parked++
	b.log.Error("a damaged record of the inbox was parked", "record", seq, "err", cause)
	b.verdict(seq, domain.OutcomeParked)
	b.parkEvent(domain.ID{Epoch: b.st.epochs.of(seq), Seq: seq}, frame, &domain.Event{Received: b.now}, "", "corrupt", "its checksum does not hold: the disk changed it after it was written")
}

// applyMissing counts records that were received and are in no file of the inbox: somebody removed one, or put an
// older state.db in place. How many a jump as large as a restore's passes over, nobody knows.
func (b *batch) applyMissing(n uint64) {
	b.log.Error("records that were received and not applied are in no file of the inbox", "first", b.st.applied+1, "last", b.st.applied+n)
	if n < restoreJump {
		b.st.ledger.events.Accepted += n
		b.st.ledger.events.Lost += n
	}
}

func (b *batch) applyRules(r *domain.Rules) {
	text, err := json.Marshal(r)
	if err != nil {
		b.err = err
		return
	}
	b.st.rules = *r
	b.put(b.tx.Bucket(bucketMeta), metaRules, text)
	b.st.registry.settleOwners(r)
	b.releaseConflicts()
}

func (b *batch) applyEvent(c *cause, frame []byte) domain.Outcome {
	if known := b.withClass(c.event); known != nil {
		c.event = known
	}
	e := c.event
	park := func(reason, sentence string) domain.Outcome {
		b.parkEvent(c.parkedAs(b.st.epochs), frame, e, cmp.Or(e.User.ID, e.Anonymous.ID, e.Email.ID), reason, sentence)
		return domain.OutcomeParked
	}
	switch {
	case e.Fault != "":
		return park(e.Fault, e.Sentence)
	case e.Call == domain.CallDelete:
		return b.applyDelete(c, park)
	case e.Class == domain.ClassNone:
		return domain.OutcomeIgnored
	}
	f, ambiguous := b.st.registry.find(e)
	other := b.st.registry.otherClass(f, e)
	switch {
	case ambiguous:
		return park("ambiguous_key", "several computations may be meant by the space, the id and the key that the event names: send the whole of context.personas along")
	case other != nil:
		return park("class_conflict", fmt.Sprintf("the event is of class %s, and the computation %q that it names is of class %s: nothing was changed; look at what builds this event, or, if the computation was made by mistake, remove it with `personasync audience forget %s` and retry the event",
			e.Class, other.key, other.class, Arguments(cmp.Or(other.id, other.key))))
	case b.overflows(f, e):
		return park("too_many_names", fmt.Sprintf("it names a computation, a column or a trait that is not known yet, and %d of them are known, the most there may be: find out who makes them up", maxFields))
	}
	f = b.resolve(f, e)
	if f.former() {
		return domain.OutcomeIgnored // late news of an audience that was made again
	}
	p := b.st.rules.For(f.key, f.id)
	who, verdict := domain.IdentifyUser(e, &p)
	switch verdict {
	case domain.IdentityIgnored:
		return domain.OutcomeIgnored
	case domain.IdentityParked:
		return park(who.Fault, domain.IdentitySentence(who.Fault))
	}
	if b.forgotten(who.ID, e.Time, b.believable(c)) {
		return domain.OutcomeIgnored
	}
	if f.lastEvent.Before(e.Received) || f.lastEvent.After(b.now.Add(aheadOfClock)) {
		f.lastEvent = e.Received
		b.touch(f)
	}
	u := b.user(who.ID)
	if e.PassThrough {
		return b.passThrough(u, f, &p, c)
	}
	if e.ClockShift != 0 && !b.firstSight(u, f, e) {
		return domain.OutcomeDuplicate // its time was corrected by its receipt, so a repeat bears another
	}
	return b.state(u, f, &p, c)
}

// withClass returns an event without a class as one of the computation that it names, nil where that is not known,
// or where the event says nothing that this class reads. A step of a journey is not guessed: whether its event may
// repeat on purpose depends on the class.
func (b *batch) withClass(e *domain.Event) *domain.Event {
	if e.Fault != domain.UnknownClass || e.Flag == domain.FlagSilent && len(e.Columns) == 0 {
		return nil
	}
	f, ambiguous := b.st.registry.find(e)
	if f == nil || ambiguous || f.former() || f.class == domain.ClassJourneyStep {
		return nil
	}
	known := *e
	known.Class, known.Fault, known.Sentence = f.class, "", ""
	if f.class == domain.ClassTrait {
		known.Flag = domain.FlagSilent
		return &known
	}
	if known.Columns = nil; known.Flag == domain.FlagSilent {
		return nil
	}
	return &known
}

// state diffs what the event says against what is kept.
func (b *batch) state(u *user, f *field, p *domain.Policy, c *cause) domain.Outcome {
	if c.event.Class != domain.ClassTrait {
		return max(b.member(u, f, p, c, sortOf(p, c.event), true), b.forwardTraits(u, f, p, c))
	}
	return max(b.values(u, f, p, c, true), b.forwardTraits(u, f, p, c))
}

// values applies every value that a trait's event holds.
func (b *batch) values(u *user, f *field, p *domain.Policy, c *cause, event bool) domain.Outcome {
	e, result := c.event, domain.OutcomeIgnored
	for _, col := range e.Columns {
		target := f
		if col.Name != e.Key {
			target = b.column(f, col.Name)
		}
		result = max(result, b.value(u, target, p, c, e.Bytes(col.Value), event))
	}
	return result
}

// memberWord is what c says of a membership.
func memberWord(c *cause) domain.Assertion {
	at := c.event.Time.UnixNano()
	word := domain.Assertion{Value: domain.JSONFalse, Time: at, Since: at, Seq: c.seq}
	if c.event.Flag == domain.FlagIn {
		word.Value = domain.JSONTrue
	}
	if c.unguarded {
		word.Message = domain.ByOperator
	}
	return word
}

// member applies a membership to one of the states that are kept. tell is false when no event is to be
// made of it: it is sent on by itself, or nobody wants one.
func (b *batch) member(u *user, f *field, p *domain.Policy, c *cause, sort int, tell bool) domain.Outcome {
	b.readmitFirst(u, f, p, c)
	en, word := b.entry(u, f.number), memberWord(c)
	wasIn, before := en.newest().IsIn(), en.known(sort)
	untold := sort == keptIdentify && word.IsIn() && en.kept[sort] == nil // what a list said before told nobody
	if f.hear(sort, c.event.Call) {
		b.touch(f)
	}
	watched := b.st.rules.Guards(p) && !c.unguarded
	if watched {
		b.openWindow(f, c)
	}
	if f.watch.swept != nil {
		b.holdWaiting(u, f, f.watch.seq)
	}
	result := en.observe(sort, word, true, b.believable(c))
	if result == domain.OutcomeStale || result == domain.OutcomeDuplicate {
		return result
	}
	b.write(u, f.number)
	isIn := en.newest().IsIn()
	b.countMember(f, wasIn, isIn)
	if watched {
		b.watchMember(f, en, wasIn, isIn, c)
	}
	if isIn {
		if en.left = 0; !wasIn {
			b.comeBack(u, f, p, en, c, sort)
		}
	}
	if result == domain.OutcomeTransition || isIn != wasIn {
		b.updateTargets(u, f, p, en, c)
	}
	if result != domain.OutcomeTransition {
		if untold {
			b.wantMember(u, f, p, en, c)
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
	if word.IsIn() && f.held > 0 {
		own := before != nil && b.holdsExit(u, f, before.Seq)
		attribute, held = b.cancelHeld(u, f, en, sort)
		attribute, held = !(attribute && en.lastSent.is(word.Value) && en.inFlight.id.IsZero()), held && own
	}
	b.emit(u, f, p, en, c, sort, t, word.Value, attribute, tell && !held)
	return domain.OutcomeTransition
}

// value applies one value of a trait. event is false when the event itself is sent on by itself.
func (b *batch) value(u *user, f *field, p *domain.Policy, c *cause, value []byte, event bool) domain.Outcome {
	at := c.event.Time.UnixNano()
	word := domain.Assertion{Value: bytes.Clone(value), Time: at, Since: at, Message: c.event.MessageID, Seq: c.seq}
	en, sort := b.entry(u, f.number), sortOf(p, c.event)
	first := en.known(sort) == nil
	result := en.observe(sort, word, false, b.believable(c))
	if result == domain.OutcomeStale || result == domain.OutcomeDuplicate && !en.known(sort).Agree(word) {
		return result
	}
	b.write(u, f.number)
	if result != domain.OutcomeTransition {
		return result
	}
	if first && bytes.Equal(value, domain.JSONNull) {
		return domain.OutcomeUnchanged // there was no value before, and there is none now
	}
	if value, send := p.Sendable(word.Value); send {
		b.emit(u, f, p, en, c, sort, domain.TransitionValue, value, true, event)
	}
	return domain.OutcomeTransition
}

// observe takes in a word, and says what it amounts to. What is kept of a time beyond believable is older.
func (e *entry) observe(sort int, word domain.Assertion, membership bool, believable int64) domain.Outcome {
	known := e.known(sort)
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
	for _, s := range e.kept { // of the other call, too: else it would hide this word
		if s != nil && s.Time > believable {
			s.Before(word.Time)
		}
	}
	e.keep(sort, &word)
	return came
}

func sortOf(p *domain.Policy, e *domain.Event) int {
	switch {
	case !p.Send.Has(domain.SendAsReceived):
		return keptOne
	case e.Call == domain.CallTrack:
		return keptTrack
	default:
		return keptIdentify
	}
}

func (b *batch) countMember(f *field, was, is bool) {
	switch {
	case is && !was:
		f.members++
		f.entered++
		f.watch.members = max(f.watch.members, f.members)
	case was && !is:
		f.leave()
		f.exited++
	default:
		return
	}
	b.touch(f)
}

// emit makes the changes that a transition causes, on the targets of its policy, as far as they are wanted as an
// attribute and as an event.
func (b *batch) emit(u *user, f *field, p *domain.Policy, en *entry, c *cause, sort int, t domain.Transition, value []byte, attribute, event bool) {
	e := c.event
	asAttribute := attribute && (p.Send.Has(domain.SendAttribute) || p.Send.Has(domain.SendAsReceived) && sort == keptIdentify)
	asEvent := event && (p.Send.Has(domain.SendEvent) || p.Send.Has(domain.SendAsReceived) && sort == keptTrack)
	if p.IsTooOld(e) {
		asEvent = false // a replay: the state is news, the event is not
	}
	if asAttribute {
		b.wantAttribute(u, f, p, en, c, t, value)
	}
	if asEvent {
		b.wantEvent(u, f, p, c, t, value, sort == keptTrack)
	}
}

// wantEvent makes an event change: the event that was received, or one made up so that it is the same
// whichever call came first.
func (b *batch) wantEvent(u *user, f *field, p *domain.Policy, c *cause, t domain.Transition, value []byte, received bool) {
	ch := b.draft(u, f, p, c, domain.KindEvent, t)
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
		ch.Name = cmp.Or(c.event.Name, ch.Name) // a narrow webhook mapping leaves the name out
		ch.Props = c.event.Properties()
	}
	b.st.ledger.changes.Created++
	switch {
	case b.st.registry.conflicted(f, p, &b.st.rules):
		b.holdConflict(u, f, ch, nil)
	case b.withholds(f, p, c, t):
		b.holdExit(u, f, ch, nil)
	default:
		b.enqueue(u, ch)
	}
}

// believable is the latest time that a word kept of a user can be of, as far as a record may know. What is
// kept beyond it was written under a clock that was ahead, and is no fence: else a moment of a wrong clock
// would make everything stale until the clock is there. A record whose own time lies ahead of its receipt came
// in under a clock that was set back, and vouches for the times before it.
func (b *batch) believable(c *cause) int64 {
	at := b.now
	if c.event.Time.After(at) {
		at = c.event.Time
	}
	return at.Add(domain.MaxAhead).UnixNano()
}
