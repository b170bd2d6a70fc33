package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"personasync/agent/config"
	"personasync/agent/inspect"
	"personasync/scheduler"
	"personasync/store"
)

// jobs returns one scheduled job for each schedule of c by which changes leave: the default one unless
// it is real time, and one for each computation with its own.
func jobs(c *config.Config, s *senders) ([]scheduler.Job, error) {
	var list []scheduler.Job
	add := func(name, job, spec string) error {
		schedule, err := scheduler.Parse(spec, c.Location())
		if err != nil {
			return fmt.Errorf("schedule of %s: %w", name, err)
		}
		list = append(list, scheduler.Job{
			Name: name, Schedule: schedule,
			CatchUp: c.Schedule.CatchUp == "once",
			Do:      drain(s, job),
		})
		return nil
	}
	if c.Schedule.Mode == "cron" {
		if err := add(inspect.DefaultJob, "", c.Schedule.Cron); err != nil {
			return nil, err
		}
	}
	for i := range c.Computations {
		own := &c.Computations[i]
		if own.Schedule == "" {
			continue
		}
		if err := add(own.Name(), own.Name(), own.Schedule); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// jobs returns every job of c: those that let changes leave, and the verification.
func (p *process) jobs(c *config.Config) ([]scheduler.Job, error) {
	list, err := jobs(c, p.senders)
	if err != nil {
		return nil, err
	}
	verify, err := p.verifier.job(c.Verify.Schedule, c.Location(), func() int { return p.config.Load().Verify.Sample })
	return append(list, verify...), err
}

// drain is a run of a job: it lets leave what was received until its time, and waits until none of it is left,
// however long MoEngage is away.
func drain(s *senders, job string) func(context.Context, time.Time) error {
	return func(ctx context.Context, scheduled time.Time) error {
		return s.drain(ctx, job, scheduled)
	}
}

// nextFlush is the earliest planned run that lets changes leave; zero when none is.
func nextFlush(plan []scheduler.Planned) (next time.Time) {
	for _, p := range plan {
		if p.Job != verifyJob && !p.Next.IsZero() && (next.IsZero() || p.Next.Before(next)) {
			next = p.Next
		}
	}
	return next
}

// schedules are those by which changes leave, by job of the store.
func schedules(c *config.Config, s *senders) map[string]scheduler.Schedule {
	list, err := jobs(c, s)
	if err != nil {
		return nil // such a configuration is not in force
	}
	byJob := make(map[string]scheduler.Schedule, len(list))
	for _, j := range list {
		name := j.Name
		if name == inspect.DefaultJob {
			name = ""
		}
		byJob[name] = j.Schedule
	}
	return byJob
}

// grown is a counter that conditions speak of while it grew lately. Its methods may be called concurrently.
type grown struct {
	mu    sync.Mutex
	count uint64
	at    time.Time // when it was seen to grow
}

// lately reports whether count grew within the last hour.
func (g *grown) lately(count uint64, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if count > g.count {
		g.at = now
	}
	g.count = count
	return !g.at.IsZero() && now.Sub(g.at) < time.Hour
}

// missedRuns are the missed runs of each job.
type missedRuns struct {
	mu   sync.Mutex
	jobs map[string]*grown
}

// begin takes over what was missed before the last stop.
func (m *missedRuns) begin(runs []scheduler.Run) {
	m.jobs = make(map[string]*grown, len(runs))
	for _, r := range runs {
		m.jobs[r.Job] = &grown{count: r.Missed}
	}
}

// lately lists the jobs that missed a run in the last hour. A job that was never seen before has missed
// nothing yet.
func (m *missedRuns) lately(plan []scheduler.Planned, now time.Time) (jobs []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range plan {
		g := m.jobs[p.Job]
		if g == nil {
			g = &grown{count: p.Last.Missed}
			m.jobs[p.Job] = g
		}
		if g.lately(p.Last.Missed, now) {
			jobs = append(jobs, p.Job)
		}
	}
	return jobs
}

// ledger keeps the scheduler's runs in the store.
type ledger struct{ store *store.Store }

// Runs implements scheduler.Ledger.
func (l ledger) Runs() ([]scheduler.Run, error) {
	return runsOf(&l.store.View)
}

func runsOf(v *store.View) ([]scheduler.Run, error) {
	kept, err := v.JobRuns()
	if err != nil {
		return nil, err
	}
	runs := make([]scheduler.Run, len(kept))
	for i, r := range kept {
		runs[i] = scheduler.Run(r)
	}
	return runs, nil
}

// Record implements scheduler.Ledger.
func (l ledger) Record(ctx context.Context, r scheduler.Run) error {
	return l.store.SetJobRun(ctx, store.JobRun(r))
}

// livePlan is the plan of the running agent.
func (p *process) livePlan(*store.View) ([]inspect.Planned, error) {
	list, err := p.jobs(p.config.Load())
	return inspect.NewPlan(list, p.scheduler.Plan()), err
}

// filedPlan is what the next start of the agent of c would find.
func filedPlan(c *config.Config) func(v *store.View) ([]inspect.Planned, error) {
	return func(v *store.View) ([]inspect.Planned, error) {
		p := &process{verifier: &verifier{}}
		list, err := p.jobs(c)
		if err != nil {
			return nil, err
		}
		return inspect.NewPlan(list, scheduler.New(slog.New(slog.DiscardHandler), storedRuns{v}, list...).Plan()), nil
	}
}

// storedRuns is the ledger of who only looks.
type storedRuns struct{ *store.View }

// Runs implements scheduler.Ledger.
func (r storedRuns) Runs() ([]scheduler.Run, error) { return runsOf(r.View) }

// Record implements scheduler.Ledger; a plan records nothing.
func (storedRuns) Record(context.Context, scheduler.Run) error { return nil }
