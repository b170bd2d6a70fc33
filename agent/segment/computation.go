package segment

import (
	"cmp"
	"slices"
	"strings"

	"personasync/store"
)

// What an event means
//
// context.personas makes an event an Engage event and names the computation. One without a class still does
// where the rest of the event shows the class. Without class, id and key it is as if it were not there. Then,
// on the webhook route, an event still speaks of a computation when an object of it has an audience_key, or a
// trait_key, and the value that this key names. Everything else is ordinary.
//
// The objects, in the order in which they are asked:
//
//	identify, group   traits, then properties
//	track             properties, then traits (a warehouse page of Segment shows tracks like that)
//	no personas       the same, then the event itself: a mapping may send the properties alone
//
// An object that has the key decides, even if its value cannot be read. The next is not asked: two
// objects that disagree are no ground for an exit.

// personas is where the parts of context.personas are.
type personas struct {
	present                                   bool
	class, id, key, space, namespace, emitter store.Span
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

// name reads the name of a computation. Blanks are none. One with control characters cannot be named in a
// command, and of two with half a character nobody could tell which is which: such a name is taken away, and
// faults the event.
func (r *reader) name(at store.Span) string {
	if !r.says(at) {
		return ""
	}
	name := r.text(at)
	if !store.Nameable(name) || store.LoneSurrogate(cut(r.raw, at)) >= 0 {
		r.fault(FaultInvalidUTF8, "A name of the computation has control characters or half a character in it. Look at what builds these events: Segment's own names have none.")
		return ""
	}
	return name
}

// meaning reads what the event says of a computation.
func (r *reader) meaning() {
	switch {
	case r.event.Call == store.CallDelete:
		r.deletion()
	case r.personas.present:
		r.engage()
	case r.how.Route == RouteWebhook:
		r.withoutPersonas()
	}
}

// deletion checks Segment's {"type":"delete"}, which comes by webhook and erases a user: the word of a
// write key, which every browser knows, is not enough for it.
func (r *reader) deletion() {
	if r.how.Route == RouteTracking {
		r.fault(FaultUnverified, "Deletes are taken from Segment's webhook only. Use `user forget` if this one is meant.")
	}
	if !r.how.Verified {
		r.fault(FaultUnverified, "No signature and no token covers this delete: Segment signs the first event of an array only. Set ingest.bearer_token and Segment's Authorization header, or use `user forget` if this one is meant.")
	}
	r.needsIdentifier()
}

// engage reads an event with context.personas.
func (r *reader) engage() {
	e, p := r.event, &r.personas
	e.Class = classOf(r.text(p.class))
	e.ComputationID = r.name(p.id)
	e.Key = r.name(p.key)
	if e.Space = r.name(p.space); e.Space == "" {
		e.Space = r.name(p.namespace)
	}
	emitter := r.name(p.emitter)
	e.PassThrough = e.Call == store.CallTrack && (e.Class == store.ClassJourneyStep || emitter != "")
	e.Object, _ = r.objects()
	if !r.says(p.class) {
		e.Class = r.impliedClass()
	}
	if e.Key == "" {
		e.Key = r.keyInObjects()
	}
	if e.Key == "" && e.PassThrough { // it is an event all the same, and goes by what else names its source
		e.Key = cmp.Or(e.ComputationID, emitter, e.Class.String())
	}
	if !r.shortNames() {
		return
	}
	if e.Class == store.ClassNone {
		if !r.says(p.class) && e.Key != "" {
			r.eitherClass()
		}
		r.unknownClass()
		return
	}
	if e.Key == "" {
		r.fault(FaultMissingKey, "context.personas has no computation_key, so nothing says which computation this is. Map the whole event ($.) in Segment's webhook settings.")
	}
	r.computed()
}

// impliedClass is the class of a computation whose context.personas has none: a narrow mapping may have left
// it out. The name under which the key stands says it, else the head of its id.
func (r *reader) impliedClass() store.Class {
	own, other := r.objects()
	for _, object := range [...]store.Span{own, other} {
		if _, class := r.namedIn(object); class != store.ClassNone {
			return class
		}
	}
	switch id := r.event.ComputationID; {
	case strings.HasPrefix(id, "tra_"):
		return store.ClassTrait
	case strings.HasPrefix(id, "aud_"), r.event.PassThrough:
		return store.ClassAudience
	}
	return store.ClassNone
}

func classOf(name string) store.Class {
	switch name {
	case "audience":
		return store.ClassAudience
	case "trait", "computed_trait": // the second is from the tests of Segment's destinations
		return store.ClassTrait
	case "journey_step":
		return store.ClassJourneyStep
	}
	return store.ClassNone
}

func (r *reader) unknownClass() {
	name := r.text(r.personas.class)
	if name == "" {
		r.fault(FaultUnknownClass, "context.personas has no computation_class, so the event is neither membership nor a trait. Map the whole event ($.) in Segment's webhook settings.")
		return
	}
	r.fault(FaultUnknownClass, "The computation class "+shown(name)+" is not known; audience, trait and journey_step are. A newer version may know it: then retry this event.")
}

// eitherClass reads an event without a class as a membership and as a trait: the store knows which it is if it
// knows the computation.
func (r *reader) eitherClass() {
	r.about()
	if at, object, found := r.keyed(r.event.Key); found {
		r.event.Object, r.event.Flag = object, r.flag(at)
	}
	r.columns()
	r.leaveOut()
}

// computed reads membership or values once class and key are known, and checks what both need.
func (r *reader) computed() {
	e := r.event
	r.about()
	if e.Class == store.ClassTrait {
		r.values()
	} else {
		r.membership()
	}
	if e.PassThrough && !r.says(r.top.name) {
		if e.Name = ""; e.Flag == store.FlagSilent && len(e.Columns) == 0 {
			r.fault(FaultMissingName, "The event has no name and says no membership, so nothing says what happened. Map event in Segment's webhook settings.")
		}
	}
	r.leaveOut()
}

// about checks that the event is about a user, and of a call that computations come in.
func (r *reader) about() {
	e := r.event
	switch e.Call {
	case store.CallIdentify, store.CallTrack:
	case store.CallGroup:
		if e.User.ID == "" && !r.top.userIDIsOdd {
			r.fault(FaultAccountLevel, "The event is about an account, and MoEngage knows users only. Turn on identify or track calls for this audience in Segment.")
		}
	default:
		r.unknownType("Membership and traits come in identify, track and group calls.")
	}
	r.needsIdentifier()
}

// leaveOut notes which members of the object can be neither kept nor sent, so that what stands beside them
// counts all the same. A number beyond a double would have readers of JSON refuse the whole request. A name
// with half a character reads like others, so that two traits would become one attribute; the properties of a
// track leave under names of their own (see the sender). A trait of which nothing is left faults the event.
func (r *reader) leaveOut() {
	e := r.event
	if !r.hugeNumber && !r.halfName || e.Object.Len == 0 {
		return // the common case: there is none in the whole event
	}
	membership := e.Class == store.ClassAudience || e.Class == store.ClassJourneyStep
	row := !membership && (len(e.Columns) != 1 || e.Columns[0].Name != e.Key)
	halves := e.Call != store.CallTrack || row
	huge := false
	for m := r.walk(e.Object); m.next(); m.hugeNumber = false {
		name := string(m.name)
		e.LeftOut = slices.DeleteFunc(e.LeftOut, func(c store.Column) bool { return c.Name == name }) // the last counts
		if m.hugeNumber || halves && m.halved() {
			e.LeftOut = append(e.LeftOut, store.Column{Name: name, Value: m.value})
			huge = huge || m.hugeNumber
		}
	}
	e.Columns = slices.DeleteFunc(e.Columns, func(c store.Column) bool {
		return slices.ContainsFunc(e.LeftOut, func(out store.Column) bool { return out.Value == c.Value })
	})
	switch {
	case membership || e.PassThrough || len(e.Columns) > 0 || len(e.LeftOut) == 0:
	case huge:
		r.fault(FaultBadValue, "The trait's value is, or holds, a number beyond 1.8e308, which JSON's readers do not hold. Look at what computes it.")
	default:
		r.fault(FaultInvalidUTF8, "The names of all columns have half a character in them, so that two could look like one. Rename the columns in the SQL trait.")
	}
}

// needsIdentifier faults an event that is about nobody. A userId that cannot be used faults it whatever
// other identifiers there are: it is about a known user whom we cannot name, and the anonymousId would make
// them an anonymous one. An odd anonymousId goes before an e-mail address for the same reason.
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
		r.fault(FaultNoIdentifier, "The event has no userId, no anonymousId and no e-mail address, so it is about nobody. Choose at least one identifier for this destination in Segment.")
	}
}

func (r *reader) oddIdentifier(name string, at store.Span) {
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

// shortNames faults names that no computation has, and takes them away: they become keys of the store.
// It reports whether there were none.
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

// objects are the two places where traits and properties can be, the call's own first, where they are
// objects at all.
func (r *reader) objects() (own, other store.Span) {
	own, other = r.top.traits, r.top.properties
	if r.event.Call == store.CallTrack {
		own, other = other, own
	}
	if r.first(other) != '{' {
		other = store.Span{}
	}
	if r.first(own) != '{' {
		return other, store.Span{}
	}
	return own, other
}

// namedIn reads the computation that an object names itself.
func (r *reader) namedIn(object store.Span) (key string, class store.Class) {
	if at, _ := r.member(object, "audience_key"); r.says(at) {
		return r.name(at), store.ClassAudience
	}
	if at, _ := r.member(object, "trait_key"); r.says(at) {
		return r.name(at), store.ClassTrait
	}
	return "", store.ClassNone
}

func (r *reader) keyInObjects() string {
	own, other := r.objects()
	if key, class := r.namedIn(own); class != store.ClassNone {
		return key
	}
	key, _ := r.namedIn(other)
	return key
}

// withoutPersonas reads an event whose context was mapped away.
func (r *reader) withoutPersonas() {
	e := r.event
	own, other := r.objects()
	for _, object := range [...]store.Span{own, other, r.top.whole} {
		key, class := r.namedIn(object)
		if class == store.ClassNone {
			continue
		}
		if _, found := r.member(object, key); !found {
			continue
		}
		e.Key, e.Class, e.Object = key, class, object
		if e.Call == store.CallUnknown && r.first(r.top.kind) != '"' {
			e.Call = store.CallTrack // properties alone: only a track has an audience_key
		}
		if r.shortNames() {
			r.computed()
		}
		return
	}
}

// membership reads the flag. A journey of the first kind may put it under its audience_key, which then
// differs from the computation's key (using-engage-data, "Journeys generated events").
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
	if e.Flag != store.FlagSilent || e.PassThrough {
		return
	}
	if !found {
		r.fault(FaultUndetermined, "The event does not say whether the user is in "+shown(e.Key)+": neither traits nor properties has it. Nothing was changed; map traits and properties whole in Segment's webhook settings.")
		return
	}
	r.fault(FaultUndetermined, "The membership in "+shown(e.Key)+" is "+shownValue(r.raw, at)+"; it must be true or false. Nothing was changed; look at what changes events on their way from Segment.")
}

// keyed finds the value of a key in the first object that has it.
func (r *reader) keyed(key string) (value, object store.Span, found bool) {
	if key == "" {
		return value, object, false
	}
	own, other := r.objects()
	if !r.personas.present {
		own, other = r.event.Object, store.Span{}
	}
	for _, object := range [...]store.Span{own, other} {
		if value, found := r.member(object, key); found {
			return value, object, true
		}
	}
	return value, object, false
}

// flag reads true and false, and the texts "true" and "false" in which journeys send them. Nothing else
// is truth: a text "no" would be, to JavaScript.
func (r *reader) flag(at store.Span) store.Flag {
	switch r.first(at) {
	case 't':
		return store.FlagIn
	case 'f':
		return store.FlagOut
	case '"':
		switch text := string(r.decoded(at)); {
		case strings.EqualFold(text, "true"):
			return store.FlagIn
		case strings.EqualFold(text, "false"):
			return store.FlagOut
		}
	}
	return store.FlagSilent
}

// values reads a trait.
func (r *reader) values() {
	if found := r.columns(); !found && !r.event.PassThrough {
		r.fault(FaultNoValues, "The event of trait "+shown(r.event.Key)+" has no value: traits and properties are missing or empty. Map them whole in Segment's webhook settings.")
	}
}

// columns reads the value under the trait's key, or else a SQL trait's row, in which every member is a
// column. A null is a value too: it says that there is none any more.
func (r *reader) columns() (found bool) {
	e := r.event
	if at, object, found := r.keyed(e.Key); found {
		e.Object = object
		e.Columns = []store.Column{{Name: e.Key, Value: at}}
		return true
	}
	own, other := r.objects()
	for _, object := range [...]store.Span{own, other} {
		if halved := r.row(object); halved || len(e.Columns) > 0 || e.Fault == FaultTooManyVals {
			e.Object = object
			return true
		}
	}
	return false
}

// row reads every member of an object but the two that are no columns. It reports whether it passed over
// names with half a character.
func (r *reader) row(object store.Span) (halved bool) {
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
		e.Columns = append(e.Columns, store.Column{Name: string(m.name), Value: m.value})
		seen = index(e.Columns, seen)
	}
	return halved
}

// shortRow is up to how many columns looking at each is quicker than a map. Segment's rows have at most 25.
const shortRow = 32

func columnNamed(columns []store.Column, seen map[string]int, name []byte) int {
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

// index keeps the map of a long row, and makes it when the row becomes one.
func index(columns []store.Column, seen map[string]int) map[string]int {
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
