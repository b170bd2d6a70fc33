package condition

import (
	"time"

	"personasync/store/domain"
)

// Facts are the values that conditions are judged by: one moment of an agent, or of the files of a stopped one. It
// has more than 40 methods because each condition is one, and one list has them all: see Kinds.
type Facts struct {
	Now          time.Time
	Status       *Status
	LastReceived domain.LastReceived
	Oldest       map[string]time.Time // receipt of the oldest pending change of each job
	Process      Process
	Computations []domain.ComputationInfo
}

// running reports whether the facts are a running agent's own.
func (f *Facts) running() bool { return !f.Process.Started.IsZero() }
