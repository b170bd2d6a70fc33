package agent

import (
	"context"
	"log/slog"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/scheduler"
	"personasync/store"
)

// failedJobs lists those of a plan whose last run that ended failed.
func failedJobs(all []planned) []condition.FailedJob {
	failed := []condition.FailedJob{}
	for i := range all {
		if last := &all[i].Last; !last.FailedAt.IsZero() {
			failed = append(failed, condition.FailedJob{Job: all[i].Job, FailedAt: condition.Timestamp(last.FailedAt), Code: last.Code, Error: last.Error, Failed: last.Failed})
		}
	}
	return failed
}

// planned is a plan, and how each of its jobs goes on.
type planned struct {
	scheduler.Planned
	schedule scheduler.Schedule
	catchUp  bool
}

// plan joins what a scheduler says with the jobs it was given.
func plan(list []scheduler.Job, seen []scheduler.Planned) []planned {
	byName := make(map[string]scheduler.Job, len(list))
	for _, j := range list {
		byName[j.Name] = j
	}
	all := make([]planned, len(seen))
	for i, p := range seen {
		all[i] = planned{p, byName[p.Job].Schedule, byName[p.Job].CatchUp}
	}
	return all
}

// livePlan is the plan of the running agent.
func (p *process) livePlan(*store.View) ([]planned, error) {
	list, err := p.jobs(p.config.Load())
	return plan(list, p.scheduler.Plan()), err
}

// filedPlan is what the next start of the agent of c would find.
func filedPlan(c *config.Config) func(v *store.View) ([]planned, error) {
	return func(v *store.View) ([]planned, error) {
		p := &process{verifier: &verifier{}}
		list, err := p.jobs(c)
		if err != nil {
			return nil, err
		}
		return plan(list, scheduler.New(slog.New(slog.DiscardHandler), storedRuns{v}, list...).Plan()), nil
	}
}

// storedRuns is the ledger of who only looks.
type storedRuns struct{ *store.View }

// Runs implements scheduler.Ledger.
func (r storedRuns) Runs() ([]scheduler.Run, error) { return runsOf(r.View) }

// Record implements scheduler.Ledger; a plan records nothing.
func (storedRuns) Record(context.Context, scheduler.Run) error { return nil }

// Schedule implements Inspector.
func (l *Local) Schedule(ctx context.Context, next int) (jobs []api.JobInfo, err error) {
	err = l.look(ctx, func(v *store.View) error {
		all, err := l.plan(v)
		for _, p := range all {
			jobs = append(jobs, p.info(min(next, api.MaxNext)))
		}
		return err
	})
	return condition.Whole(jobs), err
}

func (p *planned) info(next int) api.JobInfo {
	info := api.JobInfo{
		Job: p.Job, Spec: p.Spec, Running: p.Running, Missed: p.Last.Missed, CatchUp: p.catchUp,
		Last: condition.Timestamp(p.Last.Started), Next: []string{}, NextUTC: []string{},
		Failed: p.Last.Failed, FailedAt: condition.Timestamp(p.Last.FailedAt), Code: p.Last.Code, Error: p.Last.Error,
	}
	if !p.Last.Started.IsZero() {
		info.Finished = condition.Timestamp(p.Last.Finished)
	}
	for at := p.Next; !at.IsZero() && len(info.Next) < next; at = p.schedule.Next(at) {
		info.Zone = at.Location().String()
		info.Next = append(info.Next, at.Format(time.RFC3339))
		info.NextUTC = append(info.NextUTC, condition.Timestamp(at))
	}
	return info
}
