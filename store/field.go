package store

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// A field is what one attribute can be made of: an audience, a computed trait, one column of a SQL
// trait, or a forwarded trait. Fields are numbered as they are first seen, and rows speak of them by
// number.
//
//	fields: number (4 bytes) -> frame( class, space, key, column, id, counters, last event, heard, watch )
//
// A computation is the field of its space and key without a column. A forwarded trait belongs to no
// computation: it has neither space nor key. A cohort, and an entry of a list, are fields of their own
// beside the computation: see target.go.
type field struct {
	number uint32
	space  string
	key    string
	column string
	id     string
	class  domain.Class

	members   uint64
	entered   uint64
	exited    uint64
	held      uint64
	lastEvent time.Time // receipt of the newest event about it
	heard     byte      // bit 1<<keptIdentify, 1<<keptTrack: calls that its membership came by; formerMark, goneMark
	watch     exitWindow
}

// fieldVersion 1 ended with the last event; 2 did not say which discarded window is not undone yet.
const fieldVersion byte = 3

// leave counts a member less, never below none: an earlier version could damage the counter.
func (f *field) leave() { f.members -= min(f.members, 1) }

// hear notes the call that a state was told by, and reports whether that is news.
func (f *field) hear(sort int, call domain.Call) bool {
	if call == domain.CallUnknown || sort == keptOne || f.heard&(1<<sort) != 0 {
		return false
	}
	f.heard |= 1 << sort
	return true
}

type fieldName struct{ space, key, column string }

func (f *field) name() fieldName { return fieldName{f.space, f.key, f.column} }

// forwarded reports whether f is a trait sent along with somebody else's identify.
func (f *field) forwarded() bool { return f.key == "" }

// attribute returns the name in MoEngage that f is told under.
func (f *field) attribute(p *domain.Policy) string {
	switch kind := f.kind(); {
	case kind == domain.KindCohort:
		return cmp.Or(p.CohortName, f.key)
	case kind == domain.KindList:
		return p.ListAttribute
	case f.column != "":
		return f.column
	case p.Attribute != "":
		return p.Attribute
	default:
		return f.key
	}
}

func (f *field) encode(buf []byte) []byte {
	start := len(buf)
	buf = append(buf, fieldVersion, byte(f.class))
	for _, s := range [...]string{f.space, f.key, f.column, f.id} {
		buf = wire.AppendString(buf, s)
	}
	for _, n := range [...]uint64{f.members, f.entered, f.exited, f.held} {
		buf = wire.AppendUint(buf, n)
	}
	buf = f.watch.encode(append(wire.AppendTime(buf, f.lastEvent), f.heard))
	return wire.SealKeyed(buf, start, fieldKey(f.number))
}

func fieldKey(number uint32) []byte { return binary.BigEndian.AppendUint32(nil, number) }

func decodeField(number uint32, frame []byte) (*field, error) {
	version := fieldVersion
	if len(frame) > 0 && frame[0] >= 1 && frame[0] < fieldVersion {
		version = frame[0]
	}
	r, err := wire.UnsealKeyed(frame, version, fieldKey(number))
	if err != nil {
		return nil, err
	}
	f := &field{number: number, class: domain.Class(r.Byte())}
	f.space, f.key, f.column, f.id = r.Text(), r.Text(), r.Text(), r.Text()
	f.members, f.entered, f.exited, f.held = r.Uint(), r.Uint(), r.Uint(), r.Uint()
	f.lastEvent = r.Time()
	if f.class == domain.ClassTrait || f.members > math.MaxInt64 { // events of another class once counted past it
		f.members = 0
	}
	if version > 1 {
		f.heard, f.watch = r.Byte(), readWatch(&r)
	}
	if f.watch.members > math.MaxInt64 { // likewise
		f.watch.members = f.members
	}
	if version > 2 {
		f.watch.undone = recordRange{r.Uint(), r.Uint()}
	}
	return f, r.Done()
}

// registry is every field known, in memory: there are as many as computations, not users.
type registry struct {
	fields  []*field // by number
	byName  map[fieldName][]*field
	byKey   map[string][]*field // computations only, and no former ones
	byID    map[string][]*field // computations only
	cohorts []*field            // targets to a cohort
	gone    int                 // fields that were removed
	owners  map[claim]*field    // whose a name in MoEngage is under today's rules: the first computation's to use it
}

func newRegistry(fields []*field, rules *domain.Rules) *registry {
	r := &registry{byName: make(map[fieldName][]*field), byKey: make(map[string][]*field), byID: make(map[string][]*field)}
	for _, f := range fields {
		r.index(f)
	}
	r.settleOwners(rules)
	return r
}

func (r *registry) index(f *field) {
	r.fields = append(r.fields, f)
	r.enter(f)
}

// enter has f found by its name, key and id, in the order of the numbers, whenever it got its name.
func (r *registry) enter(f *field) {
	if f.gone() {
		r.gone++
		return
	}
	insert(r.byName, f.name(), f)
	if f.kind() == domain.KindCohort {
		r.cohorts = insertField(r.cohorts, f)
	}
	if f.column != "" || f.forwarded() {
		return
	}
	if f.id != "" {
		insert(r.byID, f.id, f)
	}
	if !f.former() {
		insert(r.byKey, f.key, f)
	}
}

// unname undoes enter, before the name changes.
func (r *registry) unname(f *field) {
	remove(r.byName, f.name(), f)
	r.cohorts = slices.DeleteFunc(r.cohorts, func(x *field) bool { return x == f })
	remove(r.byID, f.id, f)
	remove(r.byKey, f.key, f)
}

func insert[K comparable](fields map[K][]*field, key K, f *field) {
	fields[key] = insertField(fields[key], f)
}

// insertField keeps a list in the order of the numbers.
func insertField(list []*field, f *field) []*field {
	at, _ := slices.BinarySearchFunc(list, f.number, func(x *field, n uint32) int { return cmp.Compare(x.number, n) })
	return slices.Insert(list, at, f)
}

func remove[K comparable](fields map[K][]*field, key K, f *field) {
	fields[key] = slices.DeleteFunc(fields[key], func(x *field) bool { return x == f })
	if len(fields[key]) == 0 {
		delete(fields, key)
	}
}

// claim is a name in MoEngage, as it leaves, that only one computation may speak under.
type claim struct {
	kind domain.Kind
	name string
}

// claims returns the names that f speaks under. An entry of a list has one of its own, and one of the
// attribute, which lists share with each other and with nobody else.
func (f *field) claims(p *domain.Policy) []claim {
	kind := f.kind()
	name := domain.SentName(kind, f.attribute(p))
	switch {
	case kind == domain.KindCohort && p.Send.Has(domain.SendCohort):
		return []claim{{domain.KindCohort, name}}
	case kind == domain.KindList && p.Send.Has(domain.SendList):
		return []claim{{domain.KindAttribute, name}, {domain.KindList, name + "\x00" + f.key}}
	case kind == domain.KindAttribute && (f.forwarded() || p.SendsAttributes()):
		return []claim{{domain.KindAttribute, name}}
	}
	return nil
}

// shares reports whether f and the owner of a claim may both speak under it.
func (f *field) shares(c claim, owner *field) bool {
	return c.kind == domain.KindAttribute && f.kind() == domain.KindList && owner.kind() == domain.KindList
}

// rank orders those who would speak under one name. A computation goes before a column, because an event
// that lost its own key makes columns of whatever stands beside it; a forwarded trait is last. Of one rank,
// the first keeps the name.
func (f *field) rank() int {
	switch {
	case f.forwarded():
		return 0
	case f.sqlColumn() != "":
		return 1
	}
	return 2
}

// settleOwners works out whose each name is. Two computations that resolve to one would overwrite each
// other for ever, so the later one's changes are held until an operator decides.
func (r *registry) settleOwners(rules *domain.Rules) {
	r.owners = make(map[claim]*field, len(r.fields))
	for _, f := range r.fields {
		r.claim(f, rules)
	}
}

func (r *registry) claim(f *field, rules *domain.Rules) {
	if f.former() {
		return // another field continues it, under the same names
	}
	p := rules.For(f.key, f.id)
	for _, c := range f.claims(&p) {
		if owner := r.owners[c]; owner == nil || owner.rank() < f.rank() {
			r.owners[c] = f
		}
	}
}

// rival returns the field that f would fight with, nil when there is none: over a name that the other
// speaks under by right, or over a key that the other had first and that the config does not tell apart.
func (r *registry) rival(f *field, p *domain.Policy, rules *domain.Rules) *field {
	for _, c := range f.claims(p) {
		if owner := r.owners[c]; owner != nil && owner != f && owner.rank() >= f.rank() && !f.shares(c, owner) {
			return owner
		}
	}
	if f.column != "" || f.forwarded() {
		return nil
	}
	if f.former() {
		return f
	}
	first := r.byKey[f.key][0]
	firstPolicy := rules.For(first.key, first.id)
	if first != f && domain.AttributeName(first.attribute(&firstPolicy)) == domain.AttributeName(f.attribute(p)) {
		return first
	}
	return nil
}

func (r *registry) conflicted(f *field, p *domain.Policy, rules *domain.Rules) bool {
	return r.rival(f, p, rules) != nil
}

func (r *registry) add(f *field, rules *domain.Rules) *field {
	f.number = uint32(len(r.fields))
	r.index(f)
	r.claim(f, rules)
	return f
}

// computations lists the computations that key names, as a key or as an id.
func (r *registry) computations(key string) []*field {
	if found := r.byKey[key]; len(found) > 0 {
		return found
	}
	for _, f := range r.byID[key] {
		if !f.former() {
			return []*field{f}
		}
	}
	return nil
}

// argument is what names a computation on a command line: its key, or its id where several share the key.
func (r *registry) argument(key, id string) string {
	if len(r.computations(key)) > 1 {
		return cmp.Or(id, key)
	}
	return cmp.Or(key, id)
}

// find returns the computation that an event speaks of, nil when it is not known yet:
//
//	by space, key and id
//	by its id: an event may name no space, and a computation that was named without takes the first that comes
//	by its key: the only computation that may be meant, by the space and the id as far as they are known
//
// Where several may be meant it is ambiguous. A former computation is found by its id alone.
func (r *registry) find(e *domain.Event) (f *field, ambiguous bool) {
	if e.ComputationID != "" {
		if f, ambiguous = r.identified(e); f != nil || ambiguous {
			return f, ambiguous
		}
	}
	return r.keyed(e)
}

// identified is find by an id. Of two that are one, as known from before spaces were compared so, the
// event's own space decides, and then the first.
func (r *registry) identified(e *domain.Event) (found *field, ambiguous bool) {
	for _, f := range r.byID[e.ComputationID] {
		if e.Space != "" && (f.key != e.Key || !mayBeOne(f.space, e.Space)) {
			continue
		}
		ambiguous = ambiguous || found != nil && !found.former() && !f.former() && !mayBeOne(found.space, f.space)
		if found == nil || f.precedes(found, e) {
			found = f
		}
	}
	if ambiguous {
		return nil, true
	}
	return found, false
}

// precedes reports whether an event of the id of f and other means f, which is known for less long.
func (f *field) precedes(other *field, e *domain.Event) bool {
	switch {
	case f.former() != other.former():
		return other.former()
	case e.Space != "":
		return f.space == e.Space && other.space == ""
	}
	return f.key == e.Key && other.key != e.Key
}

// keyed is find by a key.
func (r *registry) keyed(e *domain.Event) (found *field, ambiguous bool) {
	for _, f := range r.byKey[e.Key] {
		switch {
		case !mayBeOne(f.space, e.Space), !mayBeOne(f.id, e.ComputationID):
		case found == nil, f.space == e.Space && found.space == "":
			found, ambiguous = f, false
		case found.space == e.Space && f.space == "", found.id != "" && found.id == f.id && mayBeOne(found.space, f.space):
		default:
			ambiguous = true
		}
	}
	if ambiguous {
		return nil, true
	}
	return found, false
}

// mayBeOne reports whether two names of a space, or two ids, can be of one computation: "" is not known.
func mayBeOne(x, y string) bool { return x == "" || y == "" || x == y }

// otherClass returns the computation that an event would make values of a membership for, or the other way
// round, nil when there is none. f is what the event speaks of, nil when that is not known; its id may still
// be known with another key.
func (r *registry) otherClass(f *field, e *domain.Event) *field {
	if f != nil {
		return f.unlessOf(e.Class)
	}
	for _, x := range r.byID[e.ComputationID] {
		if mayBeOne(x.space, e.Space) && x.unlessOf(e.Class) != nil {
			return x
		}
	}
	return nil
}

func (f *field) unlessOf(c domain.Class) *field {
	if f.class.HasMembers() == c.HasMembers() {
		return nil
	}
	return f
}

// maxFields bounds the registry, which whoever looks at the state reads whole: some 5 KB a field pass
// through memory, once a second. Workspaces have hundreds; whoever has a write key could make millions.
var maxFields = 1 << 15 // tests make it small

// manyFields is how many times as many fields there may have been: one that is gone leaves its number behind,
// because rows and history still speak of it, and a hundred bytes.
const manyFields = 16

// overflows reports whether e, which speaks of f, would make the registry larger than it may be.
func (b *batch) overflows(f *field, e *domain.Event) bool {
	const shortest = len(`"":0,`) // a trait
	r := b.st.registry
	known := len(r.fields) - r.gone
	if known+1+len(e.Columns)+int(e.Object.Len)/shortest <= maxFields && len(r.fields) < manyFields*maxFields {
		return false
	}
	fresh, key, id := 0, e.Key, e.ComputationID
	if f != nil {
		key, id = f.key, f.id
	} else {
		fresh++
	}
	for _, col := range e.Columns {
		if col.Name != e.Key && (f == nil || r.beside(f, columnName(col.Name)) == nil) {
			fresh++
		}
	}
	p := b.st.rules.For(key, id)
	for _, name := range sortedNames(p.ForwardedTraits(key, e)) {
		if len(r.byName[fieldName{column: name}]) == 0 && !r.spoken(name) {
			fresh++
		}
	}
	return fresh > 0 && (known+fresh > maxFields || len(r.fields) >= manyFields*maxFields)
}

func (b *batch) newField(f *field) *field {
	f = b.st.registry.add(f, &b.st.rules)
	b.touch(f)
	return f
}

// resolve returns the computation of an event that is applied: f, which find found, by a name that is
// completed from an event that knows more of it, or a new one.
func (b *batch) resolve(f *field, e *domain.Event) *field {
	if f == nil {
		return b.newField(&field{space: e.Space, key: e.Key, id: e.ComputationID, class: e.Class})
	}
	space, id := cmp.Or(f.space, e.Space), cmp.Or(f.id, e.ComputationID)
	if space != f.space || id != f.id {
		for _, x := range b.st.registry.family(f) {
			b.rename(x, space, id)
		}
		b.st.registry.settleOwners(&b.st.rules)
	}
	return f
}

func (b *batch) rename(f *field, space, id string) {
	r := b.st.registry
	r.unname(f)
	f.space, f.id = space, id
	r.enter(f)
	b.touch(f)
}

// column finds or adds the field of one column of computation f.
func (b *batch) column(f *field, name string) *field {
	return b.beside(f, columnName(name), domain.ClassTrait)
}

// columnName keeps a column's name apart from those of targets.
func columnName(name string) string { return strings.TrimLeft(name, targetMark) }

// beside finds or adds a field of computation f.
func (b *batch) beside(f *field, name string, class domain.Class) *field {
	if known := b.st.registry.beside(f, name); known != nil {
		return known
	}
	return b.newField(&field{space: f.space, key: f.key, column: name, id: f.id, class: class})
}

// forward finds or adds the field of a trait that is sent along.
func (b *batch) forward(name string) *field {
	if known := b.st.registry.byName[fieldName{column: name}]; len(known) > 0 {
		return known[0]
	}
	return b.newField(&field{column: name, class: domain.ClassTrait})
}
