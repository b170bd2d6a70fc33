package inspect

import (
	"context"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
)

// failedJobs lists the jobs whose last completed run failed.
func failedJobs(all []Planned) []condition.FailedJob {
	failed := []condition.FailedJob{}
	for i := range all {
		if last := &all[i].Last; !last.FailedAt.IsZero() {
			failed = append(failed, condition.FailedJob{Job: all[i].Job, FailedAt: domain.Timestamp(last.FailedAt), Code: last.Code, Error: last.Error, Failed: last.Failed})
		}
	}
	return failed
}

// Planned is a scheduled job, with the schedule of its next runs.
type Planned struct {
	scheduler.Planned
	Schedule scheduler.Schedule
	CatchUp  bool
}

// NewPlan joins the plan of a scheduler with the jobs that it has.
func NewPlan(list []scheduler.Job, seen []scheduler.Planned) []Planned {
	byName := make(map[string]scheduler.Job, len(list))
	for _, j := range list {
		byName[j.Name] = j
	}
	all := make([]Planned, len(seen))
	for i, p := range seen {
		all[i] = Planned{p, byName[p.Job].Schedule, byName[p.Job].CatchUp}
	}
	return all
}

// Schedule implements Inspector.
func (l *Local) Schedule(ctx context.Context, next int) (jobs []api.JobInfo, err error) {
	err = l.look(ctx, func(v *store.View) error {
		all, err := l.from.Plan(v)
		for _, p := range all {
			jobs = append(jobs, p.info(min(next, api.MaxNext)))
		}
		return err
	})
	return condition.Whole(jobs), err
}

func (p *Planned) info(next int) api.JobInfo {
	info := api.JobInfo{
		Job: p.Job, Spec: p.Spec, Running: p.Running, Missed: p.Last.Missed, CatchUp: p.CatchUp,
		Last: domain.Timestamp(p.Last.Started), Next: []string{}, NextUTC: []string{},
		Failed: p.Last.Failed, FailedAt: domain.Timestamp(p.Last.FailedAt), Code: p.Last.Code, Error: p.Last.Error,
	}
	if !p.Last.Started.IsZero() {
		info.Finished = domain.Timestamp(p.Last.Finished)
	}
	for at := p.Next; !at.IsZero() && len(info.Next) < next; at = p.Schedule.Next(at) {
		info.Zone = at.Location().String()
		info.Next = append(info.Next, at.Format(time.RFC3339))
		info.NextUTC = append(info.NextUTC, domain.Timestamp(at))
	}
	return info
}
