package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/internal/field"
	"personasync/agent/config/wording"
)

// Fault is one mistake in the configuration and how to fix it.
type Fault struct {
	Source  string `json:"source,omitempty"` // "agent.toml:12", "env PERSONASYNC_LOG_LEVEL"; "" for a default
	Line    int    `json:"line,omitempty"`   // in agent.toml, from 1; otherwise 0
	Key     string `json:"key,omitempty"`    // "log.level", "computation.vip.send"; "" for a syntax fault
	Value   string `json:"value,omitempty"`  // as TOML; secrets are masked, values of unknown keys are left out
	Problem string `json:"problem"`

	denied bool // this user may not read the file, but the agent may
}

// String returns one line. A syntax fault also shows its line of the file.
func (f Fault) String() string {
	var b strings.Builder
	if f.Source != "" {
		b.WriteString(f.Source + ": ")
	}
	if f.Key != "" {
		b.WriteString(f.Key)
		if f.Value != "" {
			b.WriteString(" = " + f.Value)
		}
		b.WriteString(": ")
	}
	b.WriteString(f.Problem)
	return b.String()
}

// Faults has all mistakes of a configuration: those of the file in its order, then those of the environment.
type Faults struct {
	Path string  `json:"path,omitempty"` // the file, "" when there was none
	All  []Fault `json:"faults"`
}

// Error returns one line for each fault, preceded by their number if there are several.
func (f *Faults) Error() string {
	if len(f.All) == 1 {
		return f.All[0].String()
	}
	name := f.Path
	name = cmp.Or(name, "configuration")
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d faults", name, len(f.All))
	for _, fault := range f.All {
		b.WriteString("\n  " + strings.ReplaceAll(fault.String(), "\n", "\n  "))
	}
	return b.String()
}

// OnlyUnread reports whether the only faults are secrets, keys or certificates that this user may not read. The
// agent's user may be able to.
func (f *Faults) OnlyUnread() bool {
	return len(f.All) > 0 && !slices.ContainsFunc(f.All, func(fault Fault) bool { return !fault.denied })
}

func (f *Faults) sort() {
	place := func(x Fault) int { return cmp.Or(x.Line, math.MaxInt) }
	slices.SortStableFunc(f.All, func(x, y Fault) int { return cmp.Compare(place(x), place(y)) })
}

// report collects the faults of one configuration and records where its values came from. A key gets at most one
// fault about an allowed value, and none if its value could not be read.
type report struct {
	cfg      *Config
	known    map[string]field.Field // keys at the top level and in [defaults], by name
	prefixes []string               // of the full names of the keys of each computation
	faulty   map[string]bool        // keys with a fault
	faults   Faults
}

func newReport(cfg *Config) report {
	r := report{cfg: cfg, known: map[string]field.Field{}, faulty: map[string]bool{}, faults: Faults{Path: cfg.Path}}
	for _, f := range field.Of(cfg, "") {
		r.known[f.Key] = f
	}
	return r
}

// err returns the faults in the order of the file, or nil.
func (r *report) err() error {
	if len(r.faults.All) == 0 {
		return nil
	}
	r.faults.sort()
	return &r.faults
}

// faultAt returns a fault of the value that came from o.
func faultAt(o origin, key, value, problem string) Fault {
	f := Fault{Line: o.line, Key: key, Value: value, Problem: problem}
	if o.kind != fromDefault {
		f.Source = o.String()
	}
	return f
}

// set stores the value of an entry, or reports why it cannot be read.
func (r *report) set(f field.Field, e document.Entry) {
	if err := f.Set(e.Value); err != nil {
		r.add(faultAt(r.at(e), f.Key, mask(f, e.Value), err.Error()))
		return
	}
	r.cfg.origins[f.Key] = r.at(e)
}

// at returns the place of an entry in the file.
func (r *report) at(e document.Entry) origin {
	return origin{kind: fromFile, name: r.cfg.Path, line: e.Line}
}

// mask returns a value for a message. A secret stays hidden even if it cannot be read.
func mask(f field.Field, v document.Value) string {
	if f.IsSecret() {
		return "(hidden)"
	}
	return v.String()
}

// add reports a value that could not be read.
func (r *report) add(f Fault) {
	r.faulty[f.Key] = true
	r.faults.All = append(r.faults.All, f)
}

// refuse reports a value that was read but is not allowed. A key gets at most one such fault, and none if its
// value could not be read: the stored value is then not the one in the file.
func (r *report) refuse(f field.Field, problem string) {
	if r.faulty[f.Key] {
		return
	}
	shown := f.Show()
	if f.IsSecret() {
		shown = ""
	}
	r.add(faultAt(r.cfg.origins[f.Key], f.Key, wording.Shorten(shown), problem))
}

// refuseKey is refuse for a key outside [[computation]].
func (r *report) refuseKey(key, format string, args ...any) {
	r.refuse(r.known[key], fmt.Sprintf(format, args...))
}

// addOnce adds a fault unless its key has one. An unknown table is one fault, whatever is in it.
func (r *report) addOnce(f Fault) {
	if !r.faulty[f.Key] {
		r.add(f)
	}
}

// given reports whether the file or the environment sets a key.
func (r *report) given(key string) bool { return r.cfg.origins[key].kind != fromDefault }

// count returns the number of faults so far.
func (r *report) count() int { return len(r.faults.All) }

// deny marks the faults from index n on as caused by missing permission, if err says so.
func (r *report) deny(n int, err error) {
	for i := n; i < len(r.faults.All); i++ {
		r.faults.All[i].denied = errors.Is(err, errDenied) || errors.Is(err, fs.ErrPermission)
	}
}
