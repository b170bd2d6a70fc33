package store

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"
)

// Applying is a pure function of the state and the record: no clock, no random, no look outside. The
// record's receipt is the only "now". So the same records give the same state in whatever batches,
// and a crash between two commits repeats the work and not its effect.

// fate is the term of the ledger that an accepted event ends in, the weightier the greater.
type fate uint8

const (
	fateIgnored fate = iota
	fateStale
	fateDuplicate
	fateUnchanged
	fateTransition
	fateParked
)

func (b *batch) apply(rec record, frame []byte) {
	b.st.applied = rec.seq
	if rec.rules != nil {
		b.applyRules(rec.rules)
		return
	}
	b.now = rec.event.Received
	l := &b.st.ledger.events
	l.Accepted++
	switch b.applyEvent(&cause{seq: rec.seq, event: rec.event}, frame) {
	case fateTransition:
		l.Transitions++
	case fateUnchanged:
		l.Unchanged++
	case fateDuplicate:
		l.Duplicate++
	case fateStale:
		l.Stale++
	case fateParked:
		l.Parked++
	case fateIgnored:
		l.Ignored++
	}
}

// applyDamaged parks a record whose checksum does not hold. It was accepted, so it is accounted for.
func (b *batch) applyDamaged(seq uint64, frame []byte, cause error) {
	b.st.applied = seq
	b.st.ledger.events.Accepted++
	b.st.ledger.events.Parked++
	b.log.Error("a damaged record of the inbox was parked", "record", seq, "err", cause)
	b.parkEvent(seq, frame, &Event{Received: b.now}, "", "corrupt", "its checksum does not hold: the disk changed it after it was written")
}

func (b *batch) applyRules(r *Rules) {
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

func (b *batch) applyEvent(c *cause, frame []byte) fate {
	e := c.event
	park := func(reason, sentence string) fate {
		b.parkEvent(c.seq, frame, e, cmp.Or(e.User.ID, e.Anonymous.ID, e.Email.ID), reason, sentence)
		return fateParked
	}
	switch {
	case e.Fault != "":
		return park(e.Fault, e.Sentence)
	case e.Call == CallDelete:
		return b.applyDelete(c, park)
	case e.Class == ClassNone:
		return fateIgnored
	}
	f, ambiguous := b.resolve(e)
	if ambiguous {
		return park("ambiguous_key", "the event names no computation but this key, and several computations have it: send context.personas along")
	}
	p := b.st.rules.For(f.key, f.id)
	who, verdict := identifyUser(e, &p)
	switch verdict {
	case identityIgnored:
		return fateIgnored
	case identityParked:
		return park(who.Fault, identitySentence(who.Fault))
	}
	if b.forgotten(who.ID, e.Time) {
		return fateIgnored
	}
	if f.lastEvent.Before(e.Received) {
		f.lastEvent = e.Received
		b.touch(f)
	}
	u := b.user(who.ID)
	if e.PassThrough {
		return b.passThrough(u, f, &p, c)
	}
	return b.state(u, f, &p, c)
}

// state diffs what the event says against what is kept.
func (b *batch) state(u *user, f *field, p *Policy, c *cause) fate {
	if c.event.Class != ClassTrait {
		return max(b.member(u, f, p, c, true), b.forwardTraits(u, f, p, c))
	}
	return max(b.values(u, f, p, c, true), b.forwardTraits(u, f, p, c))
}

// values applies every value that a trait's event holds.
func (b *batch) values(u *user, f *field, p *Policy, c *cause, event bool) fate {
	e, result := c.event, fateIgnored
	for _, col := range e.Columns {
		target := f
		if col.Name != e.Key {
			target = b.column(f, col.Name)
		}
		result = max(result, b.value(u, target, p, c, e.Bytes(col.Value), event))
	}
	return result
}

// member applies a membership. tell is false when the event itself is sent on by itself.
func (b *batch) member(u *user, f *field, p *Policy, c *cause, tell bool) fate {
	e := c.event
	word := statement{value: jsonFalse, time: e.Time.UnixNano(), since: e.Time.UnixNano(), seq: c.seq}
	if e.Flag == FlagIn {
		word.value = jsonTrue
	}
	en, sort := b.entry(u, f.number), sortOf(p, e)
	wasIn, first := en.newest().in(), en.known(sort) == nil
	result := en.hear(sort, word, true)
	if result == fateStale || result == fateDuplicate {
		return result
	}
	b.write(u, f.number)
	b.countMember(f, wasIn, en.newest().in())
	if result != fateTransition {
		return result
	}
	t := TransitionEnter
	if !word.in() {
		if t = TransitionExit; first && !p.UnknownExit {
			return fateUnchanged // Segment fans exits out to every identifier: recorded, nothing to say
		}
	}
	b.tell(u, f, p, en, c, sort, t, word.value, tell)
	return fateTransition
}

// value applies one value of a trait. event is false when the event itself is sent on by itself.
func (b *batch) value(u *user, f *field, p *Policy, c *cause, value []byte, event bool) fate {
	at := c.event.Time.UnixNano()
	word := statement{value: bytes.Clone(value), time: at, since: at, message: c.event.MessageID, seq: c.seq}
	en, sort := b.entry(u, f.number), sortOf(p, c.event)
	first := en.known(sort) == nil
	result := en.hear(sort, word, false)
	if result == fateStale || result == fateDuplicate {
		return result
	}
	b.write(u, f.number)
	if result != fateTransition {
		return result
	}
	if bytes.Equal(value, jsonNull) {
		if first {
			return fateUnchanged // there was no value before, and there is none now
		}
		switch p.OnNull {
		case NullUnset:
		case NullEmpty:
			word.value = jsonEmpty
		default:
			return fateTransition
		}
	}
	b.tell(u, f, p, en, c, sort, TransitionValue, word.value, event)
	return fateTransition
}

// hear takes in a word, and says what it amounts to.
func (e *entry) hear(sort int, word statement, membership bool) fate {
	known := e.known(sort)
	switch judge(known, word, membership) {
	case rulingStale:
		return fateStale
	case rulingDuplicate:
		return fateDuplicate
	case rulingUnchanged:
		word.since, word.seq = known.since, known.seq
		e.keep(sort, &word)
		return fateUnchanged
	default:
		e.keep(sort, &word)
		return fateTransition
	}
}

func sortOf(p *Policy, e *Event) int {
	switch {
	case !p.Send.Has(SendAsReceived):
		return keptOne
	case e.Call == CallTrack:
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
	case was && !is:
		f.members--
		f.exited++
	default:
		return
	}
	b.touch(f)
}

// tell makes the changes that a transition causes, on the channels of its policy.
func (b *batch) tell(u *user, f *field, p *Policy, en *entry, c *cause, sort int, t Transition, value []byte, event bool) {
	e := c.event
	asAttribute := p.Send.Has(SendAttribute) || p.Send.Has(SendAsReceived) && sort == keptIdentify
	asEvent := event && (p.Send.Has(SendEvent) || p.Send.Has(SendAsReceived) && sort == keptTrack)
	if p.tooOld(e) {
		asEvent = false // a replay: the state is news, the event is not
	}
	if asAttribute {
		b.wantAttribute(u, f, p, en, c, t, value)
	}
	if asEvent {
		b.wantEvent(u, f, p, c, t, value, sort == keptTrack)
	}
}

func (p *Policy) tooOld(e *Event) bool {
	return p.MaxEventAge > 0 && e.Received.Sub(e.Time) > p.MaxEventAge
}

// wantEvent makes an event change: the event that was received, or one made up so that it is the same
// whichever call came first.
func (b *batch) wantEvent(u *user, f *field, p *Policy, c *cause, t Transition, value []byte, received bool) {
	ch := b.draft(u, f, p, c, KindEvent, t)
	ch.Value = bytes.Clone(value)
	switch t {
	case TransitionEnter:
		ch.Name = p.EnterEvent
	case TransitionExit:
		ch.Name = p.ExitEvent
	default:
		ch.Name = p.TraitEvent
	}
	if received {
		ch.Name = cmp.Or(c.event.Name, ch.Name) // a narrow webhook mapping leaves the name out
		ch.Props = bytes.Clone(c.event.Bytes(c.event.Object))
	}
	b.st.ledger.changes.Created++
	if b.st.registry.conflicted(f, p, &b.st.rules) {
		b.hold(u, f, ch, nil)
		return
	}
	b.enqueue(u, ch)
}

// passThrough sends on a track event that may repeat on purpose: once for each message id. A flag in
// it sets the membership, but does not decide whether it is sent.
func (b *batch) passThrough(u *user, f *field, p *Policy, c *cause) fate {
	e := c.event
	if b.st.rules.MessageIDs > 0 && e.Received.Sub(e.Time) > b.st.rules.MessageIDs {
		return fateStale // older than message ids are remembered: it cannot be told from a replay
	}
	if !b.firstSight(e) {
		return fateDuplicate
	}
	result, t, value := fateUnchanged, Transition(0), []byte(nil)
	switch {
	case e.Class == ClassTrait:
		result, t = max(result, b.values(u, f, p, c, false)), TransitionValue
	case e.Flag == FlagIn:
		result, t, value = b.member(u, f, p, c, false), TransitionEnter, jsonTrue
	case e.Flag == FlagOut:
		result, t, value = b.member(u, f, p, c, false), TransitionExit, jsonFalse
	}
	if p.Send&(SendAsReceived|SendEvent) == 0 || p.tooOld(e) {
		return result
	}
	b.wantEvent(u, f, p, c, t, value, true)
	return fateTransition
}

const day = 24 * time.Hour

// firstSight remembers a message id, and reports whether it is new. Ids are kept in one bucket a day,
// so that forgetting them drops a bucket.
func (b *batch) firstSight(e *Event) bool {
	sum := sha256.Sum256([]byte(e.MessageID))
	days := b.tx.Bucket(bucketMessages)
	today := e.Received.Unix() / int64(day/time.Second)
	oldest := e.Received.Add(-b.st.rules.MessageIDs).Unix() / int64(day/time.Second)
	for d := oldest; d <= today; d++ {
		if ids := days.Bucket(numberKey(uint64(d))); ids != nil && ids.Get(sum[:16]) != nil {
			return false
		}
	}
	ids, err := days.CreateBucketIfNotExists(numberKey(uint64(today)))
	if err != nil {
		b.err = err
		return true
	}
	b.put(ids, sum[:16], []byte{})
	return true
}

// forwardTraits sends along the other traits of an identify that the policy names.
func (b *batch) forwardTraits(u *user, f *field, p *Policy, c *cause) (result fate) {
	e := c.event
	if len(p.ForwardTraits) == 0 || e.Call != CallIdentify || p.Send == SendNone || e.Object.Len == 0 {
		return fateIgnored
	}
	var traits map[string]json.RawMessage
	if json.Unmarshal(e.Bytes(e.Object), &traits) != nil {
		return fateIgnored
	}
	all := slices.Contains(p.ForwardTraits, "*")
	for _, name := range sortedNames(traits) {
		own := name == f.key || slices.ContainsFunc(e.Columns, func(c Column) bool { return c.Name == name })
		if own || !all && !slices.Contains(p.ForwardTraits, name) {
			continue
		}
		if owner := b.st.registry.owners[name]; owner != nil && !owner.forwarded() {
			continue // a computation of its own says this better
		}
		forwarded := *p
		forwarded.Send = SendAttribute
		if b.value(u, b.forward(name), &forwarded, c, traits[name], false) == fateTransition {
			result = fateTransition
		}
	}
	return result
}

func sortedNames(m map[string]json.RawMessage) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

type identityVerdict uint8

const (
	identityUsable identityVerdict = iota
	identityParked
	identityIgnored
)

// identifyUser says who an event is about under a policy. A parked verdict carries its reason as the
// identifier's fault.
func identifyUser(e *Event, p *Policy) (Identifier, identityVerdict) {
	who, policy, reason := e.User, IdentityUse, ""
	switch {
	case who.ID != "":
	case e.Anonymous.ID != "":
		who, policy, reason = e.Anonymous, p.Anonymous, "anonymous"
	case e.Email.ID != "":
		who, policy, reason = e.Email, p.EmailOnly, "email_only"
	default:
		return Identifier{Fault: "no_identifier"}, identityParked
	}
	switch {
	case policy == IdentityIgnore:
		return who, identityIgnored
	case policy != IdentityUse:
		return Identifier{ID: who.ID, Fault: reason}, identityParked
	case who.Fault != "":
		return who, identityParked
	case len(who.ID) > MaxUserID:
		return Identifier{Fault: "id_too_long"}, identityParked
	default:
		return who, identityUsable
	}
}

var identitySentences = map[string]string{
	"anonymous":       `the event has no userId: set anonymous = "use_anonymous_id" to send under its anonymousId, or "ignore"`,
	"email_only":      `the event has no userId, only an e-mail address: set email_only = "use_email" to send under it, or "ignore"`,
	"no_identifier":   "the event names nobody: no userId, no anonymousId, no e-mail address",
	"id_blocked":      "MoEngage ignores this id: it is on its list of placeholder ids",
	"id_too_short":    "MoEngage needs an id of two characters or more",
	"id_too_long":     "the id is longer than 512 bytes",
	"id_invalid_utf8": "the id is not valid UTF-8",
}

func identitySentence(reason string) string {
	if s := identitySentences[reason]; s != "" {
		return s
	}
	return "MoEngage does not take this id: " + reason
}

// applyDelete erases a user on Segment's word.
func (b *batch) applyDelete(c *cause, park func(reason, sentence string) fate) fate {
	e := c.event
	if b.st.rules.OnDelete == "ignore" {
		return fateIgnored
	}
	id := cmp.Or(e.User.ID, e.Anonymous.ID)
	if id == "" || len(id) > MaxUserID {
		return park("no_identifier", "a delete that names nobody cannot be carried out")
	}
	b.forget(b.user(id), e.Received)
	return fateIgnored
}

// tombstone is what stays of a forgotten user: a salted hash, and the time.
func (b *batch) tombstone(id string) []byte {
	sum := sha256.Sum256(slices.Concat(b.st.salt, []byte(id)))
	return sum[:16]
}

// forgotten reports whether an event is from before its user was forgotten.
func (b *batch) forgotten(id string, at time.Time) bool {
	if b.st.ledger.tombstones == 0 {
		return false
	}
	v := b.tx.Bucket(bucketTombstones).Get(b.tombstone(id))
	return len(v) == 8 && at.UnixNano() <= int64(binary.BigEndian.Uint64(v))
}
