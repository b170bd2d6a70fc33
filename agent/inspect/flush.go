package inspect

import (
	"context"
	"fmt"
	"strings"
	"time"

	"personasync/agent/api"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// DryRun implements Inspector.
func (l *Local) DryRun(ctx context.Context, computation string, limit int) (*api.DryRunResult, error) {
	r := &api.DryRunResult{Requests: []syncer.Preview{}, WouldPark: []string{}, Remarks: []string{}}
	err := l.look(ctx, func(v *store.View) error {
		job, err := JobOf(v, l.from.Config().Rules(), computation)
		if err != nil {
			return err
		}
		for _, endpoint := range []domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort, domain.EndpointDelete} {
			flight, err := v.Preview(flushOptions(endpoint, job, min(limit, api.MaxDryRun), time.Now()))
			if err != nil {
				return err
			}
			if flight == nil {
				continue
			}
			requests, err := l.from.Endpoint(endpoint).Preview(flight)
			if err != nil {
				r.WouldPark = append(r.WouldPark, strings.Split(err.Error(), "\n")...)
			}
			r.Requests = append(r.Requests, requests...)
		}
		r.Remarks, err = l.obstacles(v)
		return err
	})
	return r, err
}

// flushOptions take all changes of one job now, or of all jobs if job is nil.
func flushOptions(to domain.Endpoint, job *string, limit int, now time.Time) domain.TakeOptions {
	return domain.TakeOptions{
		Endpoint: to, Now: now, Force: true, MaxUsers: limit, MaxEvents: limit,
		Due: func(j string) time.Time {
			if job != nil && j != *job {
				return time.Time{}
			}
			return now
		},
		Fit: func(domain.UserChanges) bool { return true },
	}
}

// JobOf is the job that a computation's changes leave on; nil for all jobs if computation is "". A computation neither seen
// nor configured is store.ErrNotFound. A key of several computations is a *store.AmbiguousError unless all share one job.
func JobOf(v *store.View, rules domain.Rules, computation string) (*string, error) {
	if computation == "" {
		return nil, nil
	}
	seen, err := v.Computations()
	if err != nil {
		return nil, err
	}
	return pickJob(seen, rules, computation)
}

func pickJob(seen []domain.ComputationInfo, rules domain.Rules, computation string) (*string, error) {
	var jobs, ids []string
	for _, c := range seen {
		if c.Key == computation || c.ID == computation {
			jobs, ids = append(jobs, rules.For(c.Key, c.ID).Job), append(ids, c.ID)
		}
	}
	for _, s := range rules.Sections {
		if len(jobs) == 0 && (s.Key == computation || s.ID == computation) {
			jobs = append(jobs, s.Policy.Job)
		}
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("computation %q: %w", computation, store.ErrNotFound)
	}
	for _, j := range jobs[1:] {
		if j != jobs[0] {
			return nil, &store.AmbiguousError{Key: computation, IDs: ids}
		}
	}
	return &jobs[0], nil
}
