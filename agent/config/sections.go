package config

import (
	"fmt"
	"slices"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/internal/field"
	"personasync/agent/config/wording"
	"personasync/store/domain"
)

// takeSections builds the computations. Each starts as a copy of [defaults].
func takeSections(r *report, sections [][]document.Entry) {
	if len(sections) == 0 {
		return
	}
	r.cfg.Computations = make([]Computation, len(sections))
	r.prefixes = make([]string, len(sections))
	for i := range sections {
		takeSection(r, sections, i)
	}
}

func takeSection(r *report, sections [][]document.Entry, i int) {
	c, entries := &r.cfg.Computations[i], sections[i]
	c.Policy, c.Guard = r.cfg.Defaults, true
	prefix := sectionPrefix(r, i, entries)
	r.prefixes[i] = prefix

	known := map[string]field.Field{}
	for _, f := range field.Of(c, prefix) {
		known[f.Key] = f
	}
	for _, e := range entries {
		if len(e.Path) == 0 {
			continue // the header
		}
		key := prefix + document.BareKey(e.Path[0]) // nothing nested is valid: no key of a section is a table
		f, ok := known[key]
		switch {
		case ok && !e.Header && len(e.Path) == 1:
			r.set(f, e)
		case ok:
			r.addOnce(faultAt(r.at(e), key, "", "is a key, not a section"))
		default:
			r.addOnce(faultAt(r.at(e), key, "", "there is no such key"+wording.Hint(wording.Nearest(e.Path[0], plainWords(known)), "%s")))
		}
	}
	checkNamed(r, sections, i)
}

// sectionPrefix returns the start of the full names of a section's keys: "computation.NAME.", or with a number if the
// name is missing or taken.
func sectionPrefix(r *report, i int, entries []document.Entry) string {
	prefix := document.Computations + "." + document.BareKey(nameOf(entries)) + "."
	if nameOf(entries) == "" || slices.Contains(r.prefixes, prefix) {
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
func plainWords(known map[string]field.Field) []string {
	var words []string
	for key := range known {
		_, word := document.SplitKey(key)
		words = append(words, word)
	}
	slices.Sort(words) // makes the suggestion among equally near words deterministic
	return words
}

// checkNamed refuses a section without a name or with a name already taken.
func checkNamed(r *report, sections [][]document.Entry, i int) {
	c, prefix, header := &r.cfg.Computations[i], r.prefixes[i], sections[i][0]
	if c.Name() == "" {
		if !r.faulty[prefix+"key"] && !r.faulty[prefix+"id"] {
			r.add(faultAt(r.at(header), "[[computation]]", "", `names no computation: add key = "…" or id = "…"`))
		}
		return
	}
	for j := range i {
		if r.cfg.Computations[j].Name() == c.Name() {
			r.add(faultAt(r.at(header), "[[computation]]", "", fmt.Sprintf(
				"%s has a section already, at line %d: merge the two sections", document.BareKey(c.Name()), sections[j][0].Line)))
			return
		}
	}
	if c.Schedule != "" && c.Name() == domain.RetryJob {
		r.refuse(field.Named(c, prefix, "schedule"), "a computation of this name cannot have its own schedule: the agent has a job with this name")
	}
}
