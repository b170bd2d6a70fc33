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

// Scheduler runs jobs. Its methods may be called concurrently, by the jobs too.
type Scheduler struct {
	log    *slog.Logger
	ledger Ledger
	now    func() time.Time // the wall clock in UTC, without a monotonic reading: see heartbeat

	wake chan struct{}  // capacity 1: something changed, look again
	runs sync.WaitGroup // runs under way; only Run's goroutine adds

	mu      sync.Mutex // covers what follows
	tasks   map[string]*task
	jobs    []*task // the listed ones, in the order given
	loaded  bool    // the ledger has been read
	started bool    // Run has been called
}

// New makes a scheduler of jobs; nothing happens until Run. Names are expected to be unique: of
// several jobs with one name the last counts, and the log says so.
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

// Run runs the jobs until ctx is done, and returns once every run has. It can be called once; a
// further call is the only error.
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
		if ctx.Err() != nil { // select is fair: it may have seen the timer first
			return nil
		}
		s.greet(ctx)
		timer.Reset(s.step(ctx))
	}
}

// Trigger asks for a run of the job as soon as no other run of it is under way. Requests that come
// before that run begins are answered by it as well. It reports whether there is such a job.
func (s *Scheduler) Trigger(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[name]
	if t == nil || !t.listed {
		return false
	}
	t.asked = true
	s.rouse()
	return true
}

// Replace puts jobs in the place of the present ones. Runs under way finish, and a job of the same
// name does not begin another before that. A job that stays keeps its record and what it is owed; its
// new schedule counts from now.
func (s *Scheduler) Replace(jobs ...Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.started {
		s.settle(now)
	}
	s.list(jobs, now)
	s.rouse()
}

// Planned is a job as the scheduler sees it now.
type Planned struct {
	Job     string
	Spec    string
	Last    Run       // Started is zero before the first run; Missed includes what was missed since
	Running bool      // Last is under way
	Next    time.Time // in the schedule's zone; zero if the job only runs on demand
}

// Plan lists the jobs in the order they were given. Before Run it answers from the ledger, so that a
// process that only wants to look sees what the next start will find.
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
		return errors.New("the scheduler has been run before")
	}
	s.load()
	s.started = true
	now := s.now()
	for _, t := range s.jobs {
		s.tellMissed(t, t.resume(now))
		if scheduled := t.owed.Started; !scheduled.IsZero() {
			s.log.Info("a run from before the start is made up for", "job", t.Name, "scheduled", scheduled)
		}
	}
	return nil
}

// load reads the ledger, once. If it cannot be read, the jobs are as if first seen.
func (s *Scheduler) load() {
	if s.loaded {
		return
	}
	runs, err := s.ledger.Runs()
	if err != nil {
		s.log.Error("the record of past runs cannot be read; runs missed while down are not known", "err", err)
		return
	}
	for _, r := range runs {
		t := s.task(r.Job)
		t.last, t.missed = r, r.Missed
	}
	s.loaded = true
}

// task is what is known of the job of that name.
func (s *Scheduler) task(name string) *task {
	t := s.tasks[name]
	if t == nil {
		t = &task{Job: Job{Name: name}}
		s.tasks[name] = t
	}
	return t
}

// list makes jobs the present ones.
func (s *Scheduler) list(jobs []Job, now time.Time) {
	before := s.jobs
	s.jobs = nil
	for _, j := range jobs {
		t := s.task(j.Name)
		if slices.Contains(s.jobs, t) {
			s.log.Error("two jobs have one name; the last counts", "job", j.Name)
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

// greet records the jobs that were never seen before, so that from now on they can miss a run. It
// happens ahead of their first run and on the same goroutine, lest it overwrite that one's record.
func (s *Scheduler) greet(ctx context.Context) {
	for _, r := range s.strangers() {
		s.record(ctx, r)
	}
}

// strangers are the first records of jobs that have none. While the ledger could not be read nobody is
// known to be a stranger, and the record that may be there is not to be overwritten before a run.
func (s *Scheduler) strangers() []Run {
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

// step begins every run that is due, and returns how long to sleep.
func (s *Scheduler) step(ctx context.Context) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.settle(now)
	sleep := heartbeat
	for _, t := range s.jobs {
		if r, ok := t.begin(now); ok {
			j := t.Job // t may be given another while the run is under way
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
		s.tellMissed(t, t.settle(now))
	}
}

// tellMissed logs missed times. A job that is slower than its schedule misses one after the other, and
// the run that takes so long is somebody else's news.
func (s *Scheduler) tellMissed(t *task, missed uint64) {
	switch {
	case missed == 0:
	case t.running:
		s.log.Debug("the job is due while its last run is under way", "job", t.Name, "missed", missed, "catch_up", t.CatchUp)
	default:
		s.log.Warn("runs were missed", "job", t.Name, "missed", missed, "catch_up", t.CatchUp)
	}
}

// perform makes one run of t as j, the job that it was when the run began.
func (s *Scheduler) perform(ctx context.Context, t *task, j Job, r Run) {
	s.record(ctx, r)
	err := do(ctx, j, r.Started)
	log := s.log.With("job", j.Name, "scheduled", r.Started)
	if err != nil && ctx.Err() != nil {
		log.Info("the run was cut off by the stop; it is run again at the next start", "err", err)
		s.finish(t, r)
		return
	}
	if err != nil {
		log.Error("the run failed", "err", err)
	}
	r.end(s.now(), err)
	s.record(ctx, r)
	log.Debug("the run is over", "missed_ever", r.Missed)
	s.finish(t, r)
}

// do makes an error of a panic.
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
	s.rouse()
}

// record writes to the ledger, also while stopping: what has been done must not be done again.
func (s *Scheduler) record(ctx context.Context, r Run) {
	if err := s.ledger.Record(context.WithoutCancel(ctx), r); err != nil {
		s.log.Error("a run cannot be recorded; after a restart it may be repeated, or a missed one not be known", "job", r.Job, "err", err)
	}
}

// rouse has Run look again.
func (s *Scheduler) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
