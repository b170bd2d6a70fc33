package scheduler

import (
	"context"
	"time"
)

// Run is one run of a job, and what a [Ledger] keeps of each job: the one that began last.
type Run struct {
	Job string

	// Started is the time of the schedule that the run stands for, or, of one that was triggered, the
	// time it began. Zero: the job has never run; Finished tells when it was first seen.
	Started time.Time

	// Finished is when the run ended, well or not. Zero: it is under way, or was cut off.
	Finished time.Time

	// Missed counts the times of the schedule, up to Started and ever, at which no run of their own began.
	Missed uint64
}

// Ledger keeps the last run of each job across restarts.
type Ledger interface {
	// Runs returns the record of every job that has one.
	Runs() ([]Run, error)

	// Record replaces the record of r.Job. It is called concurrently, for different jobs, and is
	// expected to return within seconds; it is not cancelled when the scheduler stops.
	Record(ctx context.Context, r Run) error
}
