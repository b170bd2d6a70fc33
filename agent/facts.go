package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/agent/host"
	"personasync/agent/sending"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// facts are what conditions are judged by beyond the store.
type facts struct {
	*parts
	runner   *condition.Runner
	noSocket string // why the service manager's socket was not inherited; "" if it was, or if there is none
	lost     func() []condition.LostSocket
	missed   missedRuns
	dropped  grown // lines of the log
	sharing  sharedFacts
}

// process joins the facts of this moment.
func (f *facts) process() condition.Process {
	now, c, health, plan := time.Now(), f.config.Load(), f.senders.Health(), f.scheduler.Plan()
	p := condition.Process{
		Unready: f.readiness.unready(), Started: f.started, Runner: f.runner,
		NextFlush: nextFlush(plan),
		MoEngage:  reachability(health, now),
		Deleting:  reachability(f.senders.Deleting(), now),
		Intake:    f.ingest.Lately(now),
		DataDir:   c.DataDir, Store: f.sharing.of(f.store, &c.Store), Schedules: sending.SchedulesByJob(c),
		Refused:    f.refused.Load(),
		ClockDoubt: f.ingest.Clock.Doubt(),
		Receivers:  f.notify.Receivers(),
		Missed:     f.missed.lately(plan, now), UsualSilence: f.recorder.UsualSilence(),
	}
	p.UnreadySince, p.NoSocket, p.LostSockets = f.readiness.unreadySince(), f.noSocket, f.lost()
	p.DataMoved = errors.Is(f.store.Refusal(), store.ErrMoved)
	if dropped := f.linesDropped(); f.dropped.lately(dropped, now) {
		p.LinesDropped = dropped
	}
	p.Space, p.Forecast = f.diskFacts(now, c.MoEngage)
	return p
}

// runner is what runs this process. It is nil where systemd runs the host and does not say which unit this is, as before
// its version 248.
func runner() *condition.Runner {
	unit := host.Unit()
	if unit == "" && host.Booted() {
		return nil
	}
	return &condition.Runner{Unit: unit, PID: os.Getpid()}
}

// reachability is h as a status shows it at now.
func reachability(h syncer.Health, now time.Time) condition.Reachability {
	second := func(t time.Time) string { return domain.Timestamp(t.Truncate(time.Second)) }
	failing := h.State == "failing"
	r := condition.Reachability{
		State: h.State, LastError: h.LastError, Since: second(h.Since), LastErrorAt: second(h.LastErrorAt), Stopped: failing && h.Stopped,
	}
	if failing && h.NextProbe.After(now) { // a past probe had nothing to send
		r.NextTry = second(h.NextProbe)
	}
	return r
}

// diskFacts are the space and its forecast.
func (f *facts) diskFacts(now time.Time, m config.MoEngage) (*store.Space, condition.Forecast) {
	if f.store.Role().Shared {
		return nil, condition.Forecast{} // the disk is PostgreSQL's
	}
	space := f.store.Space()
	return &space, f.recorder.Forecast(now, space, min(m.UsersPerMinute, m.EventsPerMinute))
}

// statusLine is what `systemctl status` shows.
func (f *facts) statusLine() string {
	line := "accepting events"
	if why := f.readiness.unready(); why != "" {
		line = "not accepting events: " + strings.ReplaceAll(why, "\n", " ")
	}
	if c, err := f.store.Counts(); err == nil {
		line += fmt.Sprintf("; %d changes pending, %d parked", c.Changes.Pending, c.Events.Parked+c.Changes.Parked)
	}
	line += "; MoEngage " + f.senders.Health().State
	if f.refused.Load() != nil {
		line += "; the last reload was refused, see the log"
	}
	return "STATUS=" + line
}

// grown is a counter that matters for an hour after it grew. Its methods may be called concurrently.
type grown struct {
	mu    sync.Mutex
	count uint64
	at    time.Time // when it last grew, as far as was seen
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

// begin takes the runs over that were missed before this start, so that they are not new.
func (m *missedRuns) begin(runs []scheduler.Run) {
	m.jobs = make(map[string]*grown, len(runs))
	for _, r := range runs {
		m.jobs[r.Job] = &grown{count: r.Missed}
	}
}

// lately lists the jobs that missed a run in the last hour. A job that was never seen before counts from now on.
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

const (
	sharingAge      = 5 * time.Second // how old an answer of the server may be that a status shows
	sharingPatience = time.Second
)

// sharedFacts knows what a status says of a store that several agents share. Its method may be called concurrently.
type sharedFacts struct {
	mu   sync.Mutex
	at   time.Time
	last *condition.Store
}

// of returns the state of data, nil in files.
func (s *sharedFacts) of(data *store.Store, c *config.Store) *condition.Store {
	role := data.Role()
	if !role.Shared {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && time.Since(s.at) < sharingAge {
		return s.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), sharingPatience)
	defer cancel()
	h, err := data.Database(ctx)
	s.at = time.Now()
	s.last = condition.SharedStore(&role, c, &h, err, s.at)
	return s.last
}
