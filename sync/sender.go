package syncer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"personasync/store/domain"
	"personasync/sync/internal/payload"
	"personasync/sync/internal/ratelimit"
)

// Outbox is the source of changes and the destination of their outcomes. *store.Store implements it. Tests have
// another implementation, which fails on purpose.
type Outbox interface {
	// Take commits a lease of due deliveries. Nil means that nothing is due. Until the lease is settled its
	// users are in no other lease.
	Take(context.Context, domain.TakeOptions) (*domain.Lease, domain.Next, error)

	// Settle writes the outcome of a lease. Calls for different leases may be concurrent. After an error it is
	// called again.
	Settle(context.Context, domain.Settlement) error

	// Wake returns a channel that receives after a commit makes something due for an endpoint. A slow receiver
	// may miss repetitions, but never the last.
	Wake(domain.Endpoint) <-chan struct{}

	// Sent returns the numbers sent in each second since then.
	Sent(since time.Time) ([]domain.SentSecond, error)
}

const (
	// sweep is the longest time between questions to the outbox. It recovers from a wake-up lost by a bug.
	sweep = 30 * time.Second
	// lull is the pause after a question that found nothing. Without it a stream of commits, each of which
	// wakes the loop, would cause as many questions.
	lull = 20 * time.Millisecond
	// grace is the time for settling at the end, after the last answer.
	grace = 5 * time.Second
	// faltering is the longest pause after a failure of the outbox itself.
	faltering = 30 * time.Second
)

// Sender sends changes from an outbox to MoEngage for one endpoint. It is independent of the sender for the
// other endpoint. Its methods are safe for concurrent use.
//
// The goroutine of Run asks the outbox and decides which changes to send. Each lease has a goroutine of its own
// (carriage.go), which settles it and then pokes the first one.
type Sender struct {
	outbox    Outbox
	log       *slog.Logger
	transport *http.Transport // ours, unless the configuration has one
	meter     ratelimit.Meter
	warnings  *payload.Warnings
	wake      <-chan struct{}
	poke      chan struct{} // capacity 1; wakes the loop after a change of the fields under mu
	ended     chan struct{} // closed when Run has ended

	mu     sync.Mutex // protects the fields down to Run's own; a clearance has copies of cfg and client
	cfg    Config
	client *client
	road   breaker
	gates  gates
	doubt  suspects
	bad    refused

	force  bool            // a flush: take users before their retry time, once
	air    map[uint64]bool // unsettled leases
	wished time.Duration   // the longest pause that MoEngage asked for
	backs  uint64          // number of leases with changes that returned
	stale  bool            // changes returned since the gates last saw the outbox's answer

	// Run's own: only the goroutine of Run uses these.
	plan   load      // measures deliveries for Take; kept to reuse its memory
	ask    time.Time // do not ask the outbox before this time
	faults int       // failures of the outbox in a row
	woken  bool      // something became due since the last question
}

// New returns a sender. Nothing happens before Run. log must not be nil.
func New(c Config, o Outbox, log *slog.Logger) *Sender {
	s := &Sender{
		outbox:    o,
		log:       log,
		transport: newTransport(),
		poke:      make(chan struct{}, 1),
		ended:     make(chan struct{}),
		road:      breaker{health: Health{State: stateUnknown}},
		air:       make(map[uint64]bool),
		doubt:     make(suspects),
		bad:       make(refused),
		warnings:  payload.NewWarnings(),
	}
	s.configure(c)
	s.wake = o.Wake(s.cfg.Endpoint)
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
	s.mu.Lock()
	defer s.mu.Unlock()
	transport := c.Transport
	if transport == nil {
		transport = s.transport
	}
	s.cfg = c
	s.client = newClient(c, transport)
	s.road.hurry()
	s.meter.SetLimits(ratelimit.Amount{Users: c.UsersPerMinute, Events: c.EventsPerMinute, Calls: c.CallsPerMinute})
}

// Open releases a job's changes that were received up to upTo. drained is closed once none of them is left:
// delivered, parked or superseded, retries included. It is never closed if the sender stops first. Several
// Opens of a job add up. after, unless nil, is the result for the other endpoint's Open of the job: until it is
// closed, changes may still arrive from there.
func (s *Sender) Open(job string, upTo time.Time, after <-chan struct{}) (drained <-chan struct{}) {
	return s.open(&gate{job: job, upTo: upTo, after: after, drained: make(chan struct{})})
}

// Widen also releases a job's changes received up to upTo while an Open of the job is not drained. The Open
// does not wait for them.
func (s *Sender) Widen(job string, upTo time.Time) {
	s.mu.Lock()
	s.gates.widen(job, upTo)
	s.mu.Unlock()
	s.nudge()
}

// Flush sends everything received up to now, of one job or of all (nil), without waiting for a batch or a cron
// time. A flush of all also includes retries. A flush of one job does not, because a user's retry may contain
// changes of several jobs. An endpoint with an open breaker is tried at once. Rate limits apply. after and
// drained are as in Open.
func (s *Sender) Flush(job *string, after <-chan struct{}) (drained <-chan struct{}) {
	g := &gate{every: job == nil, upTo: time.Now(), after: after, drained: make(chan struct{})}
	if job != nil {
		g.job = *job
	}
	s.mu.Lock()
	s.force = s.force || g.every
	s.road.hurry()
	s.mu.Unlock()
	return s.open(g)
}

func (s *Sender) open(g *gate) <-chan struct{} {
	s.mu.Lock()
	s.gates = append(s.gates, g)
	s.mu.Unlock()
	s.nudge()
	if g.after != nil {
		go s.nudgeAfter(g.after)
	}
	return g.drained
}

// nudgeAfter wakes the loop once the other endpoint's gate is drained, which the loop does not watch.
func (s *Sender) nudgeAfter(gate <-chan struct{}) {
	select {
	case <-gate:
		s.nudge()
	case <-s.ended:
	}
}

// Health returns the state of the breaker.
func (s *Sender) Health() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.road.health
}

// nudge wakes the loop.
func (s *Sender) nudge() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// Run sends until ctx is done. Then it starts no request, lets those in flight finish within their timeout,
// settles them, and returns nil. All its goroutines have ended by then. It returns an error only if the outbox
// is closed, or cannot return the counts of the last minute. It can be called once.
func (s *Sender) Run(ctx context.Context) error {
	defer close(s.ended)
	defer s.transport.CloseIdleConnections()
	if err := s.remember(); err != nil {
		return err
	}
	lasting, cancel := s.outlive(ctx)
	defer cancel()
	var flights sync.WaitGroup
	defer flights.Wait() // before cancel: requests in flight keep their context until they are settled

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
			s.woken = true
		case <-s.poke:
		case <-timer.C:
		}
		at, err := s.dispatch(ctx, lasting, &flights)
		if err != nil {
			return err
		}
		timer.Reset(time.Until(at))
	}
}

// remember adds the requests sent shortly before the start to the meter.
func (s *Sender) remember() error {
	now := time.Now()
	sent, err := s.outbox.Sent(now.Add(-ratelimit.Window - time.Second))
	if err != nil {
		return fmt.Errorf("read the requests sent in the last minute: %w", err)
	}
	s.meter.Restore(sent, now)
	return nil
}

// outlive returns a context that ends some time after ctx: when the last request in flight has had its timeout
// and its outcome could be written.
func (s *Sender) outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		left := s.cfg.Timeout + grace
		s.mu.Unlock()
		t := time.AfterFunc(left, cancel)
		context.AfterFunc(lasting, func() { t.Stop() })
	})
	return lasting, func() { stop(); cancel() }
}

// dispatch starts every request that is allowed now. It returns when to look again without a wake-up, at the
// latest after a sweep.
func (s *Sender) dispatch(ctx, lasting context.Context, flights *sync.WaitGroup) (time.Time, error) {
	for ctx.Err() == nil {
		now := time.Now()
		c, at, ok := s.cleared(now)
		if road, peeks := s.peeks(now); !ok && peeks {
			if err := s.peek(lasting, road, now); err != nil {
				return s.falter(ctx, now, err)
			}
		}
		if !ok {
			return soonest(now, at), nil
		}
		g, again := s.meter.Reserve(now)
		if g.Empty() {
			return soonest(now, again), nil
		}
		haul, err := s.take(lasting, c, g, now)
		if err != nil {
			s.meter.Settle(g, false, now)
			return s.falter(ctx, now, err)
		}
		s.faults = 0
		g = s.meter.Keep(g, haul.load.weigh(haul.load.items), now)
		if haul.flight != nil {
			s.launch(&carriage{s: s, clearance: c, ctx: ctx, lasting: lasting, haul: haul, grant: g}, flights)
		}
		s.look(c.backs, haul.next)
		if haul.flight == nil || !haul.more {
			return s.rest(now, c, haul, again), nil
		}
	}
	return time.Now().Add(sweep), nil
}

// look tells the gates which changes are pending, even while rate limits defer other changes, because a gate
// waits only for its own.
func (s *Sender) look(backs uint64, next domain.Next) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookLocked(backs, next)
}

// lookLocked is look with mu held. Changes that returned after the question are neither in the air nor in the
// outbox's answer. In that case only the next answer counts.
func (s *Sender) lookLocked(backs uint64, next domain.Next) {
	if s.backs == backs {
		s.gates.look(next, s.air)
	}
}

// clearance has the parameters of one request. They are copied once, so that a new configuration does not
// change them midway.
type clearance struct {
	cfg    Config
	client *client
	due    func(job string) time.Time
	force  bool
	wary   bool // the breaker is open: this request is a probe
	tired  bool // several users in a row were parked: try single elements before a search

	skip   func(user string) bool // users excluded from this request, or nil
	sparse bool                   // … because of an outage: no further users must become uncertain

	longest time.Duration // longest time for which this process deferred anything
	backs   uint64        // of the sender, at this time
}

// cleared reports whether a request is allowed now. If not, at is when it will be; zero means after a lease is
// settled.
func (s *Sender) cleared(now time.Time) (c clearance, at time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.air) >= s.road.width(s.cfg.Concurrency) {
		return clearance{}, time.Time{}, false
	}
	if at := latest(s.road.resume, s.ask); at.After(now) {
		return clearance{}, at, false
	}
	c = clearance{
		cfg:    s.cfg,
		client: s.client,
		due:    s.cfg.due(s.gates.due(), now),
		force:  s.force,
		wary:   s.road.health.Stopped,
		tired:  s.road.parked >= wariness,

		longest: s.cfg.longestPause(s.wished),
		backs:   s.backs,
	}
	switch {
	case s.road.health.State == stateFailing && s.road.unsure >= s.cfg.Concurrency:
		// An outage. The pause is the breaker's, so the retry times of the suspects do not matter.
		c.skip, c.sparse, c.force = s.unlessSuspected, true, true
	case s.road.probe.After(now) && len(s.bad) > 0:
		c.skip = s.ifRefused
	}
	return c, time.Time{}, true
}

// pass excludes suspects' untried cohort changes after an outage. There the uncertain element is a membership
// of one cohort, not the user.
func (c *clearance) pass() func(domain.Delivery) bool {
	if !c.sparse || c.cfg.Endpoint != domain.EndpointCohort {
		return nil
	}
	return untried
}

// untried reports whether a delivery of one change was in no request yet.
func untried(d domain.Delivery) bool {
	return !slices.ContainsFunc(d.Attributes, func(a domain.Change) bool { return a.Attempts > 0 })
}

// unlessSuspected excludes users who are not uncertain.
func (s *Sender) unlessSuspected(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.doubt.company(user) == 0
}

// ifRefused excludes users who were refused alone.
func (s *Sender) ifRefused(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bad.has(user)
}

// peeks reports whether the gates need the outbox's answer although nothing may be sent: the breaker defers
// requests and something returned. It also returns the endpoint.
func (s *Sender) peeks(now time.Time) (domain.Endpoint, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Endpoint, s.stale && s.gates.blind() && s.road.resume.After(now) && s.faults == 0
}

// peek tells the gates which changes are pending for an endpoint, and takes none.
func (s *Sender) peek(ctx context.Context, road domain.Endpoint, now time.Time) error {
	s.mu.Lock()
	backs := s.backs
	s.mu.Unlock()
	f, next, err := s.outbox.Take(ctx, domain.TakeOptions{
		Endpoint: road,
		Now:      now,
		Due:      func(string) time.Time { return time.Time{} },
		Fit:      func(domain.Delivery) bool { return false },
	})
	if err != nil {
		return err
	}
	if f != nil {
		return fmt.Errorf("the outbox returned lease %d although nothing may be sent", f.ID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = s.backs != backs
	s.lookLocked(backs, next)
	return nil
}

// due combines realtime changes with those that gates release. The outbox stores receipt times in whole
// seconds, rounded down, so no change waits longer than MaxDelay.
func (c Config) due(gate func(string) time.Time, now time.Time) func(job string) time.Time {
	return func(job string) time.Time {
		if c.Realtime(job) {
			return latest(gate(job), now.Add(-c.MaxDelay))
		}
		return gate(job)
	}
}

// haul is the result of one question to the outbox.
type haul struct {
	flight *domain.Lease // nil if nothing was due
	load   *load
	next   domain.Next
	more   bool // more may be due: the request was full, or a limit was reached
}

// take asks the outbox for a lease that fills one request. Deliveries are encoded twice, once to measure and
// once to send. A transaction may be repeated before one commits, so a measurement cannot be reused; a
// microsecond each is a low price.
func (s *Sender) take(ctx context.Context, c clearance, g ratelimit.Amount, now time.Time) (haul, error) {
	s.plan.reset(c.cfg.encoder(), c.cfg.MaxRequestBytes)
	more := false
	var with company
	g = g.AtMost(c.cfg.MaxRequestBytes / c.cfg.leastElement())
	f, next, err := s.outbox.Take(ctx, domain.TakeOptions{
		Endpoint:  c.cfg.Endpoint,
		Now:       now,
		Due:       c.due,
		Skip:      c.skip,
		Pass:      c.pass(),
		Longest:   c.longest,
		Force:     c.force,
		MaxUsers:  g.Users,
		MaxEvents: g.Events,
		Fit: func(d domain.Delivery) bool {
			fits := s.plan.within(g, d) && s.joins(&with, d.User, func() bool { return s.plan.add(d) })
			more = more || !fits
			return fits
		},
	})
	if err != nil {
		return haul{}, err
	}
	h := haul{flight: f, next: next, load: newLoad(c.cfg.encoder(), c.cfg.MaxRequestBytes)}
	if f != nil {
		for _, d := range f.Deliveries {
			h.load.add(d)
		}
	}
	h.more = more || next.More || h.load.users >= g.Users || h.load.events >= g.Events
	if c.cfg.Endpoint == domain.EndpointCohort {
		h.more = f != nil // a request has one cohort; another may be due
	}
	return h, nil
}

// joins adds a user to a request if the suspects in it allow another user and add has space.
func (s *Sender) joins(with *company, user string, add func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !with.admits(s.doubt, user) || !add() {
		return false
	}
	with.join(s.doubt, user)
	return true
}

// launch starts the goroutine of a lease.
func (s *Sender) launch(c *carriage, flights *sync.WaitGroup) {
	s.mu.Lock()
	s.air[c.flight.ID] = true
	s.mu.Unlock()
	flights.Go(func() {
		s.landed(c.flight.ID, c.carry())
	})
}

func (s *Sender) landed(flight uint64, back bool) {
	s.mu.Lock()
	delete(s.air, flight)
	s.gates.landed(flight, back)
	if back {
		s.backs++
		s.stale = true
	}
	s.mu.Unlock()
	s.nudge()
}

// rest is called when nothing more can be sent now, and returns when to look again. again is when the meter
// allows the changes that it deferred, or zero.
func (s *Sender) rest(now time.Time, c clearance, h haul, again time.Time) time.Time {
	s.ask = now.Add(lull)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.skip != nil && h.flight == nil {
		return soonest(now, s.onlySkipped(now, c))
	}
	if !h.more && c.skip == nil {
		s.force = false
		s.meter.StopPacing()
	}
	at := h.next.Retry
	for job, received := range h.next.Jobs {
		if s.cfg.Realtime(job) {
			at = earliest(at, received.Add(s.cfg.MaxDelay))
		}
	}
	if !at.IsZero() && !at.After(now) {
		// Due but not given out: blocked by a lease, which wakes the loop when it is settled, or by something
		// unknown here. Asking at once would be a busy loop.
		at = now.Add(time.Second)
	}
	return soonest(now, earliest(at, again))
}

// onlySkipped is called when only excluded users are due, if any. It returns when to look again. The caller
// holds mu.
func (s *Sender) onlySkipped(now time.Time, c clearance) time.Time {
	switch {
	case c.sparse:
		s.road.unsure = 0 // the uncertain changes are gone: superseded or dropped
		return now
	case s.woken:
		s.woken = false // recent changes may wait to be batched; times are whole seconds
		return earliest(s.road.probe, now.Add(c.cfg.MaxDelay+time.Second))
	}
	return s.road.probe
}

// soonest limits a time to look again: at least a moment from now, at most a sweep.
func soonest(now, at time.Time) time.Time {
	last := now.Add(sweep)
	if at.IsZero() || at.After(last) {
		return last
	}
	return latest(at, now.Add(time.Millisecond))
}

// falter backs off after a failure of the outbox. A closed outbox is a permanent error.
func (s *Sender) falter(ctx context.Context, now time.Time, err error) (time.Time, error) {
	if errors.Is(err, domain.ErrClosed) && ctx.Err() == nil {
		return time.Time{}, fmt.Errorf("read due changes from the outbox: %w", err)
	}
	if s.faults++; s.faults == 1 {
		s.log.Error("cannot read due changes from the outbox; retrying", keyError, err)
	}
	s.ask = now.Add(min(time.Second<<min(s.faults-1, 10), faltering))
	return s.ask, nil
}
