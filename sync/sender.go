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

	"personasync/store"
	"personasync/store/domain"
)

// Outbox is where changes come from and where their outcomes go. *store.Store is one; the tests have
// another, which fails on purpose.
type Outbox interface {
	// Take commits a flight of due deliveries; nil means that nothing was due. Users of a flight are
	// in no other one until it is settled.
	Take(context.Context, domain.TakeOptions) (*domain.Lease, store.Next, error)

	// Settle writes the outcome. It may be called concurrently, once per flight; after an error it is
	// called again.
	Settle(context.Context, domain.Settlement) error

	// Wake receives after a commit that made something newly due on a road. A slow reader may miss
	// repetitions, never the last.
	Wake(domain.Endpoint) <-chan struct{}

	// Sent returns what left in each second since then.
	Sent(since time.Time) ([]store.SentSecond, error)
}

var _ Outbox = (*store.Store)(nil)

const (
	// sweep is how often the outbox is asked without any reason to. It heals a wake-up lost by a bug.
	sweep = 30 * time.Second
	// lull lies between two questions that found nothing, so that a stream of commits, each of which
	// wakes the loop, does not become as many questions.
	lull = 20 * time.Millisecond
	// grace is what settling may take at the end, after the last answer.
	grace = 5 * time.Second
	// faltering is the longest pause after the outbox itself failed.
	faltering = 30 * time.Second
)

// Sender brings changes from an outbox to MoEngage, on one road: what is wrong with the other is none of
// its business. Its methods may be called concurrently.
//
// One goroutine, Run's, asks the outbox and decides what leaves. Each flight that it gets is carried
// by a goroutine of its own (carriage.go), which settles it and then pokes the first one.
type Sender struct {
	outbox    Outbox
	log       *slog.Logger
	transport *http.Transport // ours, unless the configuration brings its own
	meter     meter
	wake      <-chan struct{}
	poke      chan struct{} // wakes the loop after a change of what mu guards; buffer of one
	ended     chan struct{} // closed when Run has ended

	mu     sync.Mutex // guards everything down to Run's own; a clearance has copies of cfg and client
	cfg    Config
	client *client
	road   breaker
	gates  gates
	doubt  suspects
	bad    refused

	cautions cautions        // what was said about what MoEngage does not keep
	force    bool            // an operator's flush: take users before their retry time, once
	air      map[uint64]bool // flights that are not settled yet
	wished   time.Duration   // the longest that MoEngage asked for
	backs    uint64          // flights of which something came back
	stale    bool            // something came back since the gates were last told what waits

	// Run's own; nothing else reads or writes these.
	plan   load      // measures deliveries for Take; kept for its memory
	ask    time.Time // the outbox is not asked before this moment
	faults int       // failures of the outbox in a row
	woken  bool      // something became due since the outbox was last asked
}

// New makes a sender. Nothing happens before Run. log must not be nil.
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
		cautions:  newCautions(),
	}
	s.configure(c)
	s.wake = o.Wake(s.cfg.Endpoint)
	return s
}

// Reconfigure makes c hold for every request after it returns. What stops or delays the road is
// forgotten: the new configuration may be the cure.
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
	s.meter.limit(grant{users: c.UsersPerMinute, events: c.EventsPerMinute, calls: c.CallsPerMinute})
}

// Open lets what a job received up to upTo leave, and closes drained once none of it is left: it was
// delivered, parked, or superseded, retries included. It never closes if the sender stops first.
// Opening a job that is open already adds to it. after, unless nil, is what the other road's Open of
// the job returned: until it is closed, something may come here from there.
func (s *Sender) Open(job string, upTo time.Time, after <-chan struct{}) (drained <-chan struct{}) {
	return s.open(&gate{job: job, upTo: upTo, after: after, drained: make(chan struct{})})
}

// Widen lets leave what a job received up to upTo, too, for as long as an Open of it is not drained. The Open
// does not wait for it.
func (s *Sender) Widen(job string, upTo time.Time) {
	s.mu.Lock()
	s.gates.widen(job, upTo)
	s.mu.Unlock()
	s.nudge()
}

// Flush sends everything received up to now, of one job or of all, now: what waits for company or for
// its cron, and, when it is for all, for a retry. Whoever waits for a retry may have changes of several
// jobs, so a flush of one leaves retries to their time. A road that is stopped or waiting is tried at
// once. The limits hold. after and drained are as of Open.
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

// nudgeAfter makes the loop look again once the other road's gate is drained, which the loop itself does not
// notice.
func (s *Sender) nudgeAfter(gate <-chan struct{}) {
	select {
	case <-gate:
		s.nudge()
	case <-s.ended:
	}
}

// Health says how the road is.
func (s *Sender) Health() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.road.health
}

// nudge makes the loop look again.
func (s *Sender) nudge() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// Run sends until ctx is done. Then it starts no new request, lets those in flight finish within their
// timeout, settles them, and returns nil; every goroutine it started has ended by then. It returns an
// error only if the outbox is closed under it, or cannot say what left in the last minute. It can be called
// once.
func (s *Sender) Run(ctx context.Context) error {
	defer close(s.ended)
	defer s.transport.CloseIdleConnections()
	if err := s.remember(); err != nil {
		return err
	}
	lasting, cancel := s.outlive(ctx)
	defer cancel()
	var flights sync.WaitGroup
	defer flights.Wait() // before cancel: what is in flight keeps its context until it has landed

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

// remember fills the meter with what left shortly before the start.
func (s *Sender) remember() error {
	now := time.Now()
	sent, err := s.outbox.Sent(now.Add(-windowLength - time.Second))
	if err != nil {
		return fmt.Errorf("read what left in the last minute: %w", err)
	}
	s.meter.restore(sent, now)
	return nil
}

// outlive returns a context that ends some time after ctx does: when the last request in flight has
// had its timeout and its outcome could be written.
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

// dispatch starts every request that may leave now, and returns when it is worth looking again
// without being told to: at the latest after a sweep.
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
		g, again := s.meter.reserve(now)
		if g.empty() {
			return soonest(now, again), nil
		}
		haul, err := s.take(lasting, c, g, now)
		if err != nil {
			s.meter.settle(g, false, now)
			return s.falter(ctx, now, err)
		}
		s.faults = 0
		g = s.meter.keep(g, haul.load.weigh(haul.load.items), now)
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

// look tells the gates which changes are pending, also while the limits keep others back: a gate waits for its
// own alone.
func (s *Sender) look(backs uint64, next store.Next) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookLocked(backs, next)
}

// lookLocked is look while mu is held. What came back since the outbox was asked is neither in the air any
// more nor in what the outbox said: then the next answer tells.
func (s *Sender) lookLocked(backs uint64, next store.Next) {
	if s.backs == backs {
		s.gates.look(next, s.air)
	}
}

// clearance is what holds for one request: taken once, so that a new configuration cannot change it
// on the way.
type clearance struct {
	cfg    Config
	client *client
	due    func(job string) time.Time
	force  bool
	wary   bool // the road is stopped: this request is a probe
	tired  bool // users were parked in a row: single elements are tried before a search

	skip   func(user string) bool // users who may not be in this request; nil: none
	sparse bool                   // … because there was an outage: what is not uncertain must not become so

	longest time.Duration // that anything was put off by this process
	backs   uint64        // of the sender, when it was taken
}

// cleared says whether a request may leave now. If not, at is when it may; zero is after a landing.
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
		// An outage. The pause is the road's, so it does not matter when each suspect's own ends.
		c.skip, c.sparse, c.force = s.unlessSuspected, true, true
	case s.road.probe.After(now) && len(s.bad) > 0:
		c.skip = s.ifRefused
	}
	return c, time.Time{}, true
}

// pass leaves out, on the road of cohorts after an outage, changes of suspects that were not tried yet: what
// is uncertain there is a member of one cohort.
func (c *clearance) pass() func(domain.Delivery) bool {
	if !c.sparse || c.cfg.Endpoint != domain.EndpointCohort {
		return nil
	}
	return untried
}

// untried reports whether a delivery, of one change, was in no request yet.
func untried(d domain.Delivery) bool {
	return !slices.ContainsFunc(d.Attributes, func(a domain.Change) bool { return a.Attempts > 0 })
}

// unlessSuspected skips everybody who is not uncertain already.
func (s *Sender) unlessSuspected(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.doubt.company(user) == 0
}

// ifRefused skips users who were refused by themselves.
func (s *Sender) ifRefused(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bad.has(user)
}

// peeks reports whether the gates need to know what waits although nothing may leave: the road, which it
// names, waits, and something came back from it.
func (s *Sender) peeks(now time.Time) (domain.Endpoint, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Endpoint, s.stale && s.gates.blind() && s.road.resume.After(now) && s.faults == 0
}

// peek tells the gates what waits in the outbox for a road, and takes nothing.
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
		return fmt.Errorf("the outbox gave out flight %d, which nothing may leave on", f.ID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = s.backs != backs
	s.lookLocked(backs, next)
	return nil
}

// due joins what leaves by itself with what gates let out. The outbox keeps receipt times in whole
// seconds, rounded down, so that nothing waits longer than MaxDelay for company.
func (c Config) due(gate func(string) time.Time, now time.Time) func(job string) time.Time {
	return func(job string) time.Time {
		if c.Realtime(job) {
			return latest(gate(job), now.Add(-c.MaxDelay))
		}
		return gate(job)
	}
}

// haul is what one question to the outbox brought.
type haul struct {
	flight *domain.Lease // nil: nothing was due
	load   *load
	next   store.Next
	more   bool // something else may be due: the request was full, or a limit was reached
}

// take asks the outbox for a flight that fills one request. Deliveries are encoded twice, once to
// measure and once to send, because what was measured in a transaction may be measured again in
// another before one commits; a microsecond each is a cheap price for not depending on that.
func (s *Sender) take(ctx context.Context, c clearance, g grant, now time.Time) (haul, error) {
	s.plan.reset(c.cfg.encoder(), c.cfg.MaxRequestBytes)
	more := false
	var with company
	g = g.within(c.cfg.MaxRequestBytes / c.cfg.leastElement())
	f, next, err := s.outbox.Take(ctx, domain.TakeOptions{
		Endpoint:  c.cfg.Endpoint,
		Now:       now,
		Due:       c.due,
		Skip:      c.skip,
		Pass:      c.pass(),
		Longest:   c.longest,
		Force:     c.force,
		MaxUsers:  g.users,
		MaxEvents: g.events,
		Fit: func(d domain.Delivery) bool {
			fits := g.admits(&s.plan, d) && s.joins(&with, d.User, func() bool { return s.plan.add(d) })
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
	h.more = more || next.More || h.load.users >= g.users || h.load.events >= g.events
	if c.cfg.Endpoint == domain.EndpointCohort {
		h.more = f != nil // a request speaks of one cohort; another may be due
	}
	return h, nil
}

// joins adds a user to a request if those in it may have this one beside them and add finds room.
func (s *Sender) joins(with *company, user string, add func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !with.admits(s.doubt, user) || !add() {
		return false
	}
	with.join(s.doubt, user)
	return true
}

// within bounds a grant, so that the outbox need not look for more than can possibly fit.
func (g grant) within(n int) grant {
	return grant{users: min(g.users, n), events: min(g.events, n), calls: g.calls}
}

// admits holds the outbox to the limits that it was given.
func (g grant) admits(l *load, d domain.Delivery) bool {
	return (len(d.Attributes) == 0 || l.users < g.users) && (d.Event == nil || l.events < g.events)
}

// launch starts carrying a flight.
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

// rest is reached when nothing more can leave for now. It returns when something may; again is when
// the meter has room for what it kept out, if it did.
func (s *Sender) rest(now time.Time, c clearance, h haul, again time.Time) time.Time {
	s.ask = now.Add(lull)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.skip != nil && h.flight == nil {
		return soonest(now, s.onlySkipped(now, c))
	}
	if !h.more && c.skip == nil {
		s.force = false
		s.meter.ease()
	}
	at := h.next.Retry
	for job, received := range h.next.Jobs {
		if s.cfg.Realtime(job) {
			at = earliest(at, received.Add(s.cfg.MaxDelay))
		}
	}
	if !at.IsZero() && !at.After(now) {
		// Due, and yet not given out: behind a flight, whose landing tells, or behind something that
		// is not ours to know. Asking at once would be a tight loop.
		at = now.Add(time.Second)
	}
	return soonest(now, earliest(at, again))
}

// onlySkipped is reached when nobody is due but users who were skipped, if anybody is. It says when to
// look again. mu is held.
func (s *Sender) onlySkipped(now time.Time, c clearance) time.Time {
	switch {
	case c.sparse:
		s.road.unsure = 0 // what was uncertain waits no more: it was overtaken, or dropped
		return now
	case s.woken:
		s.woken = false // what was received a moment ago may wait for company; times are whole seconds
		return earliest(s.road.probe, now.Add(c.cfg.MaxDelay+time.Second))
	}
	return s.road.probe
}

// soonest bounds a time to look again: not before a moment has passed, not after a sweep.
func soonest(now, at time.Time) time.Time {
	last := now.Add(sweep)
	if at.IsZero() || at.After(last) {
		return last
	}
	return latest(at, now.Add(time.Millisecond))
}

// falter pauses after a failure of the outbox, longer each time. One that is closed stays so.
func (s *Sender) falter(ctx context.Context, now time.Time, err error) (time.Time, error) {
	if errors.Is(err, store.ErrClosed) && ctx.Err() == nil {
		return time.Time{}, fmt.Errorf("ask the outbox what is due: %w", err)
	}
	if s.faults++; s.faults == 1 {
		s.log.Error("the outbox does not give out what is due; trying again", keyError, err)
	}
	s.ask = now.Add(min(time.Second<<min(s.faults-1, 10), faltering))
	return s.ask, nil
}
