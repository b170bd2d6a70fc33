package scheduler

import (
	"context"
	"time"
)

// heartbeat is the longest sleep. Timers stand still while a host is suspended and do not notice a
// changed clock, so the wall clock is read at least this often.
const heartbeat = time.Minute

// onTime is how late a run may begin and still be its time's own run rather than a missed one: a
// heartbeat for a host that was just resumed, and as much again for a busy one.
const onTime = 2 * heartbeat

// memory is how far back missed times are counted: a year of minutes takes a fraction of a second,
// while a clock that starts at 1970 and is then put right would have half a century of them.
const memory = 366 * 24 * time.Hour

// Job is something to be done at the times of a schedule, and on demand.
type Job struct {
	// Name identifies the job, in the ledger too.
	Name string

	// Schedule is when to run it. With the zero Schedule it runs only when triggered.
	Schedule Schedule

	// CatchUp runs the job once after times were missed; else they are only counted. A time that is
	// noticed within two minutes, as after a short suspension, is not missed: it runs late.
	CatchUp bool

	// Do does the job. scheduled is the time of the schedule that the run stands for (of several missed
	// ones the last), or, when it was triggered, the time it begins. It must return soon after ctx is
	// done: an error then means that the work was cut off, and is to be run again at the next start.
	// Any other error, and a panic, is logged and recorded (see [Run] and [Failure]), and ends the run.
	Do func(ctx context.Context, scheduled time.Time) error
}

// task is a job and what the scheduler knows of it. The scheduler's mutex covers it.
type task struct {
	Job

	listed  bool      // it is one of the present jobs; else it is remembered for its record only
	running bool      // a run is under way
	asked   bool      // a run was asked for and has not begun
	owed    Run       // the run to begin next, as it will be recorded; Started is zero if there is none
	last    Run       // the last run that began, as the ledger has it; zero before the job was first seen
	mark    time.Time // the schedule is settled up to here; zero until the scheduler runs
	missed  uint64    // times missed up to mark, ever
}

// resume takes the job up where the ledger left it: a run that was cut off is owed again, and every
// time since is a missed one. A job without a record owes nothing.
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

// settle looks at the times that came since the last look. One that is on time is owed a run; the
// others are missed.
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

// advance moves the mark to now, and returns how many times of the schedule it passed, and the last.
//
// A clock that was put back by no more than a heartbeat is waited for, so that its correction by
// seconds repeats no run. Beyond that the mark goes back with it: a job must not stand still until a
// year that was set by mistake.
func (t *task) advance(now time.Time) (n uint64, scheduled time.Time) {
	if t.mark.After(now) {
		if t.mark.Sub(now) > heartbeat {
			t.mark = now
		}
		return 0, time.Time{}
	}
	n, scheduled = t.Schedule.between(latest(t.mark, now.Add(-memory)), now)
	t.mark = now
	return n, scheduled
}

func (t *task) miss(n uint64, scheduled time.Time) {
	t.missed += n
	if n > 0 && t.CatchUp {
		t.owe(scheduled)
	}
}

// owe notes the run that answers for everything up to scheduled, taking the place of an earlier one.
func (t *task) owe(scheduled time.Time) {
	t.owed = Run{Job: t.Name, Started: scheduled, Missed: t.missed}
}

// begin takes the run that is to start now, if there is one. The job must be settled up to now.
func (t *task) begin(now time.Time) (r Run, ok bool) {
	if t.asked {
		t.owe(now)
	}
	if t.running || t.owed.Started.IsZero() {
		return Run{}, false
	}
	r = t.owed
	r.inherit(t.last)
	t.owed, t.asked = Run{}, false
	t.last, t.running = r, true
	return r, true
}

// next is the first time of the schedule that is not settled yet.
func (t *task) next() time.Time { return t.Schedule.Next(t.mark) }

// enlist makes the job one of the present ones from now on.
func (t *task) enlist(j Job, now time.Time) {
	if !t.listed {
		t.mark = now
	}
	t.Job, t.listed = j, true
}

// dismiss takes the job away, with what it is owed.
func (t *task) dismiss() {
	t.listed, t.asked, t.owed = false, false, Run{}
}
