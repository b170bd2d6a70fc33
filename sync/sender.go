package syncer

import (
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"personasync/sync/internal/payload"
	"personasync/sync/internal/ratelimit"
)

// Sender sends changes from an outbox to MoEngage for one endpoint. It is independent of the sender for the
// other endpoint. Its methods are safe for concurrent use.
//
// The goroutine of Run asks the outbox and decides which changes to send (run.go). Each lease has a goroutine of
// its own (attempt.go), which settles it and then wakes the first one. No part of a Sender calls another while
// holding a mutex, so there is no lock order.
type Sender struct {
	shared
	releases  *releases
	transport *http.Transport // ours, unless the configuration has one
	due       <-chan struct{} // from the outbox: something became due
	poke      chan struct{}   // capacity 1; wakes the loop after any other change
	ended     chan struct{}   // closed when Run has ended
	paused    atomic.Int64    // until when, in nanoseconds since 1970; see Pause

	mu     sync.Mutex // protects cfg and client, which an attempt has copies of
	cfg    Config
	client *client
}

// New returns a sender. Nothing happens before Run. log must not be nil.
func New(c Config, o Outbox, log *slog.Logger) *Sender {
	s := &Sender{
		shared:    shared{outbox: o, log: log, warnings: payload.NewWarnings(), diagnosis: newDiagnosis(log)},
		releases:  newReleases(),
		transport: newTransport(),
		poke:      make(chan struct{}, 1),
		ended:     make(chan struct{}),
	}
	s.configure(c)
	s.due = o.Wake(s.cfg.Endpoint)
	return s
}

// Reconfigure applies c to every request after it returns. It resets the breaker and its pause, because the new
// configuration may fix the failure.
func (s *Sender) Reconfigure(c Config) {
	s.configure(c)
	s.nudge()
}

func (s *Sender) configure(c Config) {
	c = c.withDefaults()
	transport := c.Transport
	if transport == nil {
		transport = s.transport
	}
	s.mu.Lock()
	s.cfg, s.client = c, newClient(c, transport)
	s.mu.Unlock()
	s.meter.SetLimits(ratelimit.Amount{Users: c.UsersPerMinute, Events: c.EventsPerMinute, Calls: c.CallsPerMinute})
	s.diagnosis.allowNow(false)
}

// current returns the configuration and the client that belongs to it.
func (s *Sender) current() (Config, *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg, s.client
}

// Open releases a job's changes that were received up to upTo. drained is closed once none of them is left:
// delivered, parked or superseded, retries included. It is never closed if the sender stops first. Several
// Opens of a job add up. after, unless nil, is the result for the other endpoint's Open of the job: until it is
// closed, changes may still arrive from there.
func (s *Sender) Open(job string, upTo time.Time, after <-chan struct{}) (drained <-chan struct{}) {
	return s.open(&release{job: job, upTo: upTo, after: after, drained: make(chan struct{})})
}

// Widen also releases a job's changes received up to upTo while an Open of the job is not drained. The Open
// does not wait for them.
func (s *Sender) Widen(job string, upTo time.Time) {
	s.releases.widen(job, upTo)
	s.nudge()
}

// Flush sends everything received up to now, of one job or of all (nil), without waiting for a batch or a cron
// time. A flush of all also includes retries. A flush of one job does not, because a user's retry may contain
// changes of several jobs. An endpoint with an open breaker is tried at once. Rate limits apply. after and
// drained are as in Open.
func (s *Sender) Flush(job *string, after <-chan struct{}) (drained <-chan struct{}) {
	r := &release{allJobs: job == nil, upTo: time.Now(), after: after, drained: make(chan struct{})}
	if job != nil {
		r.job = *job
	}
	s.diagnosis.allowNow(r.allJobs)
	return s.open(r)
}

func (s *Sender) open(r *release) <-chan struct{} {
	s.releases.add(r)
	s.nudge()
	if r.after != nil {
		go s.nudgeAfter(r.after)
	}
	return r.drained
}

// nudgeAfter wakes the loop once the other endpoint's release is drained, which the loop does not watch.
func (s *Sender) nudgeAfter(drained <-chan struct{}) {
	select {
	case <-drained:
		s.nudge()
	case <-s.ended:
	}
}

// Pause begins no lease before until. Requests for leases that exist end as usual. The zero time ends a pause.
func (s *Sender) Pause(until time.Time) {
	ns := int64(0)
	if !until.IsZero() {
		ns = until.UnixNano()
	}
	s.paused.Store(ns)
	s.nudge()
}

// pausedUntil returns when the pause ends; a time in the past if there is none.
func (s *Sender) pausedUntil() time.Time { return time.Unix(0, s.paused.Load()) }

// Health returns the state of the breaker.
func (s *Sender) Health() Health { return s.diagnosis.health() }

// nudge wakes the loop.
func (s *Sender) nudge() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}
