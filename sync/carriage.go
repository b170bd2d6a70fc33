package syncer

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"personasync/store"
	"personasync/store/crashpoint"
	"personasync/store/domain"
)

// Keys of log attributes. User ids have none: they are logged nowhere.
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

// carriage brings one flight to MoEngage and back to the outbox.
type carriage struct {
	s *Sender
	clearance
	haul

	ctx     context.Context // done: no new request
	lasting context.Context // done: nothing at all any more
	grant   grant           // of the first request
	begun   bool            // the first request was made
	left    bool            // a request may have reached MoEngage
	judged  *answer         // on a stopped road: that MoEngage judged the data
	halted  bool            // … and of what everything got
	fresh   bool            // some users of the flight were never refused by themselves before it
}

// carry makes the requests, and settles the flight whatever came of them. It reports whether any of
// it came back to the outbox.
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
	c.s.caution(c.flight)
	t.reject(c.load.faults)
	t.deliver(t.items)
	if !c.begun {
		c.s.meter.settle(c.grant, false, time.Now())
	}
	c.reopen()
	c.relax()
	c.tellParked(t)
	c.settle(domain.Settlement{Lease: c.flight.ID, At: time.Now(), NotSent: !c.left, Results: t.results})
	return t.back()
}

// knownBad tells which users of the flight were refused by themselves before it.
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

// post makes one request of some of the flight's elements, and tells the road what came of it.
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
	c.s.meter.settle(g, a.mayHaveLeft(), a.at)
	names := c.users(items)
	if a.act != actTake {
		a.said = a.public(names)
	}
	a.untried = c.cfg.Endpoint == domain.EndpointCohort && slices.ContainsFunc(items, func(it item) bool { return untried(c.flight.Deliveries[it.delivery]) })
	a = c.note(a, names, started)
	c.observe(Report{Code: a.Code, Status: a.status, Users: users, Events: events, Bytes: len(body), Took: a.at.Sub(started)})
	return a
}

// pass waits until the meter has room for a request. The first one has its grant already. The others,
// which are a search, go on only while the road does not wait for something.
func (c *carriage) pass(need grant) (grant, bool) {
	if c.ctx.Err() != nil {
		return grant{}, false
	}
	if !c.begun {
		c.begun = true
		return c.grant, true
	}
	for {
		now := time.Now()
		if c.s.waits(now) {
			return grant{}, false
		}
		g, again := c.s.meter.admit(need, now)
		if again.IsZero() {
			return g, true
		}
		select {
		case <-c.ctx.Done():
			return grant{}, false
		case <-time.After(again.Sub(now)):
		}
	}
}

// waits reports whether the road has failed since this flight left.
func (s *Sender) waits(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.road.resume.After(now)
}

// users lists who is in a request. The elements of one user stand side by side.
func (c *carriage) users(items []item) []string {
	var users []string
	for i, it := range items {
		if i == 0 || items[i-1].delivery != it.delivery {
			users = append(users, c.flight.Deliveries[it.delivery].User)
		}
	}
	return users
}

// note tells the road what came of a request, and says so if that is news.
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
		stopped := c.wary && (a.act == actSplit || !c.s.road.probe.IsZero()) // by a proxy, or for what refuses everything
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

// failed finds out whose failure one is that waiting may cure, the road's or the users', and says when
// they may try again. Sender.mu is held.
func (c *carriage) failed(a answer, users []string, started time.Time) answer {
	s := c.s
	s.wished = max(s.wished, a.pause)
	own, repeated := false, false
	if a.incriminates() {
		var news bool
		own, news = s.doubt.own(users, s.road.accepted)
		repeated = s.doubt.repeated(users)
		if news {
			s.log.Warn("one user's changes fail by themselves while others are accepted; they go alone from now on", keyCode, a.Code, keyStatus, a.status)
		}
	}
	if a.act == actUnsure && (a.untried || !s.doubt.repeated(users)) {
		s.road.unsure++
	}
	a.alone = s.doubt.fail(users, a.incriminates(), a.at)
	// Who is alone waits longer each time; who is still in company is worth finding out about soon.
	pause := backoff(c.cfg.MinBackoff, c.cfg.MaxBackoff, max(a.alone, 1))
	if own {
		a.resume = a.at.Add(max(pause, a.pause))
		return a
	}
	was := s.road.health.Since
	s.tell(s.road.retry(c.cfg, a, started, a.at), a, was)
	a.resume = s.road.resume
	if repeated {
		// Others try the endpoint first: retries have turns of their own, so that those who always fail could
		// otherwise be the only ones to try it. Where there are no others, the road is still to be tried once a
		// minute.
		a.resume = s.road.resume.Add(min(c.cfg.MinBackoff, time.Second))
	}
	return a
}

// reopen takes a road that was stopped for a sound one if MoEngage judged the data on it, and not
// everything alike.
func (c *carriage) reopen() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.wary && c.judged != nil && !c.halted {
		c.s.tell(c.s.road.answered(c.judged.at), *c.judged, c.s.road.health.Since)
	}
}

// relax lets users try who are not uncertain yet, if the suspects have failed alone time and again and yet
// MoEngage takes a test of the credentials: then it may be their payloads, and not an outage.
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
	c.s.road.unsure = min(c.s.road.unsure, c.cfg.Concurrency-1) // one request
}

// halt stops the road after a search in which nothing was accepted.
func (c *carriage) halt(a answer) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.halted = true
	c.s.force = false
	c.s.tell(c.s.road.halt(c.cfg, a, c.fresh, time.Now()), a, time.Time{})
}

// tell logs a change of the road's state: one line for each, however many requests fail.
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
		s.log.Warn("moengage does not take requests; trying again with growing pauses", attrs...)
	case turnStopped:
		attrs = append(attrs, keyProbe, s.road.health.NextProbe)
		s.log.Error("moengage refuses everything; sending has stopped and tries once a minute", attrs...)
	case turnHealed:
		s.log.Info("moengage takes requests again", slog.Time(keySince, since))
	}
}

func (c *carriage) observe(r Report) {
	c.s.log.Debug("request answered", keyCode, r.Code, keyStatus, r.Status, keyUsers, r.Users, keyEvents, r.Events, keyBytes, r.Bytes, keyTook, r.Took)
	if c.cfg.Observe != nil {
		c.cfg.Observe(r)
	}
}

// tellParked logs how many changes a flight lost to parking: somebody has to look at them. The road
// remembers how many users MoEngage would not take while it took nothing else.
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
		c.s.log.Warn("elements were parked; see outbox list --state parked", keyCount, n, keyCode, reason)
	}
}

// settle writes the outcome, again and again if need be: until it is written, the flight's users are
// out of reach. What cannot be written before the end is uncertain at the next start, which is safe. A stop does
// not wait for a full disk.
func (c *carriage) settle(o domain.Settlement) {
	for faults := 0; ; faults++ {
		err := c.s.outbox.Settle(c.lasting, o)
		if err == nil {
			crashpoint.Reach(crashpoint.Settled)
			return
		}
		stopping := c.ctx.Err() != nil
		if c.lasting.Err() != nil || errors.Is(err, store.ErrClosed) || stopping && errors.Is(err, store.ErrFull) {
			c.s.log.Error("an outcome was not written; what it was about may be sent twice", keyFlight, o.Lease, keyError, err)
			return
		}
		if faults == 0 {
			c.s.log.Error("the outbox does not take an outcome; trying again", keyFlight, o.Lease, keyError, err)
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
