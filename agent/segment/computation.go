package segment

import (
	"cmp"
	"strings"

	"personasync/store/domain"
)

// # What an event means
//
// context.personas makes an event an Engage event and names the computation. If it has no class, the rest of
// the event may imply one. If it has no class, id or key, it is ignored. On the webhook route an event without
// context.personas still belongs to a computation if one of its objects has an audience_key or a trait_key and
// the value that this key names. Every other event is ordinary.
//
// Objects are searched in this order:
//
//	identify, group   traits, then properties
//	track             properties, then traits (a warehouse page of Segment shows tracks like that)
//	no personas       the same, then the event itself: a mapping may send the properties alone
//
// The first object that has the key decides, even if its value cannot be read. The next object is not tried,
// because a contradiction must not cause an exit.

// personas locates the members of context.personas.
type personas struct {
	present                                   bool
	class, id, key, space, namespace, emitter domain.Span
}

// A computation is the state of reading an event's computation.
type computation struct {
	*reader
	personas personas
}

// readComputation reads what the event says about a computation, if anything.
func readComputation(r *reader) {
	c := computation{reader: r}
	c.readPersonas()
	switch {
	case r.event.Call == domain.CallDelete:
		r.deletion()
	case c.personas.present:
		c.engage()
	case r.how.Route == RouteWebhook:
		c.withoutPersonas()
	}
}

func (c *computation) readPersonas() {
	p := &c.personas
	for m := c.walk(c.top.personas); m.next(); {
		switch string(m.name) {
		case "computation_class":
			p.class = m.value
		case "computation_id":
			p.id = m.value
		case "computation_key":
			p.key = m.value
		case "space_id":
			p.space = m.value
		case "namespace":
			p.namespace = m.value
		case "event_emitter_id":
			p.emitter = m.value
		}
	}
	p.present = c.says(p.class) || c.says(p.id) || c.says(p.key) || c.says(p.emitter)
}

// name reads a computation's name. A blank name counts as none. A name with control characters could not be
// typed in a command, and names with half a surrogate pair look alike. Both are dropped and fault the event.
func (c *computation) name(at domain.Span) string {
	if c.first(at) != '"' {
		return ""
	}
	content := c.decoded(at)
	if blank(content) {
		return ""
	}
	name := string(content)
	if !domain.Nameable(name) || domain.LoneSurrogate(cut(c.raw, at)) >= 0 {
		c.fault(FaultInvalidUTF8, "A name of the computation contains control characters or an unpaired surrogate. Check the program that builds these events: Segment's own names have none.")
		return ""
	}
	return name
}

// engage reads an event with context.personas.
func (c *computation) engage() {
	e, p := c.event, &c.personas
	e.Class = c.class(p.class)
	e.ComputationID = c.name(p.id)
	e.Key = c.name(p.key)
	if e.Space = c.name(p.space); e.Space == "" {
		e.Space = c.name(p.namespace)
	}
	emitter := c.name(p.emitter)
	e.PassThrough = e.Call == domain.CallTrack && (e.Class == domain.ClassJourneyStep || emitter != "")
	e.Object, _ = c.objects()
	if !c.says(p.class) {
		e.Class = c.impliedClass()
	}
	if e.Key == "" {
		e.Key = c.keyInObjects()
	}
	if e.Key == "" && e.PassThrough { // a valid event without a key; its other names identify the source
		e.Key = cmp.Or(e.ComputationID, emitter, e.Class.String())
	}
	if !c.shortNames() {
		return
	}
	if e.Class == domain.ClassNone {
		if !c.says(p.class) && e.Key != "" {
			c.eitherClass()
		}
		c.unknownClass()
		return
	}
	if e.Key == "" {
		c.fault(FaultMissingKey, "context.personas has no computation_key, so the computation is unknown. Map the whole event ($.) in Segment's webhook settings.")
	}
	c.computed()
}

// impliedClass returns the class of a computation whose context.personas has none, as a narrow mapping may omit
// it. The member that holds the key implies it, or else the prefix of its id.
func (c *computation) impliedClass() domain.Class {
	own, other := c.objects()
	for _, object := range [...]domain.Span{own, other} {
		if _, class := c.namedIn(object); class != domain.ClassNone {
			return class
		}
	}
	switch id := c.event.ComputationID; {
	case strings.HasPrefix(id, "tra_"):
		return domain.ClassTrait
	case strings.HasPrefix(id, "aud_"), c.event.PassThrough:
		return domain.ClassAudience
	}
	return domain.ClassNone
}

func (c *computation) class(at domain.Span) domain.Class {
	if c.first(at) != '"' {
		return domain.ClassNone
	}
	switch string(c.decoded(at)) {
	case "audience":
		return domain.ClassAudience
	case "trait", "computed_trait": // the second appears in the tests of Segment's destinations
		return domain.ClassTrait
	case "journey_step":
		return domain.ClassJourneyStep
	}
	return domain.ClassNone
}

func (c *computation) unknownClass() {
	name := c.text(c.personas.class)
	if name == "" {
		c.fault(FaultUnknownClass, "context.personas has no computation_class, so the event is neither membership nor a trait. Map the whole event ($.) in Segment's webhook settings.")
		return
	}
	c.fault(FaultUnknownClass, "The computation class "+shown(name)+" is not known; the known ones are audience, trait and journey_step. If a newer version knows it, retry this event there.")
}

// eitherClass reads an event without a class both as a membership and as a trait. The store knows the class if
// it knows the computation.
func (c *computation) eitherClass() {
	c.about()
	if at, object, found := c.keyed(c.event.Key); found {
		c.event.Object, c.event.Flag = object, c.flag(at)
	}
	c.columns()
	c.leaveOut()
}

// computed reads the membership or the values once class and key are known, and checks the fields both need.
func (c *computation) computed() {
	e := c.event
	c.about()
	if e.Class == domain.ClassTrait {
		c.values()
	} else {
		c.membership()
	}
	if e.PassThrough && !c.says(c.top.name) {
		if e.Name = ""; e.Flag == domain.FlagSilent && len(e.Columns) == 0 {
			c.fault(FaultMissingName, "The event has no name and no membership. Map event in Segment's webhook settings.")
		}
	}
	c.leaveOut()
}

// about checks that the event identifies a user and that its call can carry a computation.
func (c *computation) about() {
	e := c.event
	switch e.Call {
	case domain.CallIdentify, domain.CallTrack:
	case domain.CallGroup:
		if e.User.ID == "" && !c.top.userIDIsOdd {
			c.fault(FaultAccountLevel, "The event is about an account, and MoEngage knows users only. Turn on identify or track calls for this audience in Segment.")
		}
	default:
		c.unknownType("Membership and traits come in identify, track and group calls.")
	}
	c.needsIdentifier()
}

// shortNames faults and drops names that are too long, because names become keys of the store. It reports
// whether all names were short enough.
func (c *computation) shortNames() bool {
	e, ok := c.event, true
	for _, name := range [...]*string{&e.Key, &e.ComputationID, &e.Space} {
		if len(*name) > maxName {
			c.faultf(FaultNameTooLong, "The computation's name %s has %d bytes; at most %d are taken. Check the program that builds these events: Segment's own names are short.", shown(*name), len(*name), maxName)
			*name, ok = "", false
		}
	}
	return ok
}

// objects returns the two possible places of traits and properties, the call's own first. Either is empty if it
// is not an object.
func (c *computation) objects() (own, other domain.Span) {
	own, other = c.top.traits, c.top.properties
	if c.event.Call == domain.CallTrack {
		own, other = other, own
	}
	if c.first(other) != '{' {
		other = domain.Span{}
	}
	if c.first(own) != '{' {
		return other, domain.Span{}
	}
	return own, other
}

// namedIn reads the computation named in the object itself.
func (c *computation) namedIn(object domain.Span) (key string, class domain.Class) {
	if at, _ := c.member(object, "audience_key"); c.says(at) {
		return c.name(at), domain.ClassAudience
	}
	if at, _ := c.member(object, "trait_key"); c.says(at) {
		return c.name(at), domain.ClassTrait
	}
	return "", domain.ClassNone
}

func (c *computation) keyInObjects() string {
	own, other := c.objects()
	if key, class := c.namedIn(own); class != domain.ClassNone {
		return key
	}
	key, _ := c.namedIn(other)
	return key
}

// withoutPersonas reads an event whose context was removed by a mapping.
func (c *computation) withoutPersonas() {
	e := c.event
	own, other := c.objects()
	for _, object := range [...]domain.Span{own, other, c.top.whole} {
		key, class := c.namedIn(object)
		if class == domain.ClassNone {
			continue
		}
		if _, found := c.member(object, key); !found {
			continue
		}
		e.Key, e.Class, e.Object = key, class, object
		if e.Call == domain.CallUnknown && c.first(c.top.kind) != '"' {
			e.Call = domain.CallTrack // properties alone: only a track has an audience_key
		}
		if c.shortNames() {
			c.computed()
		}
		return
	}
}

// membership reads the flag. A first-generation journey may store it under its audience_key, which then differs
// from the computation's key (using-engage-data, "Journeys generated events").
func (c *computation) membership() {
	e := c.event
	at, object, found := c.keyed(e.Key)
	if !found && c.personas.present {
		at, object, found = c.keyed(c.keyInObjects())
	}
	if found {
		e.Object = object
		e.Flag = c.flag(at)
	}
	if e.Flag != domain.FlagSilent || e.PassThrough {
		return
	}
	if !found {
		c.fault(FaultUndetermined, "The event does not say whether the user is in "+shown(e.Key)+": neither traits nor properties has it. Nothing was changed; map traits and properties whole in Segment's webhook settings.")
		return
	}
	c.fault(FaultUndetermined, "The membership in "+shown(e.Key)+" is "+shownValue(c.raw, at)+"; it must be true or false. Nothing was changed; check the programs between Segment and this agent.")
}

// keyed returns the value of a key in the first object that has it.
func (c *computation) keyed(key string) (value, object domain.Span, found bool) {
	if key == "" {
		return value, object, false
	}
	own, other := c.objects()
	if !c.personas.present {
		own, other = c.event.Object, domain.Span{}
	}
	for _, object := range [...]domain.Span{own, other} {
		if value, found := c.member(object, key); found {
			return value, object, true
		}
	}
	return value, object, false
}
