package domain

import "time"

// Pause says that an operator stopped the sending of changes. Events are accepted and applied meanwhile, and attributes
// collapse, so a pause costs the net difference of its time. Events to MoEngage are kept and sent afterwards.
type Pause struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero"` // when it ends by itself; zero: it does not
	Why   string    `json:"why"`
	By    string    `json:"by"` // the operator's user name on the host
}

// Holds reports whether the pause is in force at a time. A nil pause never is.
func (p *Pause) Holds(now time.Time) bool {
	return p != nil && (p.Until.IsZero() || now.Before(p.Until))
}
