package scheduler

import (
	"context"
	"time"
)

// heartbeat is the longest sleep. Timers stop while a host is suspended and ignore changes of the clock, so the
// wall clock is read at least this often.
const heartbeat = time.Minute

// onTime is how late a run may begin without its time counting as missed: one heartbeat for a host that just
// resumed, and one for a busy host.
const onTime = 2 * heartbeat

// maxLookBack limits how far back missed times are counted. Counting a year of minutes takes a fraction of a second.
// A clock that starts at 1970 and is then corrected would give half a century of them.
const maxLookBack = 366 * 24 * time.Hour

// Job is a function to run at the times of a schedule.
type Job struct {
	// Name identifies the job, also in the ledger.
	Name string

	// Schedule is when to run the job. With the zero Schedule it never runs.
	Schedule Schedule

	// CatchUp makes one run follow missed times. Otherwise they are only counted. A time noticed within two
	// minutes, as after a short suspension, is not missed: its run starts late.
	CatchUp bool

	// Do runs the job. scheduled is the scheduled time that the run stands for: the last one, if it catches up
	// several. Do must return soon after ctx is done. An
	// error returned then means that the run was interrupted, and it is run again at the next start. Any other
	// error, and a panic, ends the run and is logged and recorded (see [Run] and [Failure]).
	Do func(ctx context.Context, scheduled time.Time) error
}

// task is a job with its state. Scheduler.mu protects it.
type task struct {
	Job

	listed  bool      // in the current configuration; otherwise kept for its record only
	running bool      // a run is in progress
	owed    Run       // the run to begin next, as it will be recorded; Started is zero if there is none
	last    Run       // the last run that began, as the ledger has it; zero before the job was first seen
	mark    time.Time // times up to here are settled; zero until the scheduler runs
	missed  uint64    // total of missed times up to mark
}

// resume restores the job from its ledger record. An interrupted run is owed again, and every time since then
// is missed. A job without a record owes nothing.
func (t *task) resume(now time.Time) (missed uint64) {
	switch {
	case t.last == Run{}:
		t.mark = now
		return 0
	case t.last.Started.IsZero():
		t.mark = t.last.Finished
	default:
		t.mark = t.last.Started
	}
	if t.last.Finished.IsZero() {
		t.owed = t.last
	}
	n, scheduled := t.advance(now)
	t.miss(n, scheduled)
	return n
}

// settle handles the times since the last call. A time that is on time is owed a run; the others are missed.
func (t *task) settle(now time.Time) (missed uint64) {
	n, scheduled := t.advance(now)
	switch {
	case n == 0:
		return 0
	case t.running || now.Sub(scheduled) > onTime:
		t.miss(n, scheduled)
		return n
	default:
		t.missed += n - 1
		t.owe(scheduled)
		return n - 1
	}
}

// advance moves mark to now. It returns how many scheduled times it passed and the last of them.
//
// If the clock went back by at most a heartbeat, mark stays, so that a small correction repeats no run. If it
// went back further, mark follows it. Otherwise a job would wait for a year that was set by mistake.
func (t *task) advance(now time.Time) (n uint64, scheduled time.Time) {
	if t.mark.After(now) {
		if t.mark.Sub(now) > heartbeat {
			t.mark = now
		}
		return 0, time.Time{}
	}
	n, scheduled = t.Schedule.between(latest(t.mark, now.Add(-maxLookBack)), now)
	t.mark = now
	return n, scheduled
}

func (t *task) miss(n uint64, scheduled time.Time) {
	t.missed += n
	if n > 0 && t.CatchUp {
		t.owe(scheduled)
	}
}

// owe sets the run that covers every time up to scheduled. It replaces an earlier one.
func (t *task) owe(scheduled time.Time) {
	t.owed = Run{Job: t.Name, Started: scheduled, Missed: t.missed}
}

// begin takes the run to start, if there is one. The job must be settled up to now.
func (t *task) begin() (r Run, ok bool) {
	if t.running || t.owed.Started.IsZero() {
		return Run{}, false
	}
	r = t.owed
	r.inherit(t.last)
	t.owed = Run{}
	t.last, t.running = r, true
	return r, true
}

// next returns the first scheduled time that is not settled yet.
func (t *task) next() time.Time { return t.Schedule.Next(t.mark) }

// enlist adds the job to the configuration from now on.
func (t *task) enlist(j Job, now time.Time) {
	if !t.listed {
		t.mark = now
	}
	t.Job, t.listed = j, true
}

// dismiss removes the job from the configuration, and the run it is owed.
func (t *task) dismiss() {
	t.listed, t.owed = false, Run{}
}
