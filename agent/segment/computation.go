package segment

import (
	"cmp"
	"slices"
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

func (r *reader) readPersonas() {
	p := &r.personas
	for m := r.walk(r.top.personas); m.next(); {
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
	p.present = r.says(p.class) || r.says(p.id) || r.says(p.key) || r.says(p.emitter)
}

// name reads a computation's name. A blank name counts as none. A name with control characters could not be
// typed in a command, and names with half a surrogate pair look alike. Both are dropped and fault the event.
func (r *reader) name(at domain.Span) string {
	if r.first(at) != '"' {
		return ""
	}
	content := r.decoded(at)
	if blank(content) {
		return ""
	}
	name := string(content)
	if !domain.Nameable(name) || domain.LoneSurrogate(cut(r.raw, at)) >= 0 {
		r.fault(FaultInvalidUTF8, "A name of the computation contains control characters or half a surrogate pair. Look at what builds these events: Segment's own names have none.")
		return ""
	}
	return name
}

// meaning reads the event's computation, if any.
func (r *reader) meaning() {
	switch {
	case r.event.Call == domain.CallDelete:
		r.deletion()
	case r.personas.present:
		r.engage()
	case r.how.Route == RouteWebhook:
		r.withoutPersonas()
	}
}

// deletion checks Segment's {"type":"delete"}, which erases a user. It must come by the webhook: a write key is
// public in every browser, so it is not enough.
func (r *reader) deletion() {
	if r.how.Route == RouteTracking {
		r.fault(FaultUnverified, "Deletes are accepted only from Segment's webhook. Use `personasync user forget ID` if this one is intended.")
	}
	if !r.how.Verified {
		r.fault(FaultUnverified, "No signature and no token covers this delete: Segment signs the first event of an array only. Set ingest.bearer_token and Segment's Authorization header, or use `personasync user forget ID` if this one is intended.")
	}
	r.needsIdentifier()
}

// engage reads an event with context.personas.
func (r *reader) engage() {
	e, p := r.event, &r.personas
	e.Class = r.class(p.class)
	e.ComputationID = r.name(p.id)
	e.Key = r.name(p.key)
	if e.Space = r.name(p.space); e.Space == "" {
		e.Space = r.name(p.namespace)
	}
	emitter := r.name(p.emitter)
	e.PassThrough = e.Call == domain.CallTrack && (e.Class == domain.ClassJourneyStep || emitter != "")
	e.Object, _ = r.objects()
	if !r.says(p.class) {
		e.Class = r.impliedClass()
	}
	if e.Key == "" {
		e.Key = r.keyInObjects()
	}
	if e.Key == "" && e.PassThrough { // a valid event without a key; its other names identify the source
		e.Key = cmp.Or(e.ComputationID, emitter, e.Class.String())
	}
	if !r.shortNames() {
		return
	}
	if e.Class == domain.ClassNone {
		if !r.says(p.class) && e.Key != "" {
			r.eitherClass()
		}
		r.unknownClass()
		return
	}
	if e.Key == "" {
		r.fault(FaultMissingKey, "context.personas has no computation_key, so the computation is unknown. Map the whole event ($.) in Segment's webhook settings.")
	}
	r.computed()
}

// impliedClass returns the class of a computation whose context.personas has none, as a narrow mapping may omit
// it. The member that holds the key implies it, or else the prefix of its id.
func (r *reader) impliedClass() domain.Class {
	own, other := r.objects()
	for _, object := range [...]domain.Span{own, other} {
		if _, class := r.namedIn(object); class != domain.ClassNone {
			return class
		}
	}
	switch id := r.event.ComputationID; {
	case strings.HasPrefix(id, "tra_"):
		return domain.ClassTrait
	case strings.HasPrefix(id, "aud_"), r.event.PassThrough:
		return domain.ClassAudience
	}
	return domain.ClassNone
}

func (r *reader) class(at domain.Span) domain.Class {
	if r.first(at) != '"' {
		return domain.ClassNone
	}
	switch string(r.decoded(at)) {
	case "audience":
		return domain.ClassAudience
	case "trait", "computed_trait": // the second appears in the tests of Segment's destinations
		return domain.ClassTrait
	case "journey_step":
		return domain.ClassJourneyStep
	}
	return domain.ClassNone
}

func (r *reader) unknownClass() {
	name := r.text(r.personas.class)
	if name == "" {
		r.fault(FaultUnknownClass, "context.personas has no computation_class, so the event is neither membership nor a trait. Map the whole event ($.) in Segment's webhook settings.")
		return
	}
	r.fault(FaultUnknownClass, "The computation class "+shown(name)+" is not known; audience, trait and journey_step are. A newer version may know it: then retry this event.")
}

// eitherClass reads an event without a class both as a membership and as a trait. The store knows the class if
// it knows the computation.
func (r *reader) eitherClass() {
	r.about()
	if at, object, found := r.keyed(r.event.Key); found {
		r.event.Object, r.event.Flag = object, r.flag(at)
	}
	r.columns()
	r.leaveOut()
}

// computed reads the membership or the values once class and key are known, and checks the fields both need.
func (r *reader) computed() {
	e := r.event
	r.about()
	if e.Class == domain.ClassTrait {
		r.values()
	} else {
		r.membership()
	}
	if e.PassThrough && !r.says(r.top.name) {
		if e.Name = ""; e.Flag == domain.FlagSilent && len(e.Columns) == 0 {
			r.fault(FaultMissingName, "The event has no name and no membership. Map event in Segment's webhook settings.")
		}
	}
	r.leaveOut()
}

// about checks that the event identifies a user and that its call can carry a computation.
func (r *reader) about() {
	e := r.event
	switch e.Call {
	case domain.CallIdentify, domain.CallTrack:
	case domain.CallGroup:
		if e.User.ID == "" && !r.top.userIDIsOdd {
			r.fault(FaultAccountLevel, "The event is about an account, and MoEngage knows users only. Turn on identify or track calls for this audience in Segment.")
		}
	default:
		r.unknownType("Membership and traits come in identify, track and group calls.")
	}
	r.needsIdentifier()
}

// leaveOut lists the object's members that can be neither stored nor sent, so that the other members still
// count. A number beyond a double would make JSON readers refuse the whole request. A name with half a
// surrogate pair reads like others of its kind, so two traits would become one attribute; the sender renames
// those of a track. A trait with nothing left faults the event.
func (r *reader) leaveOut() {
	e := r.event
	if !r.hugeNumber && !r.halfName || e.Object.Len == 0 {
		return // the common case: the event has none
	}
	membership := e.Class == domain.ClassAudience || e.Class == domain.ClassJourneyStep
	row := !membership && (len(e.Columns) != 1 || e.Columns[0].Name != e.Key)
	halves := e.Call != domain.CallTrack || row
	huge := false
	for m := r.walk(e.Object); m.next(); m.hugeNumber = false {
		name := string(m.name)
		e.LeftOut = slices.DeleteFunc(e.LeftOut, func(c domain.Column) bool { return c.Name == name }) // the last of duplicates counts
		if m.hugeNumber || halves && m.halved() {
			e.LeftOut = append(e.LeftOut, domain.Column{Name: name, Value: m.value})
			huge = huge || m.hugeNumber
		}
	}
	e.Columns = slices.DeleteFunc(e.Columns, func(c domain.Column) bool {
		return slices.ContainsFunc(e.LeftOut, func(out domain.Column) bool { return out.Value == c.Value })
	})
	switch {
	case membership || e.PassThrough || len(e.Columns) > 0 || len(e.LeftOut) == 0:
	case huge:
		r.fault(FaultBadValue, "The trait's value is, or holds, a number beyond 1.8e308, which JSON readers cannot represent. Look at what computes it.")
	default:
		r.fault(FaultInvalidUTF8, "The names of all columns contain half a surrogate pair, so two could look alike. Rename the columns in the SQL trait.")
	}
}

// needsIdentifier faults an event without a usable identifier. An unusable userId always faults it: the event
// is about a known user, and the anonymousId would turn them into an anonymous one. For the same reason an
// unusable anonymousId takes precedence over an e-mail address.
func (r *reader) needsIdentifier() {
	e, t := r.event, &r.top
	if t.userIDIsOdd {
		r.oddIdentifier("userId", t.userID)
	}
	if e.User.ID == "" && t.anonymousIDIsOdd {
		r.oddIdentifier("anonymousId", t.anonymousID)
	}
	if e.User.ID == "" && e.Anonymous.ID == "" && t.emailIsOdd {
		r.oddIdentifier("e-mail address", r.email())
	}
	if e.User.ID == "" && e.Anonymous.ID == "" && e.Email.ID == "" {
		r.fault(FaultNoIdentifier, "The event has no userId, no anonymousId and no e-mail address, so it identifies no user. Choose at least one identifier for this destination in Segment.")
	}
}

func (r *reader) oddIdentifier(name string, at domain.Span) {
	what := shownValue(r.raw, at) + "; it must be a text or a number"
	switch r.first(at) {
	case '"':
		what = "a text with control characters or half a character in it, so that nobody could name this user, and two could look like one"
	case '{', '[', 't', 'f':
	default:
		what = "a number that cannot be written out without an exponent"
	}
	r.fault(FaultBadUserID, "The "+name+" is "+what+". Correct its mapping in Segment.")
}

// shortNames faults and drops names that are too long, because names become keys of the store. It reports
// whether all names were short enough.
func (r *reader) shortNames() bool {
	e, ok := r.event, true
	for _, name := range [...]*string{&e.Key, &e.ComputationID, &e.Space} {
		if len(*name) > maxName {
			r.faultf(FaultNameTooLong, "The computation's name %s has %d bytes; at most %d are taken. Look at what builds these events: Segment's own names are short.", shown(*name), len(*name), maxName)
			*name, ok = "", false
		}
	}
	return ok
}

// objects returns the two possible places of traits and properties, the call's own first. Either is empty if it
// is not an object.
func (r *reader) objects() (own, other domain.Span) {
	own, other = r.top.traits, r.top.properties
	if r.event.Call == domain.CallTrack {
		own, other = other, own
	}
	if r.first(other) != '{' {
		other = domain.Span{}
	}
	if r.first(own) != '{' {
		return other, domain.Span{}
	}
	return own, other
}

// namedIn reads the computation named in the object itself.
func (r *reader) namedIn(object domain.Span) (key string, class domain.Class) {
	if at, _ := r.member(object, "audience_key"); r.says(at) {
		return r.name(at), domain.ClassAudience
	}
	if at, _ := r.member(object, "trait_key"); r.says(at) {
		return r.name(at), domain.ClassTrait
	}
	return "", domain.ClassNone
}

func (r *reader) keyInObjects() string {
	own, other := r.objects()
	if key, class := r.namedIn(own); class != domain.ClassNone {
		return key
	}
	key, _ := r.namedIn(other)
	return key
}

// withoutPersonas reads an event whose context was removed by a mapping.
func (r *reader) withoutPersonas() {
	e := r.event
	own, other := r.objects()
	for _, object := range [...]domain.Span{own, other, r.top.whole} {
		key, class := r.namedIn(object)
		if class == domain.ClassNone {
			continue
		}
		if _, found := r.member(object, key); !found {
			continue
		}
		e.Key, e.Class, e.Object = key, class, object
		if e.Call == domain.CallUnknown && r.first(r.top.kind) != '"' {
			e.Call = domain.CallTrack // properties alone: only a track has an audience_key
		}
		if r.shortNames() {
			r.computed()
		}
		return
	}
}

// membership reads the flag. A first-generation journey may store it under its audience_key, which then differs
// from the computation's key (using-engage-data, "Journeys generated events").
func (r *reader) membership() {
	e := r.event
	at, object, found := r.keyed(e.Key)
	if !found && r.personas.present {
		at, object, found = r.keyed(r.keyInObjects())
	}
	if found {
		e.Object = object
		e.Flag = r.flag(at)
	}
	if e.Flag != domain.FlagSilent || e.PassThrough {
		return
	}
	if !found {
		r.fault(FaultUndetermined, "The event does not say whether the user is in "+shown(e.Key)+": neither traits nor properties has it. Nothing was changed; map traits and properties whole in Segment's webhook settings.")
		return
	}
	r.fault(FaultUndetermined, "The membership in "+shown(e.Key)+" is "+shownValue(r.raw, at)+"; it must be true or false. Nothing was changed; look at what changes events on their way from Segment.")
}

// keyed returns the value of a key in the first object that has it.
func (r *reader) keyed(key string) (value, object domain.Span, found bool) {
	if key == "" {
		return value, object, false
	}
	own, other := r.objects()
	if !r.personas.present {
		own, other = r.event.Object, domain.Span{}
	}
	for _, object := range [...]domain.Span{own, other} {
		if value, found := r.member(object, key); found {
			return value, object, true
		}
	}
	return value, object, false
}

// flag reads true, false, and the texts "true" and "false" that journeys send. No other value counts: to
// JavaScript even the text "no" is true.
func (r *reader) flag(at domain.Span) domain.Flag {
	switch r.first(at) {
	case 't':
		return domain.FlagIn
	case 'f':
		return domain.FlagOut
	case '"':
		switch text := string(r.decoded(at)); {
		case strings.EqualFold(text, "true"):
			return domain.FlagIn
		case strings.EqualFold(text, "false"):
			return domain.FlagOut
		}
	}
	return domain.FlagSilent
}

// values reads a trait and faults the event if it has no value.
func (r *reader) values() {
	if found := r.columns(); !found && !r.event.PassThrough {
		r.fault(FaultNoValues, "The event of trait "+shown(r.event.Key)+" has no value: traits and properties are missing or empty. Map them whole in Segment's webhook settings.")
	}
}

// columns reads the value under the trait's key, or else a SQL trait's row, in which every member is a column.
// A null is a value too: it clears the attribute.
func (r *reader) columns() (found bool) {
	e := r.event
	if at, object, found := r.keyed(e.Key); found {
		e.Object = object
		e.Columns = []domain.Column{{Name: e.Key, Value: at}}
		return true
	}
	own, other := r.objects()
	for _, object := range [...]domain.Span{own, other} {
		if halved := r.row(object); halved || len(e.Columns) > 0 || e.Fault == FaultTooManyVals {
			e.Object = object
			return true
		}
	}
	return false
}

// row reads every member of an object except the two that are not columns. It reports whether it skipped names
// with half a surrogate pair.
func (r *reader) row(object domain.Span) (halved bool) {
	e := r.event
	var seen map[string]int // of long rows: where each name is
	for m := r.walk(object); m.next(); {
		if string(m.name) == "email" || string(m.name) == "trait_key" {
			continue
		}
		if r.halfName && m.halved() {
			halved = true
			continue
		}
		if i := columnNamed(e.Columns, seen, m.name); i >= 0 {
			e.Columns[i].Value = m.value
			continue
		}
		if len(e.Columns) == maxValues {
			r.faultf(FaultTooManyVals, "The row of trait %s has more than %d columns; Segment's SQL traits have at most 25. Look at what builds these events.", shown(e.Key), maxValues)
			e.Columns = nil
			return halved
		}
		if len(m.name) > maxName {
			r.faultf(FaultNameTooLong, "The column name %s has %d bytes; at most %d are taken. Rename the column in the SQL trait.", shown(string(m.name)), len(m.name), maxName)
			continue
		}
		e.Columns = append(e.Columns, domain.Column{Name: string(m.name), Value: m.value})
		seen = index(e.Columns, seen)
	}
	return halved
}

// shortRow is the number of columns up to which a linear search beats a map. Segment's rows have at most 25.
const shortRow = 32

func columnNamed(columns []domain.Column, seen map[string]int, name []byte) int {
	if seen != nil {
		if i, ok := seen[string(name)]; ok {
			return i
		}
		return -1
	}
	for i := range columns {
		if columns[i].Name == string(name) {
			return i
		}
	}
	return -1
}

// index maintains the name map of a long row. It returns nil for a short one.
func index(columns []domain.Column, seen map[string]int) map[string]int {
	if len(columns) <= shortRow {
		return nil
	}
	if seen == nil {
		seen = make(map[string]int, 2*shortRow)
		for i, c := range columns {
			seen[c.Name] = i
		}
	}
	seen[columns[len(columns)-1].Name] = len(columns) - 1
	return seen
}
