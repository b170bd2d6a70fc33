package syncer

import (
	"math/rand/v2"
	"time"
)

// Health is the sender's view of MoEngage.
type Health struct {
	State       string    // ok | failing | unknown
	LastError   string    // code and sentence of the last failure; kept after recovery
	LastErrorAt time.Time // when that was
	Since       time.Time
	Stopped     bool      // only an operator or MoEngage can fix the failure
	NextProbe   time.Time // while failing: the latest time of the next request
}

const (
	stateUnknown = "unknown"
	stateOK      = "ok"
	stateFailing = "failing"
)

// A failing endpoint is tried at least once a minute, unless MoEngage asks for a longer pause. mostPause leaves
// room for the outbox's whole seconds. The jitter spreads the probes of several agents.
const (
	probeEvery  = 50 * time.Second
	probeJitter = 8 * time.Second
	mostPause   = 55 * time.Second
)

// breaker is the circuit breaker of one endpoint: closed (ok), open (failing), and half-open while a probe is in
// flight. It is a plain value. Sender.mu protects it.
type breaker struct {
	health   Health
	failures int       // in a row
	failed   time.Time // time of the last counted failure
	resume   time.Time // no request before this time
	accepted time.Time // last time that MoEngage accepted something
	parked   int       // users parked since then, without proof that MoEngage accepts anything
	unsure   int       // requests since then that made further users uncertain
	halts    int       // searches since then in which nothing was accepted, with users never refused before
	probe    time.Time // after a halt: users who were refused alone are not tried before this time
}

// wariness is how many users in a row are parked, with nothing accepted, before single elements are tried ahead
// of a search. That costs fewer requests if everybody is refused. Documented data errors never open the
// breaker, however many there are, because they concern users.
const wariness = 3

// turn is a change of state to log.
type turn uint8

const (
	turnNone turn = iota
	turnFailing
	turnStopped
	turnHealed
)

// width returns how many requests may be in flight.
func (r *breaker) width(concurrency int) int {
	if r.health.State == stateFailing {
		return 1
	}
	return concurrency
}

// answered records an answer that judges the data, which means that the endpoint works.
func (r *breaker) answered(now time.Time) turn {
	was := r.health.State
	if was == stateOK {
		return turnNone
	}
	healed := Health{State: stateOK, Since: now, LastError: r.health.LastError, LastErrorAt: r.health.LastErrorAt}
	*r = breaker{health: healed, accepted: r.accepted, parked: r.parked}
	if was == stateFailing {
		return turnHealed
	}
	return turnNone
}

// retry records a temporary failure of a request that began at started. Requests in flight together fail
// together, so only the first of them lengthens the pause.
func (r *breaker) retry(c Config, a answer, started, now time.Time) turn {
	turned := r.fail(a, now, false)
	if r.failures > 0 && started.Before(r.failed) {
		return turned
	}
	r.failures++
	r.failed = now
	resume := now.Add(backoff(c.MinBackoff, min(c.MaxBackoff, mostPause), r.failures))
	if latestStart := started.Add(mostPause); resume.After(latestStart) {
		resume = latest(latestStart, now.Add(time.Millisecond)) // the timeout is part of the pause
	}
	if a.pause > 0 {
		// MoEngage's own value takes precedence. It gets a little jitter, because other clients got the same.
		resume = now.Add(a.pause + rand.N(c.MinBackoff))
	}
	r.resume = latest(r.resume, resume)
	r.health.NextProbe = r.resume
	return turned
}

// stop records a failure that says nothing about the data and does not resolve by waiting.
func (r *breaker) stop(a answer, now time.Time) turn {
	turned := r.fail(a, now, true)
	r.failures++
	r.failed = now
	r.resume = now.Add(max(probeEvery+rand.N(probeJitter), a.pause))
	r.health.NextProbe = r.resume
	return turned
}

// halt records a search in which nothing was accepted. Users who were refused alone wait for the next probe, so
// that they do not stop the others. Other users may try soon. fresh means that some of them took part; then
// everything may be refused, so their pause also grows each time.
func (r *breaker) halt(c Config, a answer, fresh bool, now time.Time) turn {
	turned := r.fail(a, now, true)
	pause := c.MinBackoff
	if fresh {
		r.halts++
		pause = ceiling(c.MinBackoff, mostPause, r.halts)
		pause -= rand.N(pause/4 + 1)
	}
	r.resume = now.Add(min(pause, mostPause))
	r.probe = now.Add(probeEvery + rand.N(probeJitter))
	r.health.NextProbe = r.probe
	return turned
}

// fail changes the state and returns the change to log.
func (r *breaker) fail(a answer, now time.Time, stopped bool) turn {
	was := r.health
	r.health.LastError, r.health.LastErrorAt = a.Code+": "+a.said, now
	r.health.Stopped = stopped
	if was.State != stateFailing {
		r.health.State, r.health.Since = stateFailing, now
	}
	switch {
	case stopped && !was.Stopped:
		return turnStopped
	case was.State != stateFailing:
		return turnFailing
	}
	return turnNone
}

// hurry allows the next request now, with any users: for an operator's flush or a new configuration.
func (r *breaker) hurry() { r.resume, r.probe = time.Time{}, time.Time{} }

// longestPause returns the longest time for which a sender defers a change. wished is MoEngage's longest
// requested pause.
func (c Config) longestPause(wished time.Duration) time.Duration {
	return max(c.MaxBackoff, wished, probeEvery+probeJitter) + 2*c.MinBackoff
}

// ceiling returns the longest pause after failures in a row. It doubles with each failure.
func ceiling(least, most time.Duration, failures int) time.Duration {
	pause := least
	for i := 1; i < failures && pause < most; i++ {
		pause *= 2
	}
	return min(pause, most)
}

// backoff returns a full-jitter pause between zero and the ceiling, so that agents which failed together do not
// retry together.
func backoff(least, most time.Duration, failures int) time.Duration {
	return rand.N(ceiling(least, most, failures)) + time.Millisecond
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// earliest ignores zero times, which mean never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
