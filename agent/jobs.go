package agent

import (
	"context"
	"log/slog"
	"time"

	"personasync/agent/backup"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/agent/inspect"
	"personasync/agent/sending"
	"personasync/agent/verify"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
)

// jobs returns every job of c for the running agent.
func (p *parts) jobs(c *config.Config) ([]scheduler.Job, error) {
	return jobsOf(c, p.senders, p.keeper, p.verifier, func() int { return p.config.Load().Verify.Sample })
}

// jobsOf returns every job of c: the schedules by which changes leave, the backup and the verification. A run of a schedule sends the
// changes received until its time, and ends when none of them is left, however long MoEngage is unavailable.
func jobsOf(c *config.Config, s *sending.Senders, k *backup.Keeper, v *verify.Verifier, sample func() int) ([]scheduler.Job, error) {
	all, err := sending.Schedules(c)
	if err != nil {
		return nil, err
	}
	var list []scheduler.Job
	for _, one := range all {
		list = append(list, scheduler.Job{
			Name: sending.JobTitle(one.Job), Schedule: one.Schedule,
			CatchUp: c.Schedule.CatchUp == "once",
			Do:      func(ctx context.Context, scheduled time.Time) error { return s.Drain(ctx, one.Job, scheduled) },
		})
	}
	backups, err := k.Jobs(c)
	if err != nil {
		return nil, err
	}
	list = append(list, backups...)
	verify, err := v.Jobs(c.Verify.Schedule, c.Location(), sample)
	return append(list, verify...), err
}

// nextFlush is the earliest planned run of a schedule by which changes leave; zero without one.
func nextFlush(plan []scheduler.Planned) (next time.Time) {
	for _, p := range plan {
		if p.Job != verify.Job && p.Job != condition.BackupJob {
			next = domain.Sooner(next, p.Next)
		}
	}
	return next
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
func (p *parts) livePlan(*store.View) ([]inspect.Planned, error) {
	list, err := p.jobs(p.config.Load())
	return inspect.NewPlan(list, p.scheduler.Plan()), err
}

// filedPlan is the plan that the next start of the agent of c would make.
func filedPlan(c *config.Config) func(v *store.View) ([]inspect.Planned, error) {
	return func(v *store.View) ([]inspect.Planned, error) {
		list, err := jobsOf(c, nil, nil, nil, nil)
		if err != nil {
			return nil, err
		}
		return inspect.NewPlan(list, scheduler.New(slog.New(slog.DiscardHandler), storedRuns{v}, list...).Plan()), nil
	}
}

// storedRuns is a ledger that only reads.
type storedRuns struct{ *store.View }

// Runs implements scheduler.Ledger.
func (r storedRuns) Runs() ([]scheduler.Run, error) { return runsOf(r.View) }

// Record implements scheduler.Ledger; a plan records nothing.
func (storedRuns) Record(context.Context, scheduler.Run) error { return nil }
