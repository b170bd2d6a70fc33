package store

import (
	"cmp"
	"fmt"
	"strings"

	"personasync/store/domain"
)

// conflictSentence says with whom f shares a name, and what to do about it, so that it can be typed.
func (r *registry) conflictSentence(f *field, p *domain.Policy, rules *domain.Rules) string {
	other := cmp.Or(r.rival(f, p, rules), f)
	name := domain.SentName(f.kind(), f.attribute(p))
	taken := fmt.Sprintf("%q is sent by %s already", name, other.titled())
	word := "attribute"
	switch f.kind() {
	case domain.KindCohort:
		word = "cohort_name"
	case domain.KindList:
		word = "list_attribute"
	}
	apart := func(x *field) string {
		return fmt.Sprintf("give %s another %s in a [[computation]] section with %s", x.titled(), word, x.section())
	}
	switch {
	case f.forwarded():
		return fmt.Sprintf("%s: leave %q out of forward_traits, or rename the trait", taken, f.column)
	case f.sqlColumn() != "" && other.kind() == domain.KindAttribute && other.column == "":
		return fmt.Sprintf("%s: rename the column %q in Segment, or %s", taken, f.column, apart(other))
	case f.sqlColumn() != "":
		return fmt.Sprintf("%s: rename one of the two in Segment", taken)
	case f.key == other.key && f.class.HasMembers() && f.id != "":
		return fmt.Sprintf("%s: if Segment made it again, `personasync audience adopt %s` has the new id continue it; else %s",
			taken, Arguments(f.key, f.id), apart(f))
	}
	return taken + ": " + apart(f)
}

// titled names a field in a sentence.
func (f *field) titled() string {
	switch {
	case f.forwarded():
		return fmt.Sprintf("the forwarded trait %q", f.column)
	case f.sqlColumn() != "":
		return fmt.Sprintf("the column %q of %s", f.column, f.key)
	case f.id == "":
		return f.key
	}
	return fmt.Sprintf("%s (id %s)", f.key, f.id)
}

// section is the line by which the config tells f from others of its key.
func (f *field) section() string {
	if f.id == "" {
		return fmt.Sprintf("key = %q", f.key)
	}
	return fmt.Sprintf("id = %q", f.id)
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
