package state

import (
	"cmp"
	"fmt"
	"strings"

	"personasync/store/domain"
)

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
		cmp.Or(key, id), Arguments(r.Argument(key, id)))
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
