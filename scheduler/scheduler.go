package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// keyError is the key of log attributes with an error.
const keyError = "error"

// Scheduler runs jobs. Its methods are safe for concurrent use, also from within a job.
type Scheduler struct {
	log    *slog.Logger
	ledger Ledger
	now    func() time.Time // wall clock in UTC without a monotonic reading; see heartbeat

	wake chan struct{}  // capacity 1; makes Run check again
	runs sync.WaitGroup // runs in progress; only Run's goroutine adds

	mu      sync.Mutex // protects the fields below
	tasks   map[string]*task
	jobs    []*task // the listed ones, in the given order
	loaded  bool    // the ledger has been read
	started bool    // Run has been called
}

// New returns a scheduler of jobs. Nothing runs until Run. Names should be unique: of several jobs with one
// name the last is used, and the log says so.
func New(log *slog.Logger, l Ledger, jobs ...Job) *Scheduler {
	s := &Scheduler{
		log:    log,
		ledger: l,
		now:    func() time.Time { return time.Now().UTC().Round(0) },
		wake:   make(chan struct{}, 1),
		tasks:  make(map[string]*task),
	}
	s.list(jobs, time.Time{})
	return s
}

// Run runs the jobs until ctx is done and returns when every run in progress has ended. It can be called once;
// a second call is its only error.
func (s *Scheduler) Run(ctx context.Context) error {
	if err := s.start(); err != nil {
		return err
	}
	defer s.runs.Wait()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		if ctx.Err() != nil { // select picks at random: the timer may have won
			return nil
		}
		s.recordNew(ctx)
		timer.Reset(s.step(ctx))
	}
}

// Replace replaces the jobs. Runs in progress finish first; a job of the same name does not begin another run
// before that. A job that stays keeps its record and the run it is owed. Its new schedule counts from now.
func (s *Scheduler) Replace(jobs ...Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.started {
		s.settle(now)
	}
	s.list(jobs, now)
	s.wakeUp()
}

// Planned is the current state of a job.
type Planned struct {
	Job     string
	Spec    string
	Last    Run       // Started is zero before the first run; Missed includes times missed since
	Running bool      // Last is in progress
	Next    time.Time // in the schedule's zone; zero if it is never due
}

// Plan lists the jobs in the given order. Before Run it answers from the ledger, so that a process that only
// reads sees what the next start will do.
func (s *Scheduler) Plan() []Planned {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		s.load()
	}
	plan := make([]Planned, 0, len(s.jobs))
	for _, t := range s.jobs {
		seen := *t
		if !s.started {
			seen.resume(s.now())
		}
		p := Planned{Job: seen.Name, Spec: seen.Schedule.String(), Last: seen.last, Running: seen.running, Next: seen.next()}
		p.Last.Missed = seen.missed
		plan = append(plan, p)
	}
	return plan
}

func (s *Scheduler) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started {
		return errors.New("the scheduler was already run")
	}
	s.load()
	s.started = true
	now := s.now()
	for _, t := range s.jobs {
		s.logMissed(t, t.resume(now))
		if scheduled := t.owed.Started; !scheduled.IsZero() {
			s.log.Info("a run missed or interrupted before the start is being caught up", "job", t.Name, "scheduled", scheduled)
		}
	}
	return nil
}

// load reads the ledger once. If that fails, the jobs are treated as new.
func (s *Scheduler) load() {
	if s.loaded {
		return
	}
	runs, err := s.ledger.Runs()
	if err != nil {
		s.log.Error("cannot read the record of past runs; runs missed while the process was down are not counted", keyError, err)
		return
	}
	for _, r := range runs {
		t := s.task(r.Job)
		t.last, t.missed = r, r.Missed
	}
	s.loaded = true
}

// task returns the task of that name and creates it if needed.
func (s *Scheduler) task(name string) *task {
	t := s.tasks[name]
	if t == nil {
		t = &task{Job: Job{Name: name}}
		s.tasks[name] = t
	}
	return t
}

// list replaces the listed jobs.
func (s *Scheduler) list(jobs []Job, now time.Time) {
	before := s.jobs
	s.jobs = nil
	for _, j := range jobs {
		t := s.task(j.Name)
		if slices.Contains(s.jobs, t) {
			s.log.Error("two jobs have the same name; using the last", "job", j.Name)
		} else {
			s.jobs = append(s.jobs, t)
		}
		t.enlist(j, now)
	}
	for _, t := range before {
		if !slices.Contains(s.jobs, t) {
			t.dismiss()
		}
	}
}

// recordNew records jobs that have no record, so that they can miss runs from now on. It runs before their first
// run and on the same goroutine, so that it cannot overwrite that run's record.
func (s *Scheduler) recordNew(ctx context.Context) {
	for _, r := range s.newJobs() {
		s.record(ctx, r)
	}
}

// newJobs returns the first records of jobs that have none. It returns none if the ledger could not be read:
// a record may exist there and must not be overwritten before a run.
func (s *Scheduler) newJobs() []Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loaded {
		return nil
	}
	var seen []Run
	for _, t := range s.jobs {
		if t.last == (Run{}) {
			t.last = Run{Job: t.Name, Finished: t.mark}
			seen = append(seen, t.last)
		}
	}
	return seen
}

// step begins every run that is due and returns how long to sleep.
func (s *Scheduler) step(ctx context.Context) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.settle(now)
	sleep := heartbeat
	for _, t := range s.jobs {
		if r, ok := t.begin(); ok {
			j := t.Job // Replace may change t.Job during the run
			s.runs.Go(func() { s.perform(ctx, t, j, r) })
		}
		if next := t.next(); !next.IsZero() {
			sleep = min(sleep, next.Sub(now))
		}
	}
	return sleep
}

func (s *Scheduler) settle(now time.Time) {
	for _, t := range s.jobs {
		s.logMissed(t, t.settle(now))
	}
}

// logMissed logs missed times. A job that is slower than its schedule misses times regularly, so those are
// only logged at debug level.
func (s *Scheduler) logMissed(t *task, missed uint64) {
	switch {
	case missed == 0:
	case t.running:
		s.log.Debug("the job is due while its previous run is in progress", "job", t.Name, "missed", missed, "catch_up", t.CatchUp)
	default:
		s.log.Warn("runs were missed", "job", t.Name, "missed", missed, "catch_up", t.CatchUp)
	}
}

// perform executes one run of t. j is the job as it was when the run began.
func (s *Scheduler) perform(ctx context.Context, t *task, j Job, r Run) {
	s.record(ctx, r)
	err := do(ctx, j, r.Started)
	log := s.log.With("job", j.Name, "scheduled", r.Started)
	if err != nil && ctx.Err() != nil {
		log.Info("the stop interrupted the run; it is repeated at the next start", keyError, err)
		s.finish(t, r)
		return
	}
	if err != nil {
		log.Error("the run failed", keyError, err)
	}
	r.end(s.now(), err)
	s.record(ctx, r)
	log.Debug("the run ended", "missed_ever", r.Missed)
	s.finish(t, r)
}

// do calls the job and returns a panic as an error.
func do(ctx context.Context, j Job, scheduled time.Time) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Failure{CodePanic, fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
		}
	}()
	return j.Do(ctx, scheduled)
}

func (s *Scheduler) finish(t *task, r Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.last, t.running = r, false
	s.wakeUp()
}

// record writes to the ledger, also while stopping. A completed run that is not recorded would be repeated.
func (s *Scheduler) record(ctx context.Context, r Run) {
	if err := s.ledger.Record(context.WithoutCancel(ctx), r); err != nil {
		s.log.Error("cannot record the run; after a restart it may be repeated, or missed runs may not be counted", "job", r.Job, keyError, err)
	}
}

// wakeUp makes Run check again.
func (s *Scheduler) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
