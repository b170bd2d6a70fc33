package syncer

import (
	"math/rand/v2"
	"time"

	"personasync/store/domain"
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

// A failing endpoint is tried at least once a minute, unless MoEngage asks for a longer pause. maxPause leaves
// room for the outbox's whole seconds. The jitter spreads the probes of several agents.
const (
	probeEvery  = 50 * time.Second
	probeJitter = 8 * time.Second
	maxPause    = 55 * time.Second
)

// breaker is the circuit breaker of one endpoint: closed (ok), open (failing), and half-open while a probe is in
// flight. It is a plain value, and part of the diagnosis, whose mutex protects it.
type breaker struct {
	health          Health
	failures        int       // in a row
	failed          time.Time // time of the last counted failure
	resume          time.Time // no request before this time
	accepted        time.Time // last time that MoEngage accepted something
	parkedUnproven  int       // users parked since then, without proof that MoEngage accepts anything
	uncertain       int       // requests since then that made further users uncertain
	searchesRefused int       // searches since then in which nothing was accepted, with users never refused before
	probe           time.Time // after such a search: users who were refused alone are not tried before this time
}

// parkedBeforeControls is how many users in a row are parked, with nothing accepted, before single elements are
// tried ahead of a search. That costs fewer requests if everybody is refused. Documented data errors never open
// the breaker, however many there are, because they concern users.
const parkedBeforeControls = 3

// stateChange is a change of the breaker's state, to be logged.
type stateChange uint8

const (
	changeNone stateChange = iota
	changeFailing
	changeStopped
	changeRecovered
)

// width returns how many requests may be in flight.
func (r *breaker) width(concurrency int) int {
	if r.health.State == stateFailing {
		return 1
	}
	return concurrency
}

// answered records an answer that judges the data, which means that the endpoint works.
func (r *breaker) answered(now time.Time) stateChange {
	was := r.health.State
	if was == stateOK {
		return changeNone
	}
	recovered := Health{State: stateOK, Since: now, LastError: r.health.LastError, LastErrorAt: r.health.LastErrorAt}
	*r = breaker{health: recovered, accepted: r.accepted, parkedUnproven: r.parkedUnproven}
	if was == stateFailing {
		return changeRecovered
	}
	return changeNone
}

// retry records a temporary failure of a request that began at started. Requests in flight together fail
// together, so only the first of them lengthens the pause.
func (r *breaker) retry(c Config, a answer, started, now time.Time) stateChange {
	change := r.fail(a, now, false)
	if r.failures > 0 && started.Before(r.failed) {
		return change
	}
	r.failures++
	r.failed = now
	resume := now.Add(backoff(c.MinBackoff, min(c.MaxBackoff, maxPause), r.failures))
	if latestStart := started.Add(maxPause); resume.After(latestStart) {
		resume = domain.Later(latestStart, now.Add(time.Millisecond)) // the timeout is part of the pause
	}
	if a.pause > 0 {
		// MoEngage's own value takes precedence. It gets a little jitter, because other clients got the same.
		resume = now.Add(a.pause + rand.N(c.MinBackoff))
	}
	r.resume = domain.Later(r.resume, resume)
	r.health.NextProbe = r.resume
	return change
}

// stop records a failure that says nothing about the data and does not resolve by waiting.
func (r *breaker) stop(a answer, now time.Time) stateChange {
	change := r.fail(a, now, true)
	r.failures++
	r.failed = now
	r.resume = now.Add(max(probeEvery+rand.N(probeJitter), a.pause))
	r.health.NextProbe = r.resume
	return change
}

// refuseEverything records a search in which nothing was accepted. Users who were refused alone wait for the next probe, so
// that they do not stop the others. Other users may try soon. fresh means that some of them took part; then
// everything may be refused, so their pause also grows each time.
func (r *breaker) refuseEverything(c Config, a answer, fresh bool, now time.Time) stateChange {
	change := r.fail(a, now, true)
	pause := c.MinBackoff
	if fresh {
		r.searchesRefused++
		pause = longestBackoff(c.MinBackoff, maxPause, r.searchesRefused)
		pause -= rand.N(pause/4 + 1)
	}
	r.resume = now.Add(min(pause, maxPause))
	r.probe = now.Add(probeEvery + rand.N(probeJitter))
	r.health.NextProbe = r.probe
	return change
}

// fail changes the state and returns the change to log.
func (r *breaker) fail(a answer, now time.Time, stopped bool) stateChange {
	was := r.health
	r.health.LastError, r.health.LastErrorAt = a.Code+": "+a.summary, now
	r.health.Stopped = stopped
	if was.State != stateFailing {
		r.health.State, r.health.Since = stateFailing, now
	}
	switch {
	case stopped && !was.Stopped:
		return changeStopped
	case was.State != stateFailing:
		return changeFailing
	}
	return changeNone
}

// allowNow allows the next request now, with any users: for an operator's flush or a new configuration.
func (r *breaker) allowNow() { r.resume, r.probe = time.Time{}, time.Time{} }

// longestPause returns the longest time for which a sender defers a change. wished is MoEngage's longest
// requested pause.
func (c Config) longestPause(wished time.Duration) time.Duration {
	return max(c.MaxBackoff, wished, probeEvery+probeJitter) + 2*c.MinBackoff
}

// longestBackoff returns the longest pause after failures in a row. It doubles with each failure.
func longestBackoff(least, most time.Duration, failures int) time.Duration {
	pause := least
	for i := 1; i < failures && pause < most; i++ {
		pause *= 2
	}
	return min(pause, most)
}

// backoff returns a full-jitter pause between zero and longestBackoff, so that agents which failed together do not
// retry together.
func backoff(least, most time.Duration, failures int) time.Duration {
	return rand.N(longestBackoff(least, most, failures)) + time.Millisecond
}
