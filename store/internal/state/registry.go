package state

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"personasync/store/domain"
)

// Registry is every field, in memory: there are as many as computations, not as users.
type Registry struct {
	Fields  []*Field // by number
	ByName  map[FieldName][]*Field
	ByKey   map[string][]*Field // computations only, without former ones
	ByID    map[string][]*Field // computations only
	Cohorts []*Field            // targets to a cohort
	gone    int                 // fields that were removed
	owners  owners              // by name in MoEngage
}

// Size returns the number of fields, without the removed ones.
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

func (r *Registry) add(f *Field, rules *domain.Rules) *Field {
	f.Number = uint32(len(r.Fields))
	r.index(f)
	r.owners.add(f, rules)
	return f
}

// Enter makes f known by its name, key and id. The lists stay sorted by number, whenever f got its name.
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

// Unname undoes Enter. Call it before the name changes.
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

// One returns the only computation that key names. The error is domain.ErrNotFound or an AmbiguousError.
func (r *Registry) One(key string) (*Field, error) {
	switch known := r.Computations(key); len(known) {
	case 0:
		return nil, domain.ErrNotFound
	case 1:
		return known[0], nil
	default:
		e := &AmbiguousError{Key: key}
		for _, f := range known {
			e.IDs = append(e.IDs, f.ID)
		}
		return nil, e
	}
}

// AmbiguousError says that a key names several computations, and lists their ids.
type AmbiguousError struct {
	Key string
	IDs []string
}

// Error names the key, and says what to do.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%s names several computations: give one of their ids instead", e.Key)
}

// argument returns the shortest name of a computation on a command line: its key, or its id where several share the
// key.
func (r *Registry) argument(key, id string) string {
	if len(r.Computations(key)) > 1 {
		return cmp.Or(id, key)
	}
	return cmp.Or(key, id)
}

// Find returns the computation of an event, nil when there is none yet. It looks
//
//	by space, key and id
//	by id alone: an event may name no space, and a computation without a space takes the first that comes
//	by key: the only computation that fits the space and the id, as far as they are known
//
// ambiguous says that several fit. A former computation is found by its id alone.
func (r *Registry) Find(e *domain.Event) (f *Field, ambiguous bool) {
	if e.ComputationID != "" {
		if f, ambiguous = r.identified(e); f != nil || ambiguous {
			return f, ambiguous
		}
	}
	return r.keyed(e)
}

// identified is Find by the id. Of two that are one, as earlier versions stored them, the space of the event
// decides, and then the first.
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

// precedes reports whether an event that has the id of both f and other means f, which is the newer field.
func (f *Field) precedes(other *Field, e *domain.Event) bool {
	switch {
	case f.Former() != other.Former():
		return other.Former()
	case e.Space != "":
		return f.Space == e.Space && other.Space == ""
	}
	return f.Key == e.Key && other.Key != e.Key
}

// keyed is Find by the key.
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

// mayBeOne reports whether two spaces, or two ids, can belong to one computation; "" is unknown and fits all.
func mayBeOne(x, y string) bool { return x == "" || y == "" || x == y }

// OtherClass returns the computation for which an event of its class cannot be used: values for a membership, or a
// membership for values. It is nil when there is none. f is the computation of the event, nil when that is not
// known; its id may still be known under another key.
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

// unlessOf returns f unless c has members exactly as f has.
func (f *Field) unlessOf(c domain.Class) *Field {
	if f.Class.HasMembers() == c.HasMembers() {
		return nil
	}
	return f
}

// Beside returns the field of a computation's column or target, nil before its first use.
func (r *Registry) Beside(f *Field, column string) *Field {
	for _, x := range r.ByName[FieldName{f.Space, f.Key, column}] {
		if x.ID == f.ID {
			return x
		}
	}
	return nil
}

// TargetFields returns the fields that were ever used to send a computation's membership: its own, and its targets.
func (r *Registry) TargetFields(f *Field) []*Field {
	list := []*Field{f}
	for _, column := range [...]string{CohortColumn, ListColumn} {
		if x := r.Beside(f, column); x != nil {
			list = append(list, x)
		}
	}
	return list
}

// ComputationOf returns the computation whose target f is, and f itself if it is none.
func (r *Registry) ComputationOf(f *Field) *Field {
	if f.Kind() == domain.KindAttribute {
		return f
	}
	return cmp.Or(r.Beside(f, ""), f)
}

// Family returns the fields of a computation: its own, its columns and its targets.
func (r *Registry) Family(f *Field) (fields []*Field) {
	if f.forwarded() {
		return []*Field{f}
	}
	for _, x := range r.Fields {
		if x.Space == f.Space && x.Key == f.Key && x.ID == f.ID && !x.Gone() {
			fields = append(fields, x)
		}
	}
	return fields
}

// HeldColumns returns the columns that have held changes, by their computation.
func (r *Registry) HeldColumns() map[*Field][]*Field {
	return r.Columns(func(x *Field) bool { return x.Held > 0 })
}

// Columns returns the columns of SQL traits for which which is true, by their computation.
func (r *Registry) Columns(which func(*Field) bool) map[*Field][]*Field {
	columns := make(map[*Field][]*Field)
	for _, x := range r.Fields {
		if which(x) && x.SQLColumn() != "" && !x.forwarded() {
			f := r.Beside(x, "")
			columns[f] = append(columns[f], x)
		}
	}
	return columns
}

// MaxFields bounds the registry, which every reader of the state loads whole: some 5 KB a field pass through memory,
// once a second. Workspaces have hundreds of computations; somebody with a write key could make millions.
var MaxFields = 1 << 15 // a variable so that tests can lower it

// ManyFields bounds the numbers, removed fields included, as a multiple of MaxFields. A removed field leaves its
// number and about a hundred bytes, because rows and history still refer to it.
const ManyFields = 16

// SettleOwners works out which field owns each name in MoEngage. Two computations with one name would overwrite each
// other forever, so the changes of the later one are held until an operator decides.
func (r *Registry) SettleOwners(rules *domain.Rules) {
	r.owners = make(owners, len(r.Fields))
	for _, f := range r.Fields {
		r.owners.add(f, rules)
	}
}

// Rival returns the field that f has a conflict with, nil when there is none. Either the other owns a name that f
// would be sent under, or it had the key first and the config does not tell the two apart.
func (r *Registry) Rival(f *Field, p *domain.Policy, rules *domain.Rules) *Field {
	if owner := r.owners.rival(f, p); owner != nil {
		return owner
	}
	if f.Column != "" || f.forwarded() {
		return nil
	}
	if f.Former() {
		return f
	}
	first := r.ByKey[f.Key][0]
	if first == f {
		return nil
	}
	firstPolicy := rules.For(first.Key, first.ID)
	if domain.AttributeName(first.Attribute(&firstPolicy)) == domain.AttributeName(f.Attribute(p)) {
		return first
	}
	return nil
}

// Conflicted reports whether f has a Rival.
func (r *Registry) Conflicted(f *Field, p *domain.Policy, rules *domain.Rules) bool {
	return r.Rival(f, p, rules) != nil
}

// CoversTrait reports whether a computation, or a column of one, has the same name as a trait and is sent under it. It
// describes the trait better than a forwarded trait does. A name that the trait would only be renamed to is a
// conflict.
func (r *Registry) CoversTrait(name string) bool {
	owner := r.owners[claim{domain.KindAttribute, domain.AttributeName(name)}]
	return owner != nil && !owner.forwarded() && cmp.Or(owner.SQLColumn(), owner.Key) == name
}

// ConflictSentence says which field has the name of f, and what the operator can do about it.
func (r *Registry) ConflictSentence(f *Field, p *domain.Policy, rules *domain.Rules) string {
	return conflictSentence(f, cmp.Or(r.Rival(f, p, rules), f), p)
}

// owners says which field has a name in MoEngage under today's rules: the first computation that uses it.
type owners map[claim]*Field

// claim is a name in MoEngage, as it is sent, that only one computation may use.
type claim struct {
	kind domain.Kind
	name string
}

// claims appends the names that f is sent under. An entry of a list claims its own name, and the attribute, which
// lists share with each other only.
func (f *Field) claims(list []claim, p *domain.Policy) []claim {
	kind := f.Kind()
	name := domain.SentName(kind, f.Attribute(p))
	switch {
	case kind == domain.KindCohort && p.Send.Has(domain.SendCohort):
		return append(list, claim{domain.KindCohort, name})
	case kind == domain.KindList && p.Send.Has(domain.SendList):
		return append(list, claim{domain.KindAttribute, name}, claim{domain.KindList, name + "\x00" + f.Key})
	case kind == domain.KindAttribute && (f.forwarded() || p.SendsAttributes()):
		return append(list, claim{domain.KindAttribute, name})
	}
	return list
}

// shares reports whether f and the owner of a claim may both use it.
func (f *Field) shares(c claim, owner *Field) bool {
	return c.kind == domain.KindAttribute && f.Kind() == domain.KindList && owner.Kind() == domain.KindList
}

// rank orders the fields that claim one name. A computation goes before a column, because an event that lost its own
// key makes columns of everything beside it. A forwarded trait is last. Of one rank, the first field keeps the name.
func (f *Field) rank() int {
	switch {
	case f.forwarded():
		return 0
	case f.SQLColumn() != "":
		return 1
	}
	return 2
}

// add enters the claims of f where it outranks the owner.
func (o owners) add(f *Field, rules *domain.Rules) {
	if f.Former() {
		return // another field continues it under the same names
	}
	p := rules.For(f.Key, f.ID)
	for _, c := range f.claims(nil, &p) {
		if owner := o[c]; owner == nil || owner.rank() < f.rank() {
			o[c] = f
		}
	}
}

// rival returns the field that owns a name of f, nil when f may use all of its names.
func (o owners) rival(f *Field, p *domain.Policy) *Field {
	var room [2]claim
	for _, c := range f.claims(room[:0], p) {
		if owner := o[c]; owner != nil && owner != f && owner.rank() >= f.rank() && !f.shares(c, owner) {
			return owner
		}
	}
	return nil
}

// conflictSentence names other as the owner of the name of f. A command in it can be typed as it stands.
func conflictSentence(f, other *Field, p *domain.Policy) string {
	name := domain.SentName(f.Kind(), f.Attribute(p))
	taken := fmt.Sprintf("%q is sent by %s already", name, other.titled())
	word := "attribute"
	switch f.Kind() {
	case domain.KindCohort:
		word = "cohort_name"
	case domain.KindList:
		word = "list_attribute"
	}
	apart := func(x *Field) string {
		return fmt.Sprintf("give %s another %s in a [[computation]] section with %s", x.titled(), word, x.section())
	}
	switch {
	case f.forwarded():
		return fmt.Sprintf("%s: leave %q out of forward_traits, or rename the trait", taken, f.Column)
	case f.SQLColumn() != "" && other.Kind() == domain.KindAttribute && other.Column == "":
		return fmt.Sprintf("%s: rename the column %q in Segment, or %s", taken, f.Column, apart(other))
	case f.SQLColumn() != "":
		return fmt.Sprintf("%s: rename one of the two in Segment", taken)
	case f.Key == other.Key && f.Class.HasMembers() && f.ID != "":
		return fmt.Sprintf("%s: if Segment made it again, `personasync audience adopt %s` has the new id continue it; else %s",
			taken, Arguments(f.Key, f.ID), apart(f))
	}
	return taken + ": " + apart(f)
}

// MassExitSentence says why the exits of a computation are held, and what to type. It is made when it is read, because
// its key may by then be that of several.
func (r *Registry) MassExitSentence(key, id string) string {
	return fmt.Sprintf("too many members left %s at once: `personasync audience release %s` sends the exits, `personasync audience discard %[2]s` drops them",
		cmp.Or(key, id), Arguments(r.argument(key, id)))
}

// titled names f in a sentence.
func (f *Field) titled() string {
	switch {
	case f.forwarded():
		return fmt.Sprintf("the forwarded trait %q", f.Column)
	case f.SQLColumn() != "":
		return fmt.Sprintf("the column %q of %s", f.Column, f.Key)
	case f.ID == "":
		return f.Key
	}
	return fmt.Sprintf("%s (id %s)", f.Key, f.ID)
}

// section is the line of the config that selects f among the computations of its key.
func (f *Field) section() string {
	if f.ID == "" {
		return fmt.Sprintf("key = %q", f.Key)
	}
	return fmt.Sprintf("id = %q", f.ID)
}

// Arguments quotes the arguments of a command. If one looks like a flag, "--" goes before them.
func Arguments(words ...string) string {
	quoted, dashes := make([]string, len(words)), ""
	for i, w := range words {
		if quoted[i] = domain.ShellWord(w); strings.HasPrefix(w, "-") {
			dashes = "-- "
		}
	}
	return dashes + strings.Join(quoted, " ")
}
