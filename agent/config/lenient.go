package config

import (
	"bytes"
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// LoadPlaces is LoadWithoutSecrets for a command that asks the agent or reads its files. Such a command
// needs data_dir and admin.socket: of a configuration with faults elsewhere it gets what is right, the
// defaults in place of what is not, and Refused says what that is. One of these two that stands at a wrong
// place, or is misspelt, is taken all the same: the default in its stead would lead to other data. Faults
// of their values come back as *Faults.
func LoadPlaces(path string, environ []string) (*Config, error) {
	c, err := LoadWithoutSecrets(path, environ)
	faults := (*Faults)(nil)
	if !errors.As(err, &faults) {
		return c, err
	}
	var doc []byte
	if path != "" {
		var unread error
		if doc, _, unread = readFile(path); unread != nil {
			return nil, err
		}
	}
	entries, whole := parseAround(doc)
	if !whole {
		return nil, err
	}
	l := newLoader(path, environ, true)
	entries, sure := l.putRight(entries)
	if !sure {
		return nil, err
	}
	l.lay(entries)
	if slices.ContainsFunc(l.faults.All, misplaces) {
		return nil, err
	}
	l.dropFaulty()
	l.cfg.refused = faults
	return l.cfg, nil
}

// putRight gives the entries that are to be data_dir or admin.socket the place of these, unless there is one that
// is right. sure is false when two of them say different things.
func (l *loader) putRight(entries []entry) (right []entry, sure bool) {
	given := make(map[string]string) // what the entries at wrong places say
	for _, e := range entries {
		if e.section == 0 && places[e.key()] {
			given[e.key()] = ""
		}
	}
	for place := range places {
		if _, set := l.env[variable(place)]; set {
			given[place] = ""
		}
	}
	for _, e := range entries {
		place := l.meantPlace(e)
		switch was, known := given[place]; {
		case place == "":
			right = append(right, e)
		case !known:
			given[place] = e.value.text
			e.path, e.section = strings.Split(place, "."), 0
			right = append(right, e)
		case was != "" && was != e.value.text:
			return nil, false
		}
	}
	return right, true
}

// places are the keys that LoadPlaces is for.
var places = map[string]bool{"data_dir": true, "admin.socket": true}

// meantPlace is the place that an entry with an unknown name is to be; "" for any other.
func (l *loader) meantPlace(e entry) string {
	if _, known := l.known[e.key()]; e.header || e.value.kind != text || known && e.section == 0 {
		return ""
	}
	word := e.path[len(e.path)-1]
	for place := range places {
		if _, last := splitKey(place); last == word {
			return place
		}
	}
	meant := meantPlaces.FindStringSubmatch(l.suggest(e.key()))
	switch {
	case meant == nil || e.section > 0:
		return ""
	case meant[1] == "data_dir":
		return "data_dir"
	}
	return "admin.socket"
}

// meantPlaces end the fault of a name that was probably to be one of the places.
var meantPlaces = regexp.MustCompile(`did you mean (data_dir|socket|admin\.socket|\[admin\])\?$`)

// misplaces reports whether a fault is about a place that LoadPlaces is for.
func misplaces(f Fault) bool {
	return f.Key == "data_dir" || f.Key == "admin.socket" || f.Key == "admin" || meantPlaces.MatchString(f.Problem)
}

// Refused says what is wrong with a configuration that LoadPlaces took all the same; nil: nothing. An
// agent does not run on it, and nothing that rests on its rules may be done.
func (c *Config) Refused() error { return c.refused }

// Refuse makes err what Refused says: c stands in for a configuration that could not be read.
func (c *Config) Refuse(err error) { c.refused = err }

// maxSyntaxFaults is how many lines parseAround leaves out.
const maxSyntaxFaults = 20

// parseAround is parse without the lines that are no TOML. whole is false when one of them may be about
// the places that LoadPlaces is for.
func parseAround(doc []byte) (entries []entry, whole bool) {
	lines := bytes.Split(bytes.TrimPrefix(doc, []byte("\ufeff")), []byte("\n"))
	for range maxSyntaxFaults {
		entries, fault := parse(bytes.Join(lines, []byte("\n")))
		if fault == nil {
			return entries, true
		}
		at := fault.Line - 1
		if at < 0 || at >= len(lines) || len(lines[at]) == 0 || aboutPlaces(string(lines[at])) {
			return nil, false
		}
		lines[at] = nil
	}
	return nil, false
}

func aboutPlaces(line string) bool {
	return strings.Contains(line, "data_dir") || strings.Contains(line, "socket") || strings.Contains(line, "admin")
}

// dropFaulty puts defaults in place of the keys that have a fault. It leaves out the computations that
// have one, no name, or the name of another.
func (l *loader) dropFaulty() {
	for _, f := range fields(Default(), "") {
		if mine, ok := l.known[f.key]; ok && l.faulty[f.key] {
			reflect.ValueOf(mine.ptr).Elem().Set(reflect.ValueOf(f.ptr).Elem())
		}
	}
	var sound []Computation
	for i, c := range l.cfg.Computations {
		faulty := slices.ContainsFunc(l.faults.All, func(f Fault) bool { return strings.HasPrefix(f.Key, l.prefixes[i]) })
		known := slices.ContainsFunc(sound, func(other Computation) bool { return other.Name() == c.Name() })
		if !faulty && !known && c.Name() != "" {
			sound = append(sound, c)
		}
	}
	l.cfg.Computations = sound
}
