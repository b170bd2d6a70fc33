package agent

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"personasync/agent/config"
	"personasync/scheduler"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// senders are the ways to MoEngage, one sender each: attributes and events on the one, cohorts on the
// other. They have their own limits, and what stops one does not stop the other.
type senders struct {
	transition, cohort *syncer.Sender

	byJob atomic.Pointer[map[string]scheduler.Schedule] // the schedules in force: a run may outlast a reload
}

// endpointConfig is the part of a configuration that the sender of a road needs.
type endpointConfig func(*config.Config, domain.Endpoint) syncer.Config

func newSenders(c *config.Config, of endpointConfig, o syncer.Outbox, log *slog.Logger) *senders {
	s := &senders{
		transition: syncer.New(of(c, domain.EndpointTransition), o, log),
		cohort:     syncer.New(of(c, domain.EndpointCohort), o, log.With("road", "cohort")),
	}
	s.reschedule(c)
	return s
}

// Run sends on all roads until ctx is done, or until one of them cannot go on.
func (s *senders) Run(ctx context.Context) error {
	roads, ctx := errgroup.WithContext(ctx)
	roads.Go(func() error { return s.transition.Run(ctx) })
	roads.Go(func() error { return s.cohort.Run(ctx) })
	return roads.Wait()
}

func (s *senders) reschedule(c *config.Config) {
	byJob := schedulesByJob(c)
	s.byJob.Store(&byJob)
}

func (s *senders) Reconfigure(c *config.Config, of endpointConfig) {
	s.reschedule(c)
	s.transition.Reconfigure(of(c, domain.EndpointTransition))
	s.cohort.Reconfigure(of(c, domain.EndpointCohort))
}

// Flush sends everything of one job, or of all when job is nil, now; what waits until MoEngage knows its
// user, as soon as it does.
func (s *senders) Flush(job *string) {
	s.cohort.Flush(job, s.transition.Flush(job, nil))
}

// drain lets leave what a job received up to a moment, and waits until none of it is left. The job's next run comes
// after that. So at each further time of its schedule, what came until then leaves, too: one run with a million
// changes, or with one that fails again and again, must not keep later changes from their time.
func (s *senders) drain(ctx context.Context, job string, upTo time.Time) error {
	drained := s.cohort.Open(job, upTo, s.transition.Open(job, upTo, nil))
	for mark := upTo; ; {
		timer := time.NewTimer(untilNext((*s.byJob.Load())[job], time.Now()))
		select {
		case <-drained:
			timer.Stop()
			return nil
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		now := time.Now()
		if at := (*s.byJob.Load())[job].Last(mark, now); !at.IsZero() {
			s.transition.Widen(job, at)
			s.cohort.Widen(job, at)
		}
		mark = now // also where the clock was set back
	}
}

// clockLook is how often the clock is looked at by what waits for it: it may be set.
const clockLook = time.Minute

// untilNext is how long to wait for the next time of a schedule.
func untilNext(s scheduler.Schedule, now time.Time) time.Duration {
	next := s.Next(now)
	if next.IsZero() {
		return clockLook
	}
	return min(max(next.Sub(now), 0), clockLook)
}

// Health is that of the road that fails, of the first one if both do.
func (s *senders) Health() syncer.Health {
	h := s.transition.Health()
	if other := s.cohort.Health(); h.State != "failing" && other.State == "failing" || h.State == "unknown" {
		return other
	}
	return h
}
