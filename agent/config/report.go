package config

import (
	"errors"
	"fmt"
	"io/fs"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/wording"
)

// report collects the faults of one configuration and records where its values came from. A key gets at most one
// fault about an allowed value, and none if its value could not be read.
type report struct {
	cfg      *Config
	known    map[string]field // keys at the top level and in [defaults], by name
	prefixes []string         // of the full names of the keys of each computation
	faulty   map[string]bool  // keys with a fault
	faults   Faults
}

func newReport(cfg *Config) report {
	r := report{cfg: cfg, known: map[string]field{}, faulty: map[string]bool{}, faults: Faults{Path: cfg.Path}}
	for _, f := range fields(cfg, "") {
		r.known[f.key] = f
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
func (r *report) set(f field, e document.Entry) {
	if err := f.set(e.Value); err != nil {
		r.add(faultAt(r.at(e), f.key, mask(f, e.Value), err.Error()))
		return
	}
	r.cfg.origins[f.key] = r.at(e)
}

// at returns the place of an entry in the file.
func (r *report) at(e document.Entry) origin {
	return origin{kind: fromFile, name: r.cfg.Path, line: e.Line}
}

// mask returns a value for a message. A secret stays hidden even if it cannot be read.
func mask(f field, v document.Value) string {
	if f.isSecret() {
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
func (r *report) refuse(f field, problem string) {
	if r.faulty[f.key] {
		return
	}
	shown := f.show()
	if f.isSecret() {
		shown = ""
	}
	r.add(faultAt(r.cfg.origins[f.key], f.key, wording.Shorten(shown), problem))
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
