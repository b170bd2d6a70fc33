package scheduler

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Run is the record of one run. A [Ledger] keeps one for each job: the run that began last, with the outcome of
// the last run that ended.
type Run struct {
	Job string

	// Started is the scheduled time that the run stands for.
	// Zero means that the job has never run; Finished is then the time it was first seen.
	Started time.Time

	// Finished is when the run ended, successfully or not; see FailedAt. Zero means in progress or interrupted.
	Finished time.Time

	// Missed is the total number of scheduled times up to Started for which no run began.
	Missed uint64

	// Failed is the total number of runs that ended with an error.
	Failed uint64

	// FailedAt is when the last finished run failed. Zero means that it succeeded, or that none has finished. A
	// run in progress keeps the failure of the previous run until it ends.
	FailedAt time.Time
	Code     string // its code, see Failure
	Error    string // its first line
}

// Codes recorded for failures that have no code of their own.
const (
	CodeFailed = "failed"
	CodePanic  = "panic"
)

// Failure is an error of a run with the code to record. An error that is not a Failure is recorded as
// CodeFailed.
type Failure struct {
	Code string
	Err  error
}

// Error returns the text of Err.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns Err.
func (f *Failure) Unwrap() error { return f.Err }

// maxError is the largest length in bytes of a recorded error text.
const maxError = 1000

// end completes the record of a run. A nil err means success.
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
	r.Error = strings.ToValidUTF8(r.Error[:min(len(r.Error), maxError)], "")
}

// inherit copies the outcome of earlier runs into this record.
func (r *Run) inherit(last Run) {
	r.Failed, r.FailedAt, r.Code, r.Error = last.Failed, last.FailedAt, last.Code, last.Error
}

// Ledger stores the last run of each job across restarts.
type Ledger interface {
	// Runs returns the record of every job that has one.
	Runs() ([]Run, error)

	// Record replaces the record of r.Job. Calls for different jobs are concurrent. It should return within
	// seconds. Its context is not cancelled when the scheduler stops.
	Record(ctx context.Context, r Run) error
}
