package config

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/internal/field"
)

// LoadPlaces is LoadWithoutSecrets for a command that only needs data_dir, admin.socket and [store], to ask the agent or
// read its data. Faults elsewhere do not stop it: the faulty keys get their defaults, and Refused returns the
// faults.
//
// It also accepts the first two when they are misspelt or in the wrong section, because their defaults would
// lead to other data. If their values are faulty, or [store] is, it returns *Faults.
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
	entries, sure := l.correctPlaces(entries)
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

// correctPlaces moves entries meant as data_dir or admin.socket to the correct key, unless that key is set. sure is
// false if two of them contradict each other.
func (l *loader) correctPlaces(entries []document.Entry) (right []document.Entry, sure bool) {
	given := make(map[string]string) // values of the misplaced entries
	for _, e := range entries {
		if e.Section == 0 && places[e.Key()] {
			given[e.Key()] = ""
		}
	}
	for place := range places {
		if _, set := l.env[field.Variable(place)]; set {
			given[place] = ""
		}
	}
	for _, e := range entries {
		place := l.meantPlace(e)
		switch was, known := given[place]; {
		case place == "":
			right = append(right, e)
		case !known:
			given[place] = e.Value.Text
			e.Path, e.Section = strings.Split(place, "."), 0
			right = append(right, e)
		case was != "" && was != e.Value.Text:
			return nil, false
		}
	}
	return right, true
}

// places are the keys that LoadPlaces needs.
var places = map[string]bool{keyDataDir: true, keyAdminSocket: true}

// meantPlace returns the place that an entry with an unknown name was meant for, or "".
func (l *loader) meantPlace(e document.Entry) string {
	if _, known := l.known[e.Key()]; e.Header || e.Value.Kind != document.Text || known && e.Section == 0 {
		return ""
	}
	word := e.Path[len(e.Path)-1]
	for place := range places {
		if _, last := document.SplitKey(place); last == word {
			return place
		}
	}
	meant := meantPlaces().FindStringSubmatch(l.suggest(e.Key()))
	switch {
	case meant == nil || e.Section > 0 || strings.Contains(meant[1], "store"): // which is not guessed at
		return ""
	case meant[1] == keyDataDir:
		return keyDataDir
	}
	return keyAdminSocket
}

// meantPlaces matches the suggestion of one of the places in a fault.
var meantPlaces = pattern(`did you mean (data_dir|socket|admin\.socket|\[admin\]|store\.engine|\[store\])\?$`)

// misplaces reports whether a fault concerns one of the places.
func misplaces(f Fault) bool {
	_, word := document.SplitKey(f.Key)
	return word == "engine" || f.Key == keyDataDir || f.Key == keyAdminSocket || f.Key == "admin" || strings.HasPrefix(f.Key, "store") || meantPlaces().MatchString(f.Problem)
}

// Refused returns the faults of a configuration that LoadPlaces accepted, or nil. If it is not nil, no agent
// can run on c and its rules must not be used.
func (c *Config) Refused() error { return c.refused }

// Refuse makes Refused return err, when c replaces a configuration that could not be read.
func (c *Config) Refuse(err error) { c.refused = err }

// maxSyntaxFaults is how many invalid lines parseAround skips.
const maxSyntaxFaults = 20

// parseAround is parse without the invalid lines. whole is false if one of them may contain a place.
func parseAround(doc []byte) (entries []document.Entry, whole bool) {
	lines := bytes.Split(bytes.TrimPrefix(doc, []byte("\ufeff")), []byte("\n"))
	for range maxSyntaxFaults {
		entries, fault := document.Parse(bytes.Join(lines, []byte("\n")))
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
	return slices.ContainsFunc([]string{keyDataDir, "socket", "admin", "store", "engine"}, func(word string) bool { return strings.Contains(line, word) })
}

// dropFaulty resets faulty keys to their defaults. It removes computations with a fault, without a name, or
// with the name of another.
func (l *loader) dropFaulty() {
	for _, f := range field.Of(Default(), "") {
		if mine, ok := l.known[f.Key]; ok && l.faulty[f.Key] {
			reflect.ValueOf(mine.Ptr).Elem().Set(reflect.ValueOf(f.Ptr).Elem())
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
