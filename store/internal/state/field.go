package state

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

// A Field is what one attribute can be made of: an audience, a computed trait, one column of a SQL
// trait, or a forwarded trait. Fields are numbered as they are first seen, and rows speak of them by
// number.
//
//	fields: number (4 bytes) -> frame( class, space, key, column, id, counters, last event, heard, watch )
//
// A computation is the field of its space and key without a column. A forwarded trait belongs to no
// computation: it has neither space nor key. A cohort, and an entry of a list, are fields of their own
// beside the computation: see target.go.
type Field struct {
	Number uint32
	Space  string
	Key    string
	Column string
	ID     string
	Class  domain.Class

	Members   uint64
	Entered   uint64
	Exited    uint64
	Held      uint64
	LastEvent time.Time // receipt of the newest event about it
	Heard     byte      // bit 1<<keptIdentify, 1<<keptTrack: calls that its membership came by; formerMark, goneMark
	Watch     ExitWindow
}

// fieldVersion 1 ended with the last event; 2 did not say which discarded window is not undone yet.
const fieldVersion byte = 3

// Leave counts a member less, never below none: an earlier version could damage the counter.
func (f *Field) Leave() { f.Members -= min(f.Members, 1) }

// Hear notes the call that a state was told by, and reports whether that is news.
func (f *Field) Hear(sort int, call domain.Call) bool {
	if call == domain.CallUnknown || sort == KeptOne || f.Heard&(1<<sort) != 0 {
		return false
	}
	f.Heard |= 1 << sort
	return true
}

type FieldName struct{ space, key, Column string }

func (f *Field) name() FieldName { return FieldName{f.Space, f.Key, f.Column} }

// forwarded reports whether f is a trait sent along with somebody else's identify.
func (f *Field) forwarded() bool { return f.Key == "" }

// Attribute returns the name in MoEngage that f is told under.
func (f *Field) Attribute(p *domain.Policy) string {
	switch kind := f.Kind(); {
	case kind == domain.KindCohort:
		return cmp.Or(p.CohortName, f.Key)
	case kind == domain.KindList:
		return p.ListAttribute
	case f.Column != "":
		return f.Column
	case p.Attribute != "":
		return p.Attribute
	default:
		return f.Key
	}
}

func (f *Field) Encode(buf []byte) []byte {
	start := len(buf)
	buf = append(buf, fieldVersion, byte(f.Class))
	for _, s := range [...]string{f.Space, f.Key, f.Column, f.ID} {
		buf = wire.AppendString(buf, s)
	}
	for _, n := range [...]uint64{f.Members, f.Entered, f.Exited, f.Held} {
		buf = wire.AppendUint(buf, n)
	}
	buf = f.Watch.encode(append(wire.AppendTime(buf, f.LastEvent), f.Heard))
	return wire.SealKeyed(buf, start, FieldKey(f.Number))
}

func FieldKey(number uint32) []byte { return binary.BigEndian.AppendUint32(nil, number) }

func DecodeField(number uint32, frame []byte) (*Field, error) {
	version := fieldVersion
	if len(frame) > 0 && frame[0] >= 1 && frame[0] < fieldVersion {
		version = frame[0]
	}
	r, err := wire.UnsealKeyed(frame, version, FieldKey(number))
	if err != nil {
		return nil, err
	}
	f := &Field{Number: number, Class: domain.Class(r.Byte())}
	f.Space, f.Key, f.Column, f.ID = r.Text(), r.Text(), r.Text(), r.Text()
	f.Members, f.Entered, f.Exited, f.Held = r.Uint(), r.Uint(), r.Uint(), r.Uint()
	f.LastEvent = r.Time()
	if f.Class == domain.ClassTrait || f.Members > math.MaxInt64 { // events of another class once counted past it
		f.Members = 0
	}
	if version > 1 {
		f.Heard, f.Watch = r.Byte(), readWatch(&r)
	}
	if f.Watch.Members > math.MaxInt64 { // likewise
		f.Watch.Members = f.Members
	}
	if version > 2 {
		f.Watch.Undone = RecordRange{r.Uint(), r.Uint()}
	}
	return f, r.Done()
}

// Registry is every field known, in memory: there are as many as computations, not users.
type Registry struct {
	Fields  []*Field // by number
	ByName  map[FieldName][]*Field
	ByKey   map[string][]*Field // computations only, and no former ones
	ByID    map[string][]*Field // computations only
	Cohorts []*Field            // targets to a cohort
	gone    int                 // fields that were removed
	owners  map[claim]*Field    // whose a name in MoEngage is under today's rules: the first computation's to use it
}

// Size is how many fields there are, without those that were removed.
func (r *Registry) Size() int { return len(r.Fields) - r.gone }

func newRegistry(fields []*Field, rules *domain.Rules) *Registry {
	r := &Registry{ByName: make(map[FieldName][]*Field), ByKey: make(map[string][]*Field), ByID: make(map[string][]*Field)}
	for _, f := range fields {
		r.index(f)
	}
	r.SettleOwners(rules)
	return r
}

func (r *Registry) index(f *Field) {
	r.Fields = append(r.Fields, f)
	r.Enter(f)
}

// Enter has f found by its name, key and id, in the order of the numbers, whenever it got its name.
func (r *Registry) Enter(f *Field) {
	if f.Gone() {
		r.gone++
		return
	}
	insert(r.ByName, f.name(), f)
	if f.Kind() == domain.KindCohort {
		r.Cohorts = insertField(r.Cohorts, f)
	}
	if f.Column != "" || f.forwarded() {
		return
	}
	if f.ID != "" {
		insert(r.ByID, f.ID, f)
	}
	if !f.Former() {
		insert(r.ByKey, f.Key, f)
	}
}

// Unname undoes enter, before the name changes.
func (r *Registry) Unname(f *Field) {
	remove(r.ByName, f.name(), f)
	r.Cohorts = slices.DeleteFunc(r.Cohorts, func(x *Field) bool { return x == f })
	remove(r.ByID, f.ID, f)
	remove(r.ByKey, f.Key, f)
}

func insert[K comparable](fields map[K][]*Field, key K, f *Field) {
	fields[key] = insertField(fields[key], f)
}

// insertField keeps a list in the order of the numbers.
func insertField(list []*Field, f *Field) []*Field {
	at, _ := slices.BinarySearchFunc(list, f.Number, func(x *Field, n uint32) int { return cmp.Compare(x.Number, n) })
	return slices.Insert(list, at, f)
}

func remove[K comparable](fields map[K][]*Field, key K, f *Field) {
	fields[key] = slices.DeleteFunc(fields[key], func(x *Field) bool { return x == f })
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
func (f *Field) claims(p *domain.Policy) []claim {
	kind := f.Kind()
	name := domain.SentName(kind, f.Attribute(p))
	switch {
	case kind == domain.KindCohort && p.Send.Has(domain.SendCohort):
		return []claim{{domain.KindCohort, name}}
	case kind == domain.KindList && p.Send.Has(domain.SendList):
		return []claim{{domain.KindAttribute, name}, {domain.KindList, name + "\x00" + f.Key}}
	case kind == domain.KindAttribute && (f.forwarded() || p.SendsAttributes()):
		return []claim{{domain.KindAttribute, name}}
	}
	return nil
}

// shares reports whether f and the owner of a claim may both speak under it.
func (f *Field) shares(c claim, owner *Field) bool {
	return c.kind == domain.KindAttribute && f.Kind() == domain.KindList && owner.Kind() == domain.KindList
}

// rank orders those who would speak under one name. A computation goes before a column, because an event
// that lost its own key makes columns of whatever stands beside it; a forwarded trait is last. Of one rank,
// the first keeps the name.
func (f *Field) rank() int {
	switch {
	case f.forwarded():
		return 0
	case f.SQLColumn() != "":
		return 1
	}
	return 2
}

// SettleOwners works out whose each name is. Two computations that resolve to one would overwrite each
// other for ever, so the later one's changes are held until an operator decides.
func (r *Registry) SettleOwners(rules *domain.Rules) {
	r.owners = make(map[claim]*Field, len(r.Fields))
	for _, f := range r.Fields {
		r.claim(f, rules)
	}
}

func (r *Registry) claim(f *Field, rules *domain.Rules) {
	if f.Former() {
		return // another field continues it, under the same names
	}
	p := rules.For(f.Key, f.ID)
	for _, c := range f.claims(&p) {
		if owner := r.owners[c]; owner == nil || owner.rank() < f.rank() {
			r.owners[c] = f
		}
	}
}

// Rival returns the field that f would fight with, nil when there is none: over a name that the other
// speaks under by right, or over a key that the other had first and that the config does not tell apart.
func (r *Registry) Rival(f *Field, p *domain.Policy, rules *domain.Rules) *Field {
	for _, c := range f.claims(p) {
		if owner := r.owners[c]; owner != nil && owner != f && owner.rank() >= f.rank() && !f.shares(c, owner) {
			return owner
		}
	}
	if f.Column != "" || f.forwarded() {
		return nil
	}
	if f.Former() {
		return f
	}
	first := r.ByKey[f.Key][0]
	firstPolicy := rules.For(first.Key, first.ID)
	if first != f && domain.AttributeName(first.Attribute(&firstPolicy)) == domain.AttributeName(f.Attribute(p)) {
		return first
	}
	return nil
}

func (r *Registry) Conflicted(f *Field, p *domain.Policy, rules *domain.Rules) bool {
	return r.Rival(f, p, rules) != nil
}

func (r *Registry) add(f *Field, rules *domain.Rules) *Field {
	f.Number = uint32(len(r.Fields))
	r.index(f)
	r.claim(f, rules)
	return f
}

// Computations lists the computations that key names, as a key or as an id.
func (r *Registry) Computations(key string) []*Field {
	if found := r.ByKey[key]; len(found) > 0 {
		return found
	}
	for _, f := range r.ByID[key] {
		if !f.Former() {
			return []*Field{f}
		}
	}
	return nil
}

// Argument is what names a computation on a command line: its key, or its id where several share the key.
func (r *Registry) Argument(key, id string) string {
	if len(r.Computations(key)) > 1 {
		return cmp.Or(id, key)
	}
	return cmp.Or(key, id)
}

// Find returns the computation that an event speaks of, nil when it is not known yet:
//
//	by space, key and id
//	by its id: an event may name no space, and a computation that was named without takes the first that comes
//	by its key: the only computation that may be meant, by the space and the id as far as they are known
//
// Where several may be meant it is ambiguous. A former computation is found by its id alone.
func (r *Registry) Find(e *domain.Event) (f *Field, ambiguous bool) {
	if e.ComputationID != "" {
		if f, ambiguous = r.identified(e); f != nil || ambiguous {
			return f, ambiguous
		}
	}
	return r.keyed(e)
}

// identified is find by an id. Of two that are one, as known from before spaces were compared so, the
// event's own space decides, and then the first.
func (r *Registry) identified(e *domain.Event) (found *Field, ambiguous bool) {
	for _, f := range r.ByID[e.ComputationID] {
		if e.Space != "" && (f.Key != e.Key || !mayBeOne(f.Space, e.Space)) {
			continue
		}
		ambiguous = ambiguous || found != nil && !found.Former() && !f.Former() && !mayBeOne(found.Space, f.Space)
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
func (f *Field) precedes(other *Field, e *domain.Event) bool {
	switch {
	case f.Former() != other.Former():
		return other.Former()
	case e.Space != "":
		return f.Space == e.Space && other.Space == ""
	}
	return f.Key == e.Key && other.Key != e.Key
}

// keyed is find by a key.
func (r *Registry) keyed(e *domain.Event) (found *Field, ambiguous bool) {
	for _, f := range r.ByKey[e.Key] {
		switch {
		case !mayBeOne(f.Space, e.Space), !mayBeOne(f.ID, e.ComputationID):
		case found == nil, f.Space == e.Space && found.Space == "":
			found, ambiguous = f, false
		case found.Space == e.Space && f.Space == "", found.ID != "" && found.ID == f.ID && mayBeOne(found.Space, f.Space):
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

// OtherClass returns the computation that an event would make values of a membership for, or the other way
// round, nil when there is none. f is what the event speaks of, nil when that is not known; its id may still
// be known with another key.
func (r *Registry) OtherClass(f *Field, e *domain.Event) *Field {
	if f != nil {
		return f.unlessOf(e.Class)
	}
	for _, x := range r.ByID[e.ComputationID] {
		if mayBeOne(x.Space, e.Space) && x.unlessOf(e.Class) != nil {
			return x
		}
	}
	return nil
}

func (f *Field) unlessOf(c domain.Class) *Field {
	if f.Class.HasMembers() == c.HasMembers() {
		return nil
	}
	return f
}

// MaxFields bounds the registry, which whoever looks at the state reads whole: some 5 KB a field pass
// through memory, once a second. Workspaces have hundreds; whoever has a write key could make millions.
var MaxFields = 1 << 15 // tests make it small

// manyFields is how many times as many fields there may have been: one that is gone leaves its number behind,
// because rows and history still speak of it, and a hundred bytes.
const ManyFields = 16

// NewField adds a field, under the next number.
func (tx *Tx) NewField(f *Field) *Field {
	f = tx.State.Registry.add(f, &tx.State.Rules)
	tx.Touch(f)
	return f
}

// ColumnName keeps a column's name apart from those of targets.
func ColumnName(name string) string { return strings.TrimLeft(name, targetMark) }

// FieldBeside finds or adds a field of computation f.
func (tx *Tx) FieldBeside(f *Field, name string, class domain.Class) *Field {
	if known := tx.State.Registry.Beside(f, name); known != nil {
		return known
	}
	return tx.NewField(&Field{Space: f.Space, Key: f.Key, Column: name, ID: f.ID, Class: class})
}
