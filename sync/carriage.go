package syncer

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/sync/internal/ratelimit"
)

// Keys of log attributes. There is none for user ids: they are never logged.
const (
	keyError  = "error"
	keyCode   = "code"
	keyStatus = "status"
	keyUsers  = "users"
	keyEvents = "events"
	keyBytes  = "bytes"
	keyTook   = "took"
	keyCount  = "count"
	keySince  = "since"
	keyProbe  = "next_probe"
	keyFlight = "flight"
	keyName   = "name"
)

// carriage sends one lease to MoEngage and settles it in the outbox.
type carriage struct {
	s *Sender
	clearance
	haul

	ctx     context.Context  // when done, make no new request
	lasting context.Context  // when done, stop everything
	grant   ratelimit.Amount // reservation of the first request
	begun   bool             // the first request was made
	left    bool             // a request may have reached MoEngage
	judged  *answer          // with an open breaker: the answer by which MoEngage judged the data
	halted  bool             // everything was refused
	fresh   bool             // some users of the lease were never refused alone before it
}

// carry makes the requests and always settles the lease. It reports whether any part of it returned to the
// outbox.
func (c *carriage) carry() (back bool) {
	t := &trip{
		flight:  c.flight,
		items:   c.load.items,
		post:    c.post,
		halt:    c.halt,
		known:   c.knownBad(),
		wary:    c.wary,
		tired:   c.tired,
		max:     c.cfg.MaxAttempts,
		results: make([]domain.DeliveryResult, len(c.flight.Deliveries)),
	}
	c.warn()
	t.reject(c.load.faults)
	t.deliver(t.items)
	if !c.begun {
		c.s.meter.Settle(c.grant, false, time.Now())
	}
	c.reopen()
	c.relax()
	c.tellParked(t)
	c.settle(domain.Settlement{Lease: c.flight.ID, At: time.Now(), NotSent: !c.left, Results: t.results})
	return t.back()
}

// warn logs the lease's new payload warnings.
func (c *carriage) warn() {
	for _, w := range c.s.warnings.Check(c.flight) {
		c.s.log.Warn("moengage does not store this unchanged; see `personasync outbox explain-code CODE`", keyCode, w.Code, keyName, w.Name)
	}
}

// knownBad returns the users of the lease who were refused alone before.
func (c *carriage) knownBad() map[string]bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.fresh = len(c.s.bad) == 0; c.fresh {
		return nil
	}
	known := make(map[string]bool)
	for i := range c.flight.Deliveries {
		if u := c.flight.Deliveries[i].User; c.s.bad.has(u) {
			known[u] = true
		}
	}
	c.fresh = len(known) < len(c.flight.Deliveries)
	return known
}

// post makes one request with some of the lease's elements and updates the breaker.
func (c *carriage) post(items []item) answer {
	users, events := count(items)
	g, ok := c.pass(c.load.weigh(items))
	if !ok {
		return answer{Meaning: rows[codeStay], at: time.Now()}
	}
	body := c.load.request(items)
	crashpoint.Reach(crashpoint.RequestReady)
	started := time.Now()
	a := c.client.post(c.lasting, body)
	crashpoint.Reach(crashpoint.AnswerRead)
	c.left = c.left || a.mayHaveLeft()
	c.s.meter.Settle(g, a.mayHaveLeft(), a.at)
	names := c.users(items)
	if a.act != actTake {
		a.said = a.public(names)
	}
	a.untried = c.cfg.Endpoint == domain.EndpointCohort && slices.ContainsFunc(items, func(it item) bool { return untried(c.flight.Deliveries[it.delivery]) })
	a = c.note(a, names, started)
	c.observe(Report{Code: a.Code, Status: a.status, Users: users, Events: events, Bytes: len(body), Took: a.at.Sub(started)})
	return a
}

// pass waits until the meter admits a request. The first request already has its reservation. The requests of a
// search continue only while the breaker allows requests.
func (c *carriage) pass(need ratelimit.Amount) (ratelimit.Amount, bool) {
	if c.ctx.Err() != nil {
		return ratelimit.Amount{}, false
	}
	if !c.begun {
		c.begun = true
		return c.grant, true
	}
	for {
		now := time.Now()
		if c.s.waits(now) {
			return ratelimit.Amount{}, false
		}
		g, again := c.s.meter.Admit(need, now)
		if again.IsZero() {
			return g, true
		}
		select {
		case <-c.ctx.Done():
			return ratelimit.Amount{}, false
		case <-time.After(again.Sub(now)):
		}
	}
}

// waits reports whether the breaker defers requests at now.
func (s *Sender) waits(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.road.resume.After(now)
}

// users returns the users of a request. The elements of one user are adjacent.
func (c *carriage) users(items []item) []string {
	var users []string
	for i, it := range items {
		if i == 0 || items[i-1].delivery != it.delivery {
			users = append(users, c.flight.Deliveries[it.delivery].User)
		}
	}
	return users
}

// note updates the breaker with an answer and logs a change of its state.
func (c *carriage) note(a answer, users []string, started time.Time) answer {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	was := c.s.road.health.Since
	if a.refuses() && len(users) == 1 {
		a.again = c.s.bad.note(users[0], c.s.road.accepted, a.at)
	}
	switch a.act {
	case actTake:
		c.s.road.accepted, c.s.road.parked = a.at, 0
		c.s.doubt.accept(users)
		c.s.bad.accept(users)
		c.s.tell(c.s.road.answered(a.at), a, was)
	case actBisect, actSplit:
		stopped := c.wary && (a.act == actSplit || !c.s.road.probe.IsZero()) // by a proxy, or because everything was refused
		if c.judged = &a; !stopped {
			c.s.tell(c.s.road.answered(a.at), a, was)
		}
	case actRetry, actUnsure:
		c.s.force = false
		return c.failed(a, users, started)
	case actStop:
		c.s.force = false
		c.s.tell(c.s.road.stop(a, a.at), a, was)
	}
	return a
}

// failed decides whether a temporary failure belongs to MoEngage or to the users, and sets their retry time.
// The caller holds Sender.mu.
func (c *carriage) failed(a answer, users []string, started time.Time) answer {
	s := c.s
	s.wished = max(s.wished, a.pause)
	own, repeated := false, false
	if a.incriminates() {
		var news bool
		own, news = s.doubt.own(users, s.road.accepted)
		repeated = s.doubt.repeated(users)
		if news {
			s.log.Warn("one user's changes fail alone while others are accepted; they are sent alone from now on", keyCode, a.Code, keyStatus, a.status)
		}
	}
	if a.act == actUnsure && (a.untried || !s.doubt.repeated(users)) {
		s.road.unsure++
	}
	a.alone = s.doubt.fail(users, a.incriminates(), a.at)
	// A user alone in a request backs off longer each time. Users in larger requests retry soon to narrow the
	// search.
	pause := backoff(c.cfg.MinBackoff, c.cfg.MaxBackoff, max(a.alone, 1))
	if own {
		a.resume = a.at.Add(max(pause, a.pause))
		return a
	}
	was := s.road.health.Since
	s.tell(s.road.retry(c.cfg, a, started, a.at), a, was)
	a.resume = s.road.resume
	if repeated {
		// Other users try the endpoint first. Retries have turns of their own, so users who always fail could
		// otherwise be the only ones to try it. If there are no others, the endpoint must still be tried once a
		// minute.
		a.resume = s.road.resume.Add(min(c.cfg.MinBackoff, time.Second))
	}
	return a
}

// reopen closes the breaker if MoEngage judged the data of some elements and did not refuse all of them.
func (c *carriage) reopen() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.wary && c.judged != nil && !c.halted {
		c.s.tell(c.s.road.answered(c.judged.at), *c.judged, c.s.road.health.Since)
	}
}

// relax admits one request of users who are not uncertain yet. It does so if all suspects have repeatedly
// failed alone while MoEngage accepts a test of the credentials: then the cause may be their payloads and not
// an outage.
func (c *carriage) relax() {
	c.s.mu.Lock()
	ask := c.sparse && c.s.road.unsure > 0 && c.s.doubt.exhausted()
	c.s.mu.Unlock()
	if !ask || c.ctx.Err() != nil {
		return
	}
	test := c.cfg
	test.Transport = c.client.transport
	if _, err := Authenticate(c.lasting, test); err != nil {
		return
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.road.unsure = min(c.s.road.unsure, c.cfg.Concurrency-1) // admits one request
}

// halt opens the breaker after a search in which nothing was accepted.
func (c *carriage) halt(a answer) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.halted = true
	c.s.force = false
	c.s.tell(c.s.road.halt(c.cfg, a, c.fresh, time.Now()), a, time.Time{})
}

// tell logs a change of the breaker's state: one line per change, however many requests fail.
func (s *Sender) tell(t turn, a answer, since time.Time) {
	attrs := []any{keyCode, a.Code}
	if a.status != 0 {
		attrs = append(attrs, keyStatus, a.status)
	}
	if a.said != "" {
		attrs = append(attrs, keyError, a.said)
	}
	switch t {
	case turnFailing:
		s.log.Warn("moengage does not accept requests; retrying with backoff", attrs...)
	case turnStopped:
		attrs = append(attrs, keyProbe, s.road.health.NextProbe)
		s.log.Error("moengage refuses everything; sending has stopped and is probed once a minute", attrs...)
	case turnHealed:
		s.log.Info("moengage accepts requests again", slog.Time(keySince, since))
	}
}

func (c *carriage) observe(r Report) {
	c.s.log.Debug("request answered", keyCode, r.Code, keyStatus, r.Status, keyUsers, r.Users, keyEvents, r.Events, keyBytes, r.Bytes, keyTook, r.Took)
	if c.cfg.Observe != nil {
		c.cfg.Observe(r)
	}
}

// tellParked logs how many changes were parked, because an operator has to look at them. It also counts users
// parked while nothing else was accepted.
func (c *carriage) tellParked(t *trip) {
	n, reason := 0, ""
	for _, r := range t.results {
		for _, half := range [...]domain.Result{r.Attributes, r.Event} {
			if half.Verdict == domain.Parked {
				n, reason = n+1, half.Reason
			}
		}
	}
	if !t.proven && t.unproven > 0 {
		c.s.mu.Lock()
		c.s.road.parked += t.unproven
		c.s.mu.Unlock()
	}
	if n > 0 {
		c.s.log.Warn("changes were parked; list them with `personasync outbox list --state parked`", keyCount, n, keyCode, reason)
	}
}

// settle writes the outcome and retries until that succeeds: until then no request can include the lease's
// users. An outcome not written before the process ends is uncertain at the next start, which is safe. A stop
// does not wait for a full disk.
func (c *carriage) settle(o domain.Settlement) {
	for faults := 0; ; faults++ {
		err := c.s.outbox.Settle(c.lasting, o)
		if err == nil {
			crashpoint.Reach(crashpoint.Settled)
			return
		}
		stopping := c.ctx.Err() != nil
		if c.lasting.Err() != nil || errors.Is(err, domain.ErrClosed) || stopping && errors.Is(err, domain.ErrFull) {
			c.s.log.Error("an outcome was not written; its changes may be sent twice", keyFlight, o.Lease, keyError, err)
			return
		}
		if faults == 0 {
			c.s.log.Error("cannot write an outcome to the outbox; retrying", keyFlight, o.Lease, keyError, err)
		}
		stop := c.ctx.Done()
		if stopping {
			stop = c.lasting.Done()
		}
		select {
		case <-stop:
		case <-time.After(min(100*time.Millisecond<<min(faults, 10), faltering)):
		}
	}
}
