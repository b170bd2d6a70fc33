package domain

import (
	"cmp"
	"slices"
	"time"
)

// Pause says that an operator stopped the sending of changes, of all of them or of those of one computation. Events are
// accepted and applied meanwhile, and attributes collapse, so a pause costs the net difference of its time. Events to
// MoEngage are kept and sent afterwards.
type Pause struct {
	Computation string `json:"computation,omitempty"` // its key; "": everything is paused
	ID          string `json:"id,omitempty"`          // "": every computation of the key

	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero"` // when it ends by itself; zero: it does not
	Why   string    `json:"why"`
	By    string    `json:"by"` // the operator's user name on the host
}

// Holds reports whether the pause is in force at a time. A nil pause never is.
func (p *Pause) Holds(now time.Time) bool {
	return p != nil && (p.Until.IsZero() || now.Before(p.Until))
}

// Of reports whether p is the pause of a computation.
func (p *Pause) Of(key, id string) bool {
	return p.Computation == key && (p.ID == "" || p.ID == id)
}

// Name is what the paused computation is called on a command line: its id where several share the key.
func (p *Pause) Name() string { return cmp.Or(p.ID, p.Computation) }

// end returns when the pause ends, for a sentence.
func (p *Pause) end() string {
	if p.Until.IsZero() {
		return "until it is resumed"
	}
	return "until " + p.Until.UTC().Format(time.DateTime) + " UTC"
}

// sentence says why a change of the paused computation is held.
func (p *Pause) sentence() string {
	by := ""
	if p.By != "" {
		by = " by " + p.By
	}
	return "its computation is paused" + by + ", " + p.end() + ": " + p.Why
}

// pauseOf returns the pause of a computation, nil if there is none.
func (r *Rules) pauseOf(key, id string) *Pause {
	if i := slices.IndexFunc(r.Paused, func(p Pause) bool { return p.Of(key, id) }); i >= 0 {
		return &r.Paused[i]
	}
	return nil
}
