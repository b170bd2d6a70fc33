package config

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
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
	if name == "" {
		name = "configuration"
	}
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
	for _, fault := range f.All {
		if !fault.denied {
			return false
		}
	}
	return len(f.All) > 0
}

func (f *Faults) sort() {
	place := func(x Fault) int {
		if x.Line == 0 {
			return math.MaxInt
		}
		return x.Line
	}
	slices.SortStableFunc(f.All, func(x, y Fault) int { return cmp.Compare(place(x), place(y)) })
}
