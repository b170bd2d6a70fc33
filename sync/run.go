package syncer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"personasync/store/domain"
	"personasync/sync/internal/ratelimit"
)

const (
	// sweepEvery is the longest time between questions to the outbox. It recovers from a wake-up lost by a bug.
	sweepEvery = 30 * time.Second
	// askPause is the pause after a question that found nothing. Without it a stream of commits, each of which
	// wakes the loop, would cause as many questions.
	askPause = 20 * time.Millisecond
)

// ErrTakenOver ends a Run at once when it is the cause of the end of its context: another agent sends from now on. Requests in
// flight are cut off, and what became of them is for the other agent to find out.
var ErrTakenOver = errors.New("another agent sends now")

// Run sends until ctx is done. Then it starts no request, lets those in flight finish within their timeout,
// settles them, and returns nil. All its goroutines have ended by then. It returns an error only if the outbox
// is closed, or cannot return the counts of the last minute. It can be called once.
func (s *Sender) Run(ctx context.Context) error {
	defer close(s.ended)
	defer s.transport.CloseIdleConnections()
	if err := s.restoreMeter(); err != nil {
		return err
	}
	lasting, cancel := s.outlive(ctx)
	defer cancel()
	d := dispatcher{Sender: s, ctx: ctx, lasting: lasting}
	defer d.attempts.Wait() // before cancel: requests in flight keep their context until they are settled

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.due:
			d.becameDue = true
		case <-s.poke:
		case <-timer.C:
		}
		at, err := d.dispatch()
		if err != nil {
			return err
		}
		timer.Reset(time.Until(at))
	}
}

// restoreMeter adds the requests sent shortly before the start to the meter.
func (s *Sender) restoreMeter() error {
	now := time.Now()
	sent, err := s.outbox.Sent(now.Add(-ratelimit.Window - time.Second))
	if err != nil {
		return fmt.Errorf("read the requests sent in the last minute: %w", err)
	}
	for i := range sent {
		if cfg, _ := s.current(); cfg.Endpoint == domain.EndpointDelete {
			sent[i].Cohorts = sent[i].Deletes // the requests that this endpoint counts
		}
	}
	s.meter.Restore(sent, now)
	return nil
}

// outlive returns a context that ends some time after ctx: when the last request in flight has had its timeout
// and its outcome could be written.
func (s *Sender) outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), ErrTakenOver) {
			cancel()
			return
		}
		cfg, _ := s.current()
		t := time.AfterFunc(cfg.Timeout+settleTime, cancel)
		context.AfterFunc(lasting, func() { t.Stop() })
	})
	return lasting, func() { stop(); cancel() }
}

// dispatcher asks the outbox for due changes and starts an attempt for each lease. Only the goroutine of Run uses
// its fields.
type dispatcher struct {
	*Sender
	ctx      context.Context // when done, start no attempt
	lasting  context.Context // when done, stop everything
	attempts sync.WaitGroup

	askAt     time.Time // do not ask the outbox before this time
	faults    int       // failures of the outbox in a row
	becameDue bool      // something became due since the last question
}

// dispatch starts every request that is allowed now. It returns when to look again without a wake-up, at the
// latest after a sweep.
func (d *dispatcher) dispatch() (time.Time, error) {
	for d.ctx.Err() == nil {
		now := time.Now()
		params, at, ok := d.permitted(now)
		if !ok {
			if err := d.peek(params.cfg.Endpoint, now); err != nil {
				return d.outboxFailed(now, err)
			}
			return soonest(now, at), nil
		}
		reserved, again := d.meter.Reserve(now)
		if reserved.Empty() {
			return soonest(now, again), nil
		}
		got, err := d.take(params, reserved, now)
		if err != nil {
			d.meter.Settle(reserved, false, now)
			return d.outboxFailed(now, err)
		}
		d.faults = 0
		reserved = d.meter.Keep(reserved, got.load.weigh(got.load.items), now)
		if got.lease != nil {
			d.launch(&attempt{shared: &d.shared, sendParams: params, lease: got.lease, load: got.load, ctx: d.ctx, lasting: d.lasting, reserved: reserved})
		}
		// The releases learn of pending changes even while rate limits defer other changes, because a release waits
		// only for its own.
		d.releases.answered(got.returns, got.next)
		if got.lease == nil || !got.more {
			return d.rest(params, got, now, again), nil
		}
	}
	return time.Now().Add(sweepEvery), nil
}

// permitted reports whether a request is allowed now. If not, at is when it will be; zero means after a lease is
// settled.
func (d *dispatcher) permitted(now time.Time) (p sendParams, at time.Time, ok bool) {
	p.cfg, p.client = d.current()
	if p.cfg.Off {
		return p, time.Time{}, false
	}
	if until := d.pausedUntil(); until.After(now) {
		return p, until, false
	}
	p.sendMode, at, ok = d.diagnosis.next(p.cfg, d.releases.leases(), now)
	switch {
	case !ok && at.IsZero():
		return p, at, false
	case d.askAt.After(now) || !ok:
		return p, domain.Later(at, d.askAt), false
	}
	return p, at, true
}

// peek tells the releases which changes are pending for an endpoint, and takes none. It asks only if the releases
// need the answer while the breaker defers requests.
func (d *dispatcher) peek(endpoint domain.Endpoint, now time.Time) error {
	returns, ask := d.releases.unanswered()
	if !ask || d.faults > 0 || !d.diagnosis.waits(now) {
		return nil
	}
	lease, next, err := d.outbox.Take(d.lasting, domain.TakeOptions{
		Endpoint: endpoint,
		Now:      now,
		Due:      func(string) time.Time { return time.Time{} },
		Fit:      func(domain.UserChanges) bool { return false },
	})
	if err != nil {
		return err
	}
	if lease != nil {
		return fmt.Errorf("the outbox returned lease %d although nothing may be sent", lease.ID)
	}
	d.releases.answered(returns, next)
	return nil
}

// taken is the result of one question to the outbox.
type taken struct {
	lease   *domain.Lease // nil if nothing was due
	load    *load
	next    domain.Next
	more    bool   // more may be due: the request was full, or a limit was reached
	returns uint64 // leases returned before the question
}

// take asks the outbox for a lease that fills one request. Fit encodes each user's changes, because only their encoding
// tells its size, and the request is made of the same bytes. It runs in the outbox's write transaction and costs a
// microsecond a user. Cutting the request after the transaction would cost more: what does not fit would stay
// leased until the request is answered, and be uncertain after a crash.
func (d *dispatcher) take(p sendParams, reserved ratelimit.Amount, now time.Time) (taken, error) {
	l := newLoad(p.cfg)
	full := false
	var together batch
	most := reserved.AtMost(p.cfg.MaxRequestBytes / p.cfg.leastElement())
	released, returns := d.releases.ask()
	lease, next, err := d.outbox.Take(d.lasting, domain.TakeOptions{
		Endpoint:  p.cfg.Endpoint,
		Now:       now,
		Due:       p.cfg.due(released, now),
		Skip:      p.skip,
		Pass:      p.pass(),
		Longest:   p.longest,
		Force:     p.force,
		MaxUsers:  most.Users,
		MaxEvents: most.Events,
		Fit: func(of domain.UserChanges) bool {
			limit := p.batchLimits[of.User]
			fits := together.admits(limit) && l.add(of)
			if fits {
				together.add(limit)
			}
			full = full || !fits
			return fits
		},
	})
	if err != nil {
		return taken{}, err
	}
	t := taken{lease: lease, next: next, load: l, returns: returns}
	t.more = full || next.More || t.load.users >= most.Users || t.load.events >= most.Events
	if p.cfg.Endpoint != domain.EndpointTransition {
		t.more = lease != nil // a request has one cohort, or one delete; another may be due
	}
	return t, nil
}

// due combines realtime changes with released ones. The outbox stores receipt times in whole seconds, rounded
// down, so no change waits longer than MaxDelay.
func (c Config) due(released func(job string) time.Time, now time.Time) func(job string) time.Time {
	return func(job string) time.Time {
		if c.Realtime(job) {
			return domain.Later(released(job), now.Add(-c.MaxDelay))
		}
		return released(job)
	}
}

// pass excludes uncertain users' untried cohort changes after an outage. There the uncertain element is a
// membership of one cohort, not the user.
func (p sendParams) pass() func(domain.UserChanges) bool {
	if !p.onlyUncertain || p.cfg.Endpoint != domain.EndpointCohort {
		return nil
	}
	return untried
}

// launch starts the goroutine of an attempt.
func (d *dispatcher) launch(a *attempt) {
	d.releases.leased(a.lease.ID)
	d.attempts.Go(func() {
		d.releases.settled(a.lease.ID, a.run())
		d.nudge()
	})
}

// rest is called when nothing more can be sent now, and returns when to look again. again is when the rate limits
// allow the changes that they deferred, or zero.
func (d *dispatcher) rest(p sendParams, t taken, now, again time.Time) time.Time {
	d.askAt = now.Add(askPause)
	if p.skip != nil && t.lease == nil {
		return soonest(now, d.onlySkipped(p, now))
	}
	if !t.more && p.skip == nil {
		if p.force { // otherwise a flush that began after the question is still to come
			d.diagnosis.endForce()
		}
		d.meter.StopPacing()
	}
	at := t.next.Retry
	for job, received := range t.next.Jobs {
		if p.cfg.Realtime(job) {
			at = domain.Sooner(at, received.Add(p.cfg.MaxDelay))
		}
	}
	if !at.IsZero() && !at.After(now) {
		// Due but not given out: blocked by a lease, which wakes the loop when it is settled, or by something
		// unknown here. Asking at once would be a busy loop.
		at = now.Add(time.Second)
	}
	return soonest(now, domain.Sooner(at, again))
}

// onlySkipped is called when only excluded users are due, if any. It returns when to look again.
func (d *dispatcher) onlySkipped(p sendParams, now time.Time) time.Time {
	switch {
	case p.onlyUncertain:
		d.diagnosis.forgetUncertain()
		return now
	case d.becameDue:
		d.becameDue = false // recent changes may wait to be batched; times are whole seconds
		return domain.Sooner(d.diagnosis.probeAt(), now.Add(p.cfg.MaxDelay+time.Second))
	}
	return d.diagnosis.probeAt()
}

// soonest limits a time to look again: at least a moment from now, at most a sweep. It counts from now in the monotonic
// clock, because at may be a second of the wall clock, which somebody may set before the sleep begins.
func soonest(now, at time.Time) time.Time {
	wait := sweepEvery
	if !at.IsZero() {
		wait = min(max(at.Sub(now), time.Millisecond), sweepEvery)
	}
	return now.Add(wait)
}

// outboxFailed backs off after a failure of the outbox. A closed outbox is a permanent error.
func (d *dispatcher) outboxFailed(now time.Time, err error) (time.Time, error) {
	if errors.Is(err, domain.ErrClosed) && d.ctx.Err() == nil {
		return time.Time{}, fmt.Errorf("read due changes from the outbox: %w", err)
	}
	if d.faults++; d.faults == 1 {
		d.log.Error("cannot read due changes from the outbox; retrying", keyError, err)
	}
	d.askAt = now.Add(min(time.Second<<min(d.faults-1, 10), maxOutboxPause))
	return d.askAt, nil
}
