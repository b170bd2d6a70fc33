package store

import (
	"encoding/binary"
	"slices"
	"time"
)

// A field is what one attribute can be made of: an audience, a computed trait, one column of a SQL
// trait, or a forwarded trait. Fields are numbered as they are first seen, and rows speak of them by
// number.
//
//	fields: number (4 bytes) -> frame( class, space, key, column, id, counters, last event, heard, watch )
//
// A computation is the field of its space and key without a column. A forwarded trait belongs to no
// computation: it has neither space nor key.
type field struct {
	number uint32
	space  string
	key    string
	column string
	id     string
	class  Class

	members   uint64
	entered   uint64
	exited    uint64
	held      uint64
	lastEvent time.Time // receipt of the newest event about it
	heard     byte      // bit 1<<keptIdentify, 1<<keptTrack: calls that its membership came by
	watch     exitWatch
}

// fieldVersion 1 ended with the last event.
const fieldVersion byte = 2

// hear notes the call that a state was told by, and reports whether that is news.
func (f *field) hear(sort int, call Call) bool {
	if call == CallUnknown || sort == keptOne || f.heard&(1<<sort) != 0 {
		return false
	}
	f.heard |= 1 << sort
	return true
}

type fieldName struct{ space, key, column string }

func (f *field) name() fieldName { return fieldName{f.space, f.key, f.column} }

// forwarded reports whether f is a trait sent along with somebody else's identify.
func (f *field) forwarded() bool { return f.key == "" }

// attribute returns the name of f's attribute in MoEngage.
func (f *field) attribute(p *Policy) string {
	switch {
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
		buf = putString(buf, s)
	}
	for _, n := range [...]uint64{f.members, f.entered, f.exited, f.held} {
		buf = putUint(buf, n)
	}
	buf = f.watch.encode(append(putTime(buf, f.lastEvent), f.heard))
	return sealKeyed(buf, start, fieldKey(f.number))
}

func fieldKey(number uint32) []byte { return binary.BigEndian.AppendUint32(nil, number) }

func decodeField(number uint32, frame []byte) (*field, error) {
	version := fieldVersion
	if len(frame) > 0 && frame[0] == 1 {
		version = 1
	}
	r, err := unsealKeyed(frame, version, fieldKey(number))
	if err != nil {
		return nil, err
	}
	f := &field{number: number, class: Class(r.byte())}
	f.space, f.key, f.column, f.id = r.string(), r.string(), r.string(), r.string()
	f.members, f.entered, f.exited, f.held = r.uint(), r.uint(), r.uint(), r.uint()
	f.lastEvent = r.time()
	if version > 1 {
		f.heard, f.watch = r.byte(), r.watch()
	}
	return f, r.done()
}

// registry is every field known, in memory: there are as many as computations, not users.
type registry struct {
	fields []*field // by number
	byName map[fieldName][]*field
	byKey  map[string][]*field // computations only
	owners map[string]*field   // who sends to an attribute under today's rules: the first computation to use it
}

func newRegistry(fields []*field, rules *Rules) *registry {
	r := &registry{byName: make(map[fieldName][]*field), byKey: make(map[string][]*field)}
	for _, f := range fields {
		r.index(f)
	}
	r.settleOwners(rules)
	return r
}

func (r *registry) index(f *field) {
	r.fields = append(r.fields, f)
	r.byName[f.name()] = append(r.byName[f.name()], f)
	if f.column == "" {
		r.byKey[f.key] = append(r.byKey[f.key], f)
	}
}

// settleOwners works out whose each attribute name is. Two computations that resolve to one attribute
// would overwrite each other for ever, so the later one's changes are held until an operator decides.
func (r *registry) settleOwners(rules *Rules) {
	r.owners = make(map[string]*field, len(r.fields))
	for _, f := range r.fields {
		r.claim(f, rules)
	}
}

func (r *registry) claim(f *field, rules *Rules) {
	p := rules.For(f.key, f.id)
	if !f.forwarded() && !p.sendsAttributes() {
		return
	}
	name := f.attribute(&p)
	if owner := r.owners[name]; owner == nil || owner.forwarded() { // a forwarded trait gives way
		r.owners[name] = f
	}
}

func (p *Policy) sendsAttributes() bool { return p.Send&(SendAttribute|SendAsReceived) != 0 }

// conflicted reports whether f would fight with another computation: over an attribute that the other
// sent to first, or over a key that the other had first and that the config does not tell apart.
func (r *registry) conflicted(f *field, p *Policy, rules *Rules) bool {
	name := f.attribute(p)
	if owner := r.owners[name]; p.sendsAttributes() && owner != nil && owner != f && !owner.forwarded() {
		return true
	}
	if f.column != "" || f.forwarded() {
		return false
	}
	first := r.byKey[f.key][0]
	firstPolicy := rules.For(first.key, first.id)
	return first != f && first.attribute(&firstPolicy) == name
}

func (r *registry) add(f *field, rules *Rules) *field {
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
	for _, f := range r.fields {
		if f.column == "" && f.id != "" && f.id == key {
			return []*field{f}
		}
	}
	return nil
}

// resolve finds the computation that an event speaks of, or adds it. An event without
// context.personas has only a key, and says ambiguous when that names several.
func (b *batch) resolve(e *Event) (f *field, ambiguous bool) {
	r := b.st.registry
	if e.Space == "" && e.ComputationID == "" {
		switch known := r.byKey[e.Key]; len(known) {
		case 0:
			return b.newField(&field{key: e.Key, class: e.Class}), false
		case 1:
			return known[0], false
		default:
			return nil, true
		}
	}
	known := r.byName[fieldName{e.Space, e.Key, ""}]
	for _, f := range known {
		if f.id == e.ComputationID {
			return f, false
		}
	}
	for _, f := range known {
		if f.id == "" || e.ComputationID == "" {
			return b.identify(f, e), false
		}
	}
	for _, f := range r.byName[fieldName{"", e.Key, ""}] {
		if f.id == "" { // so far known by its key alone: it takes the first space and id that come
			return b.identify(f, e), false
		}
	}
	return b.newField(&field{space: e.Space, key: e.Key, id: e.ComputationID, class: e.Class}), false
}

func (b *batch) newField(f *field) *field {
	f = b.st.registry.add(f, &b.st.rules)
	b.touch(f)
	return f
}

// identify completes a computation's name from an event that knows more of it.
func (b *batch) identify(f *field, e *Event) *field {
	if f.id == "" && e.ComputationID != "" || f.space == "" && e.Space != "" {
		space, key, id := f.space, f.key, f.id
		for _, x := range b.st.registry.fields { // its columns are the computation's, too
			if x.space == space && x.key == key && x.id == id {
				b.rename(x, e.Space, e.ComputationID)
			}
		}
		b.st.registry.settleOwners(&b.st.rules)
	}
	return f
}

func (b *batch) rename(f *field, space, id string) {
	byName := b.st.registry.byName
	byName[f.name()] = slices.DeleteFunc(byName[f.name()], func(x *field) bool { return x == f })
	f.space, f.id = space, id
	byName[f.name()] = append(byName[f.name()], f)
	b.touch(f)
}

// column finds or adds the field of one column of computation f.
func (b *batch) column(f *field, name string) *field {
	if known := b.st.registry.byName[fieldName{f.space, f.key, name}]; len(known) > 0 {
		for _, c := range known {
			if c.id == f.id {
				return c
			}
		}
	}
	return b.newField(&field{space: f.space, key: f.key, column: name, id: f.id, class: ClassTrait})
}

// forward finds or adds the field of a trait that is sent along.
func (b *batch) forward(name string) *field {
	if known := b.st.registry.byName[fieldName{column: name}]; len(known) > 0 {
		return known[0]
	}
	return b.newField(&field{column: name, class: ClassTrait})
}
