package sending

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

// Senders send to MoEngage: transition sends attributes and events, cohort sends members of cohorts, deletion deletes
// users. Each has limits of its own. The methods may be called concurrently.
type Senders struct {
	transition, cohort, deletion *syncer.Sender
	of                           EndpointConfig

	byJob atomic.Pointer[map[string]scheduler.Schedule] // the schedules in force: a run may outlast a reload
}

// EndpointConfig is what the sender of an endpoint needs of a configuration, as [Config] is.
type EndpointConfig func(*config.Config, domain.Endpoint) syncer.Config

// New returns senders of the due changes in o. They send while Run runs.
func New(c *config.Config, of EndpointConfig, o syncer.Outbox, log *slog.Logger) *Senders {
	s := &Senders{
		of:         of,
		transition: syncer.New(of(c, domain.EndpointTransition), o, log),
		cohort:     syncer.New(of(c, domain.EndpointCohort), o, log.With("endpoint", "cohort")),
		deletion:   syncer.New(of(c, domain.EndpointDelete), o, log.With("endpoint", "delete")),
	}
	s.reschedule(c)
	return s
}

// Run sends until ctx is done, or until one of the senders cannot go on.
func (s *Senders) Run(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, sender := range s.all() {
		all.Go(func() error { return sender.Run(ctx) })
	}
	return all.Wait()
}

func (s *Senders) all() [domain.Endpoints]*syncer.Sender {
	return [...]*syncer.Sender{s.transition, s.cohort, s.deletion}
}

func (s *Senders) reschedule(c *config.Config) {
	byJob := SchedulesByJob(c)
	s.byJob.Store(&byJob)
}

// Reconfigure puts the schedules and settings of c in force, also for runs in progress.
func (s *Senders) Reconfigure(c *config.Config) {
	s.reschedule(c)
	s.transition.Reconfigure(s.of(c, domain.EndpointTransition))
	s.cohort.Reconfigure(s.of(c, domain.EndpointCohort))
	s.deletion.Reconfigure(s.of(c, domain.EndpointDelete))
}

// Flush sends now everything of one job, or of all jobs when job is nil. A cohort change whose user MoEngage does not
// know yet follows as soon as it does.
func (s *Senders) Flush(job *string) {
	s.cohort.Flush(job, s.transition.Flush(job, nil))
	if job == nil {
		s.deletion.Flush(nil, nil)
	}
}

// Drain sends the changes that were received for a job until a moment, and returns when none of them is left. The
// scheduler starts no other run of the job meanwhile. So at each further time of its schedule, Drain also sends the changes
// received until then: a run with a million changes, or with one that keeps failing, must not make later ones wait.
func (s *Senders) Drain(ctx context.Context, job string, upTo time.Time) error {
	drained, wider := s.open(job, upTo), time.Time{}
	for mark := upTo; ; {
		timer := time.NewTimer(untilNext((*s.byJob.Load())[job], time.Now()))
		select {
		case <-drained:
			timer.Stop()
			if wider.IsZero() {
				return nil
			}
			drained, wider = s.open(job, wider), time.Time{} // else those that are left would wait for another time
			continue
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		now := time.Now()
		if at := (*s.byJob.Load())[job].Last(mark, now); !at.IsZero() {
			s.transition.Widen(job, at)
			s.cohort.Widen(job, at)
			wider = at
		}
		mark = now // also where the clock was set back
	}
}

// open lets both senders send the changes of a job that were received until a moment. drained is closed once none is left.
func (s *Senders) open(job string, upTo time.Time) (drained <-chan struct{}) {
	return s.cohort.Open(job, upTo, s.transition.Open(job, upTo, nil))
}

// clockLook is the longest sleep before the clock is read again. Somebody may set it.
const clockLook = time.Minute

// untilNext is how long to wait for the next time of a schedule.
func untilNext(s scheduler.Schedule, now time.Time) time.Duration {
	next := s.Next(now)
	if next.IsZero() {
		return clockLook
	}
	return min(max(next.Sub(now), 0), clockLook)
}

// Pause sends nothing new while p holds. A nil p ends a pause.
func (s *Senders) Pause(p *domain.Pause) {
	until := time.Time{}
	switch {
	case p != nil && p.Until.IsZero():
		until = time.Unix(1<<33, 0) // until it is resumed
	case p != nil:
		until = p.Until
	}
	for _, sender := range s.all() {
		sender.Pause(until)
	}
}

// Deleting is the health of the sender of deletes. A refusal there stops nothing else, so Health leaves it out.
func (s *Senders) Deleting() syncer.Health { return s.deletion.Health() }

// Health is that of the sender that fails, and of transition if both do.
func (s *Senders) Health() syncer.Health {
	h := s.transition.Health()
	if other := s.cohort.Health(); h.State != "failing" && other.State == "failing" || h.State == "unknown" {
		return other
	}
	return h
}
