package syncer

import (
	"log/slog"
	"maps"
	"sync"
	"time"

	"personasync/store/domain"
)

// diagnosis decides from MoEngage's answers which party is at fault: MoEngage or the network, the account, or the data of
// single users. It combines the circuit breaker, the poison-message tracker and the memory of refused users, and
// from them it says how the next request is made. It is safe for concurrent use.
type diagnosis struct {
	log *slog.Logger

	mu           sync.Mutex // protects the fields below
	breaker      breaker
	poison       poisonTracker
	refused      refusals
	force        bool          // a flush: take users before their retry time, once
	longestAsked time.Duration // the longest pause that MoEngage asked for
}

func newDiagnosis(log *slog.Logger) *diagnosis {
	return &diagnosis{log: log, breaker: breaker{health: Health{State: stateUnknown}}, poison: make(poisonTracker), refused: make(refusals)}
}

// sendMode is how the next request is made. It shares nothing with the diagnosis: the outbox asks it in its write
// transaction, which must not wait for a lock that is held while a line is logged.
type sendMode struct {
	force         bool                   // take users before their retry time
	probing       bool                   // the breaker is open: this request is a probe
	controlsFirst bool                   // several users in a row were parked: try single elements before a search
	batchLimits   map[string]int         // see poisonTracker.batchLimits
	skip          func(user string) bool // users excluded from this request, or nil
	onlyUncertain bool                   // … because of an outage: no further users must become uncertain
	longest       time.Duration          // longest time for which this process deferred anything
}

// next reports whether a request is allowed now, beside so many in flight, and how it is made. If it is not
// allowed, at is when it will be; zero means after a lease is settled.
func (d *diagnosis) next(c Config, inFlight int, now time.Time) (m sendMode, at time.Time, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if inFlight >= d.breaker.width(c.Concurrency) {
		return sendMode{}, time.Time{}, false
	}
	if d.breaker.resume.After(now) {
		return sendMode{}, d.breaker.resume, false
	}
	m = sendMode{
		force:         d.force,
		probing:       d.breaker.health.Stopped,
		controlsFirst: d.breaker.parkedUnproven >= parkedBeforeControls,
		longest:       c.longestPause(d.longestAsked),
		batchLimits:   d.poison.batchLimits(),
	}
	switch {
	case d.breaker.health.State == stateFailing && d.breaker.uncertain >= c.Concurrency:
		// An outage. The pause is the breaker's, so the retry times of the tracked users do not matter.
		m.skip, m.onlyUncertain, m.force = m.isUntracked, true, true
	case d.breaker.probe.After(now) && len(d.refused) > 0:
		m.skip = maps.Clone(d.refused).has
	}
	return m, time.Time{}, true
}

// isUntracked reports whether a user is not uncertain.
func (m sendMode) isUntracked(user string) bool { return m.batchLimits[user] == 0 }

// waits reports whether the breaker defers requests at now.
func (d *diagnosis) waits(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.breaker.resume.After(now)
}

// probeAt returns when users who were refused alone are tried again.
func (d *diagnosis) probeAt() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.breaker.probe
}

// health returns the state of the breaker.
func (d *diagnosis) health() Health {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.breaker.health
}

// allowNow allows the next request now, with any users. With force it includes users before their retry time.
func (d *diagnosis) allowNow(force bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.force = d.force || force
	d.breaker.allowNow()
}

// endForce ends a flush: everything due was taken.
func (d *diagnosis) endForce() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.force = false
}

// forgetUncertain is called when no uncertain change is left: they were superseded or dropped.
func (d *diagnosis) forgetUncertain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.breaker.uncertain = 0
}

// refusedBefore returns the users of a lease who were refused alone before, and whether any of its users never
// was.
func (d *diagnosis) refusedBefore(lease *domain.Lease) (known map[string]bool, fresh bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.refused) == 0 {
		return nil, true
	}
	known = make(map[string]bool)
	for i := range lease.Users {
		if u := lease.Users[i].User; d.refused.has(u) {
			known[u] = true
		}
	}
	return known, len(known) < len(lease.Users)
}

// posted is a request that was made, as far as the diagnosis needs it.
type posted struct {
	users   []string
	untried bool // cohorts only: a member was in no request before
	probing bool
	started time.Time
}

// record takes the answer to a request into account, logs a change of the breaker's state, and returns the answer
// with the retry time and the history of its only user.
func (d *diagnosis) record(c Config, p posted, a answer) answer {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a.refuses() && len(p.users) == 1 {
		a.refusedAgain = d.refused.record(p.users[0], d.breaker.accepted, a.at)
	}
	switch a.act {
	case actAccept:
		d.breaker.accepted, d.breaker.parkedUnproven = a.at, 0
		d.poison.accept(p.users)
		d.refused.accept(p.users)
		d.answered(a)
	case actBisect, actSplit:
		stopped := p.probing && (a.act == actSplit || !d.breaker.probe.IsZero()) // by a proxy, or because everything was refused
		if !stopped {
			d.answered(a)
		}
	case actRetry, actUncertain:
		d.force = false
		return d.failed(c, p, a)
	case actStop:
		d.force = false
		d.logChange(d.breaker.stop(a, a.at), a)
	}
	return a
}

// failed decides whether a temporary failure belongs to MoEngage or to the users, and sets their retry time. The
// caller holds mu.
func (d *diagnosis) failed(c Config, p posted, a answer) answer {
	d.longestAsked = max(d.longestAsked, a.pause)
	tracked := d.poison.allTracked(p.users)
	caused, repeated := false, false
	if a.mayBeThePayload() {
		var news bool
		caused, news = d.poison.causedBy(p.users, d.breaker.accepted)
		repeated = tracked
		if news {
			d.log.Warn("one user's changes fail alone while others are accepted; they are sent alone from now on", keyCode, a.Code, keyStatus, a.status)
		}
	}
	if a.act == actUncertain && (p.untried || !tracked) {
		d.breaker.uncertain++
	}
	a.failedAlone = d.poison.fail(p.users, a.mayBeThePayload(), a.at)
	// A user alone in a request backs off longer each time. Users in larger requests retry soon to narrow the
	// search.
	pause := backoff(c.MinBackoff, c.MaxBackoff, max(a.failedAlone, 1))
	if caused {
		a.resume = a.at.Add(max(pause, a.pause))
		return a
	}
	d.logChange(d.breaker.retry(c, a, p.started, a.at), a)
	a.resume = d.breaker.resume
	if repeated {
		// Other users try the endpoint first. Retries have turns of their own, so users who always fail could
		// otherwise be the only ones to try it. If there are no others, the endpoint must still be tried once a
		// minute.
		a.resume = d.breaker.resume.Add(min(c.MinBackoff, time.Second))
	}
	return a
}

// judgedData closes the breaker: MoEngage judged the data of some elements and did not refuse all of them.
func (d *diagnosis) judgedData(a answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answered(a)
}

// everythingRefused opens the breaker after a search in which nothing was accepted. fresh means that some of the
// users were never refused before.
func (d *diagnosis) everythingRefused(c Config, a answer, fresh bool, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.force = false
	d.logChange(d.breaker.refuseEverything(c, a, fresh, now), a)
}

// parkedUnproven counts users parked while nothing else was accepted.
func (d *diagnosis) parkedUnproven(users int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.breaker.parkedUnproven += users
}

// onlyPayloadsMayFail reports whether the cause of an outage may be the payloads of the tracked users, because all
// of them have repeatedly failed alone.
func (d *diagnosis) onlyPayloadsMayFail() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.breaker.uncertain > 0 && d.poison.allFailedAlone()
}

// allowUncertain admits one request of users who are not uncertain yet.
func (d *diagnosis) allowUncertain(c Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.breaker.uncertain = min(d.breaker.uncertain, c.Concurrency-1)
}

// answered closes the breaker. The caller holds mu.
func (d *diagnosis) answered(a answer) {
	since := d.breaker.health.Since
	if d.breaker.answered(a.at) == changeRecovered {
		d.log.Info("moengage accepts requests again", slog.Time(keySince, since))
	}
}

// logChange logs a change of the breaker's state: one line per change, however many requests fail. The caller
// holds mu.
func (d *diagnosis) logChange(change stateChange, a answer) {
	attrs := []any{keyCode, a.Code}
	if a.status != 0 {
		attrs = append(attrs, keyStatus, a.status)
	}
	if a.summary != "" {
		attrs = append(attrs, keyError, a.summary)
	}
	switch change {
	case changeFailing:
		d.log.Warn("moengage does not accept requests; retrying with backoff", attrs...)
	case changeStopped:
		attrs = append(attrs, keyProbe, d.breaker.health.NextProbe)
		d.log.Error("moengage refuses everything; sending has stopped and is probed once a minute", attrs...)
	}
}
