package scheduler

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Run is one run of a job, and what a [Ledger] keeps of each job: the one that began last, and how the
// last one ended.
type Run struct {
	Job string

	// Started is the time of the schedule that the run stands for, or, of one that was triggered, the
	// time it began. Zero: the job has never run; Finished tells when it was first seen.
	Started time.Time

	// Finished is when the run ended, well or not; see FailedAt. Zero: it is under way, or was cut off.
	Finished time.Time

	// Missed counts the times of the schedule, up to Started and ever, at which no run of their own began.
	Missed uint64

	// Failed counts the runs that ended with an error, ever.
	Failed uint64

	// FailedAt is when the last run that ended did so with an error. Zero: it ended well, or none has
	// ended. A run under way keeps the failure of the one before, until it ends itself.
	FailedAt time.Time
	Code     string // of that error, see Failure
	Error    string // its first line
}

// Codes of failures that do not bring one of their own.
const (
	CodeFailed = "failed"
	CodePanic  = "panic"
)

// Failure is an error of a run with the code under which it is recorded. An error without one is
// recorded as CodeFailed.
type Failure struct {
	Code string
	Err  error
}

func (f *Failure) Error() string { return f.Err.Error() }

func (f *Failure) Unwrap() error { return f.Err }

// mostError bounds the text of an error that is recorded.
const mostError = 1000

// end closes the record of a run that ended with err, or well.
func (r *Run) end(now time.Time, err error) {
	r.Finished = now
	r.FailedAt, r.Code, r.Error = time.Time{}, "", ""
	if err == nil {
		return
	}
	r.Failed++
	r.FailedAt, r.Code = now, CodeFailed
	if f := (*Failure)(nil); errors.As(err, &f) {
		r.Code = f.Code
	}
	r.Error, _, _ = strings.Cut(err.Error(), "\n")
	r.Error = strings.ToValidUTF8(r.Error[:min(len(r.Error), mostError)], "")
}

// inherit takes over what is known of the runs before this one.
func (r *Run) inherit(last Run) {
	r.Failed, r.FailedAt, r.Code, r.Error = last.Failed, last.FailedAt, last.Code, last.Error
}

// Ledger keeps the last run of each job across restarts.
type Ledger interface {
	// Runs returns the record of every job that has one.
	Runs() ([]Run, error)

	// Record replaces the record of r.Job. It is called concurrently, for different jobs, and is
	// expected to return within seconds; it is not cancelled when the scheduler stops.
	Record(ctx context.Context, r Run) error
}
