package config

import (
	"fmt"
	"slices"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/wording"
	"personasync/store/domain"
)

// takeSections builds the computations. Each starts as a copy of [defaults].
func (l *loader) takeSections() {
	if len(l.sections) == 0 {
		return
	}
	l.cfg.Computations = make([]Computation, len(l.sections))
	l.prefixes = make([]string, len(l.sections))
	for i, entries := range l.sections {
		l.takeSection(i, entries)
	}
}

func (l *loader) takeSection(i int, entries []document.Entry) {
	c := &l.cfg.Computations[i]
	c.Policy, c.Guard = l.cfg.Defaults, true
	prefix := l.prefix(i, entries)
	l.prefixes[i] = prefix

	known := map[string]field{}
	for _, f := range fields(c, prefix) {
		known[f.key] = f
	}
	for _, e := range entries {
		if len(e.Path) == 0 {
			continue // the header
		}
		key := prefix + document.BareKey(e.Path[0]) // nothing nested is valid: no key of a section is a table
		f, ok := known[key]
		switch {
		case ok && !e.Header && len(e.Path) == 1:
			l.set(f, e)
		case ok:
			l.addOnce(l.at(e).fault(key, "", "is a key, not a section"))
		default:
			l.addOnce(l.at(e).fault(key, "", "there is no such key"+wording.Hint(wording.Nearest(e.Path[0], plainWords(known)), "%s")))
		}
	}
	l.checkNamed(c, prefix, entries)
}

// prefix returns the start of the full names of a section's keys: "computation.NAME.", or with a number if the
// name is missing or taken.
func (l *loader) prefix(i int, entries []document.Entry) string {
	prefix := document.Computations + "." + document.BareKey(nameOf(entries)) + "."
	if nameOf(entries) == "" || slices.Contains(l.prefixes, prefix) {
		return fmt.Sprintf("%s[%d].", document.Computations, i+1)
	}
	return prefix
}

// nameOf returns the name that Computation.Name will return, before the section is read.
func nameOf(entries []document.Entry) string {
	name := ""
	for _, e := range entries {
		switch {
		case e.Value.Kind != document.Text || e.Value.Text == "":
		case e.Key() == "id":
			return e.Value.Text
		case e.Key() == "key":
			name = e.Value.Text
		}
	}
	return name
}

// plainWords lists the allowed keys of a section.
func plainWords(known map[string]field) []string {
	var words []string
	for key := range known {
		_, word := document.SplitKey(key)
		words = append(words, word)
	}
	slices.Sort(words) // makes the suggestion among equally near words deterministic
	return words
}

// addOnce adds a fault unless its key has one. An unknown table is one fault, whatever is in it.
func (l *loader) addOnce(f Fault) {
	if !l.faulty[f.Key] {
		l.add(f)
	}
}

// checkNamed refuses a section without a name or with a name already taken.
func (l *loader) checkNamed(c *Computation, prefix string, entries []document.Entry) {
	if c.Name() == "" {
		if !l.faulty[prefix+"key"] && !l.faulty[prefix+"id"] {
			l.add(l.at(entries[0]).fault("[[computation]]", "", `names no computation: add key = "…" or id = "…"`))
		}
		return
	}
	for i := range l.cfg.Computations {
		other := &l.cfg.Computations[i]
		if other == c {
			break
		}
		if other.Name() == c.Name() {
			l.add(l.at(entries[0]).fault("[[computation]]", "", fmt.Sprintf(
				"%s has a section already, at line %d: put both together", document.BareKey(c.Name()), l.sections[i][0].Line)))
			return
		}
	}
	if c.Schedule != "" && c.Name() == domain.RetryJob {
		l.refuse(keyed(c, prefix, "schedule"), "a computation of this name cannot have its own schedule: the agent has a job called so")
	}
}

// keyed returns one field of a section.
func keyed(section any, prefix, word string) field {
	for _, f := range fields(section, prefix) {
		if f.key == prefix+word {
			return f
		}
	}
	panic("config: no key " + prefix + word)
}

// given reports whether the file or the environment sets a key.
func (l *loader) given(key string) bool { return l.cfg.origins[key].kind != fromDefault }
