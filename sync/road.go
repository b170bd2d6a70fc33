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
	Stopped     bool      // failing in a way that only a person, or MoEngage, can cure
	NextProbe   time.Time // while failing: when the next real request tries, at the latest
}

const (
	stateUnknown = "unknown"
	stateOK      = "ok"
	stateFailing = "failing"
)

// A road that fails is tried at least once a minute, unless MoEngage asks for more: mostPause leaves room
// for whole seconds in the outbox. The jitter keeps several agents from doing it together.
const (
	probeEvery  = 50 * time.Second
	probeJitter = 8 * time.Second
	mostPause   = 55 * time.Second
)

// breaker is the state of the way to MoEngage. It is a plain value: Sender.mu guards it.
type breaker struct {
	health   Health
	failures int       // in a row, since the last answer that was one
	failed   time.Time // when the last of them was counted
	resume   time.Time // no request before this moment
	accepted time.Time // when MoEngage last took something
	parked   int       // users parked for its answers since then, without proof that it takes anything
	unsure   int       // requests since then that left users uncertain who were not before
	halts    int       // searches since then in which nothing was accepted, with users never refused before
	probe    time.Time // after a halt: users who were refused by themselves are not tried before this moment
}

// wariness is how many users are parked in a row, with nothing accepted, before single elements are tried ahead of
// a search: that costs fewer requests where everybody is refused. Errors that MoEngage documents never stop the
// road, however many there are: they are about users.
const wariness = 3

// turn says what a change of state is worth telling.
type turn uint8

const (
	turnNone turn = iota
	turnFailing
	turnStopped
	turnHealed
)

// width is how many requests may be in flight.
func (r *breaker) width(concurrency int) int {
	if r.health.State == stateFailing {
		return 1
	}
	return concurrency
}

// answered notes that MoEngage gave an answer that judges the data: the road works.
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

// retry notes a failure that waiting may cure, of a request that began at started. Requests that were
// in flight together fail together: only the first of them lengthens the pause.
func (r *breaker) retry(c Config, a answer, started, now time.Time) turn {
	turned := r.fail(a, now, false)
	if r.failures > 0 && started.Before(r.failed) {
		return turned
	}
	r.failures++
	r.failed = now
	resume := now.Add(backoff(c.MinBackoff, min(c.MaxBackoff, mostPause), r.failures))
	if latestStart := started.Add(mostPause); resume.After(latestStart) {
		resume = latest(latestStart, now.Add(time.Millisecond)) // a timeout is part of the pause
	}
	if a.pause > 0 {
		// MoEngage's own word counts more than our guess. A little jitter on top: others got the same.
		resume = now.Add(a.pause + rand.N(c.MinBackoff))
	}
	r.resume = latest(r.resume, resume)
	r.health.NextProbe = r.resume
	return turned
}

// stop notes a failure that says nothing about the data and that waiting alone does not cure.
func (r *breaker) stop(a answer, now time.Time) turn {
	turned := r.fail(a, now, true)
	r.failures++
	r.failed = now
	r.resume = now.Add(max(probeEvery+rand.N(probeJitter), a.pause))
	r.health.NextProbe = r.resume
	return turned
}

// halt notes a search in which nothing was accepted. Users who were refused by themselves wait for the
// next probe, so that they stop nobody else. Users who were not may try soon: fresh says that some of
// them took part, and then everything may be refused, so that they, too, wait longer each time.
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

// fail moves the state and says whether that is news.
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

// hurry lets the next request leave now, whoever is in it: an operator's wish, or a new configuration.
func (r *breaker) hurry() { r.resume, r.probe = time.Time{}, time.Time{} }

// longestPause is the longest that a sender puts anything off when MoEngage asked for wished at most.
func (c Config) longestPause(wished time.Duration) time.Duration {
	return max(c.MaxBackoff, wished, probeEvery+probeJitter) + 2*c.MinBackoff
}

// ceiling is the longest pause after some failures in a row: it doubles with each of them.
func ceiling(least, most time.Duration, failures int) time.Duration {
	pause := least
	for i := 1; i < failures && pause < most; i++ {
		pause *= 2
	}
	return min(pause, most)
}

// backoff is a full-jitter pause: anything between nothing and the ceiling, so that agents which failed
// together do not come back together.
func backoff(least, most time.Duration, failures int) time.Duration {
	return rand.N(ceiling(least, most, failures)) + time.Millisecond
}
