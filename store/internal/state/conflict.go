package state

import (
	"cmp"
	"fmt"
	"strings"

	"personasync/store/domain"
)

// ConflictSentence says with whom f shares a name, and what to do about it, so that it can be typed.
func (r *Registry) ConflictSentence(f *Field, p *domain.Policy, rules *domain.Rules) string {
	other := cmp.Or(r.Rival(f, p, rules), f)
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

// titled names a field in a sentence.
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

// section is the line by which the config tells f from others of its key.
func (f *Field) section() string {
	if f.ID == "" {
		return fmt.Sprintf("key = %q", f.Key)
	}
	return fmt.Sprintf("id = %q", f.ID)
}

// Arguments quotes the arguments of a command. Where one looks like a flag, "--" says before them that none is.
func Arguments(words ...string) string {
	quoted, dashes := make([]string, len(words)), ""
	for i, w := range words {
		if quoted[i] = domain.ShellWord(w); strings.HasPrefix(w, "-") {
			dashes = "-- "
		}
	}
	return dashes + strings.Join(quoted, " ")
}
