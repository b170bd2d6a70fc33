package syncer

import (
	"math/rand/v2"
	"time"
)

// Health is what the sender thinks of MoEngage.
type Health struct {
	State       string    // ok | failing | unknown
	LastError   string    // code and sentence of the last failure; kept after recovery until the next one
	LastErrorAt time.Time // when that was
	Since       time.Time
	Stopped     bool      // failing in a way that only a person, or MoEngage, can mend
	NextProbe   time.Time // while stopped: the next real request that tries
}

const (
	stateUnknown = "unknown"
	stateOK      = "ok"
	stateFailing = "failing"
)

// A stopped road is tried about once a minute; the jitter keeps several agents from doing it together.
const (
	probeEvery  = 50 * time.Second
	probeJitter = 20 * time.Second
)

// road is the state of the way to MoEngage. It is a plain value: Sender.mu guards it.
type road struct {
	health   Health
	failures int       // in a row, since the last answer that was one
	failed   time.Time // when the last of them was counted
	resume   time.Time // no request before this moment
	accepted time.Time // when MoEngage last took something
	parked   int       // elements that were parked for its answers since then
}

// weariness is how many elements are parked in a row, for errors that MoEngage documents, before the
// next is believed to be one more offender only if something else is accepted.
const weariness = 3

// turn says what a change of state is worth telling.
type turn uint8

const (
	turnNone turn = iota
	turnFailing
	turnStopped
	turnHealed
)

// width is how many requests may be in flight.
func (r *road) width(concurrency int) int {
	if r.health.State == stateFailing {
		return 1
	}
	return concurrency
}

// answered notes that MoEngage gave an answer that judges the data: the road works.
func (r *road) answered(now time.Time) turn {
	was := r.health.State
	if was == stateOK {
		return turnNone
	}
	*r = road{health: Health{State: stateOK, Since: now, LastError: r.health.LastError, LastErrorAt: r.health.LastErrorAt}, accepted: r.accepted, parked: r.parked}
	if was == stateFailing {
		return turnHealed
	}
	return turnNone
}

// retry notes a failure that waiting may cure, of a request that began at started. Requests that were
// in flight together fail together: only the first of them lengthens the pause.
func (r *road) retry(c Config, a answer, started, now time.Time) turn {
	turned := r.fail(a, now, false)
	if r.failures > 0 && started.Before(r.failed) {
		return turned
	}
	r.failures++
	r.failed = now
	pause := backoff(c, r.failures)
	if a.pause > 0 {
		// MoEngage's own word counts more than our guess. A little jitter on top: others got the same.
		pause = a.pause + rand.N(c.MinBackoff)
	}
	r.resume = latest(r.resume, now.Add(pause))
	return turned
}

// stop notes a failure that says nothing about the data and that waiting alone does not cure.
func (r *road) stop(a answer, now time.Time) turn {
	turned := r.fail(a, now, true)
	r.failures++
	r.failed = now
	r.resume = now.Add(max(probeEvery+rand.N(probeJitter), a.pause))
	r.health.NextProbe = r.resume
	return turned
}

// fail moves the state and says whether that is news.
func (r *road) fail(a answer, now time.Time, stopped bool) turn {
	was := r.health
	r.health.LastError, r.health.LastErrorAt = a.Code+": "+a.said, now
	r.health.Stopped = stopped
	if !stopped {
		r.health.NextProbe = time.Time{}
	}
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

// hurry lets the next request leave now: an operator's wish, or a new configuration.
func (r *road) hurry() { r.resume = time.Time{} }

// longestPause is the longest that a sender puts anything off when MoEngage asked for wished at most.
func (c Config) longestPause(wished time.Duration) time.Duration {
	return max(c.MaxBackoff, wished, probeEvery+probeJitter) + 2*c.MinBackoff
}

// backoff is a full-jitter pause: anything between nothing and a ceiling that doubles with each
// failure, so that agents which failed together do not come back together.
func backoff(c Config, failures int) time.Duration {
	ceiling := c.MinBackoff
	for i := 1; i < failures && ceiling < c.MaxBackoff; i++ {
		ceiling *= 2
	}
	return rand.N(min(ceiling, c.MaxBackoff)) + time.Millisecond
}
