package syncer

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/sync/internal/payload"
	"personasync/sync/internal/ratelimit"
)

const (
	// settleTime is the time for settling at the end, after the last answer.
	settleTime = 5 * time.Second
	// maxOutboxPause is the longest pause after a failure of the outbox itself.
	maxOutboxPause = 30 * time.Second
)

// shared is what all attempts of one sender share.
type shared struct {
	outbox    Outbox
	log       *slog.Logger
	meter     ratelimit.Meter
	warnings  *payload.Warnings
	diagnosis *diagnosis
}

// sendParams are the parameters of one attempt. They are copied once, so that a new configuration does not change
// them midway.
type sendParams struct {
	cfg    Config
	client *client
	sendMode
}

// attempt sends one lease to MoEngage and settles it in the outbox.
type attempt struct {
	*shared
	sendParams
	lease *domain.Lease
	load  *load

	ctx      context.Context  // when done, make no new request
	lasting  context.Context  // when done, stop everything
	reserved ratelimit.Amount // for the first request; nothing if there is none
	begun    bool             // the first request was made
	left     bool             // a request may have reached MoEngage
	judged   *answer          // the last answer by which MoEngage judged the data
}

// run makes the requests and always settles the lease. It reports whether any part of it returned to the outbox.
func (a *attempt) run() (returned bool) {
	a.warn()
	refusedBefore, fresh := a.diagnosis.refusedBefore(a.lease)
	b := newBisector(a.lease, a.load.items, knowledge{
		refusedBefore: refusedBefore,
		probing:       a.probing,
		controlsFirst: a.controlsFirst,
		maxAttempts:   a.cfg.MaxAttempts,
	}, a.post)
	out := b.run(a.load.faults)
	a.learn(out, fresh)
	o := domain.Settlement{Lease: a.lease.ID, At: time.Now(), NotSent: !a.left, Results: out.results}
	if a.settle(o) && a.cfg.Accepted != nil {
		a.reportDelays(o)
	}
	return out.returned(a.lease)
}

// reportDelays reports how long each accepted change took since its receipt.
func (a *attempt) reportDelays(o domain.Settlement) {
	for i := range a.lease.Users {
		d, result := &a.lease.Users[i], &o.Results[i]
		if result.Attributes.Verdict == domain.Delivered {
			for k := range d.Attributes {
				a.cfg.Accepted(d.Attributes[k].Kind, o.At.Sub(d.Attributes[k].Received))
			}
		}
		if d.Event != nil && result.Event.Verdict == domain.Delivered {
			a.cfg.Accepted(d.Event.Kind, o.At.Sub(d.Event.Received))
		}
	}
}

// warn logs the lease's new payload warnings.
func (a *attempt) warn() {
	for _, w := range a.warnings.Check(a.lease) {
		a.log.Warn("moengage does not store this unchanged; see `personasync outbox explain-code CODE`", keyCode, w.Code, keyName, w.Name)
	}
}

// post makes one request with some of the lease's elements, and tells the diagnosis the answer.
func (a *attempt) post(items []item) answer {
	users, events := count(items)
	cost, ok := a.admit(a.load.weigh(items))
	if !ok {
		return answer{Meaning: meanings[codeNotSent], at: time.Now()}
	}
	body, trace := a.load.request(items), a.traceOf(items)
	crashpoint.Reach(crashpoint.RequestReady)
	started := time.Now()
	got := a.client.within(trace).post(a.lasting, body)
	crashpoint.Reach(crashpoint.AnswerRead)
	a.left = a.left || got.mayHaveLeft()
	a.meter.Settle(cost, got.mayHaveLeft(), got.at)
	names := a.users(items)
	if got.act != actAccept {
		got.summary = got.public(names)
	}
	got = a.diagnosis.record(a.cfg, posted{users: names, untried: a.hasUntriedMember(items), probing: a.probing, started: started}, got)
	if got.act == actBisect || got.act == actSplit {
		a.judged = &got
	}
	a.observe(Report{Code: got.Code, Status: got.status, Users: users, Events: events, Bytes: len(body), Took: got.at.Sub(started)}, trace)
	return got
}

// admit waits until the rate limits admit a request. The first request already has its reservation. The requests
// of a search continue only while the breaker allows requests.
func (a *attempt) admit(need ratelimit.Amount) (ratelimit.Amount, bool) {
	if a.ctx.Err() != nil {
		return ratelimit.Amount{}, false
	}
	if !a.begun {
		a.begun = true
		return a.reserved, true
	}
	for {
		now := time.Now()
		if a.diagnosis.waits(now) {
			return ratelimit.Amount{}, false
		}
		cost, again := a.meter.Admit(need, now)
		if again.IsZero() {
			return cost, true
		}
		select {
		case <-a.ctx.Done():
			return ratelimit.Amount{}, false
		case <-time.After(again.Sub(now)):
		}
	}
}

// users returns the users of a request. The elements of one user are adjacent.
func (a *attempt) users(items []item) []string {
	var users []string
	for i, it := range items {
		if i == 0 || items[i-1].user != it.user {
			users = append(users, a.lease.Users[it.user].User)
		}
	}
	return users
}

// hasUntriedMember reports whether a request of Cohort Sync has a member that was in no request before. In a
// cohort the uncertain element is a membership, not the user.
func (a *attempt) hasUntriedMember(items []item) bool {
	return a.cfg.Endpoint == domain.EndpointCohort &&
		slices.ContainsFunc(items, func(it item) bool { return untried(a.lease.Users[it.user]) })
}

// untried reports whether a user's single change was in no request yet.
func untried(d domain.UserChanges) bool {
	return !slices.ContainsFunc(d.Attributes, func(c domain.Change) bool { return c.Attempts > 0 })
}

// traceOf returns the trace of the oldest change of a request that has one, nil when none has. A request has one trace,
// and its changes may be of many: `outbox show` names each one's own.
func (a *attempt) traceOf(items []item) *domain.Trace {
	var oldest *domain.Change
	for _, it := range items {
		d := &a.lease.Users[it.user]
		if it.event {
			oldest = olderTraced(oldest, d.Event)
			continue
		}
		for i := range d.Attributes {
			oldest = olderTraced(oldest, &d.Attributes[i])
		}
	}
	if oldest == nil {
		return nil
	}
	return oldest.Trace
}

func olderTraced(than, c *domain.Change) *domain.Change {
	if c.Trace == nil || than != nil && than.ID.Compare(c.ID) < 0 {
		return than
	}
	return c
}

func (a *attempt) observe(r Report, trace *domain.Trace) {
	log := a.log
	if trace != nil {
		log = log.With(keyTrace, trace.String())
	}
	log.Debug("request answered", keyCode, r.Code, keyStatus, r.Status, keyUsers, r.Users, keyEvents, r.Events, keyBytes, r.Bytes, keyTook, r.Took)
	if a.cfg.Observe != nil {
		a.cfg.Observe(r)
	}
}

// learn tells the diagnosis what the requests of the lease proved together, and logs how many changes were parked,
// because an operator has to look at them.
func (a *attempt) learn(out *outcomes, fresh bool) {
	switch {
	case out.everythingRefused != nil:
		a.diagnosis.everythingRefused(a.cfg, *out.everythingRefused, fresh, time.Now())
	case a.probing && a.judged != nil:
		a.diagnosis.judgedData(*a.judged)
	}
	a.testOutage()
	if !out.accepted && out.parkedUnproven > 0 {
		a.diagnosis.parkedUnproven(out.parkedUnproven)
	}
	if n, reason := out.parked(); n > 0 {
		a.log.Warn("changes were parked; list them with `personasync outbox list --state parked`", keyCount, n, keyCode, reason)
	}
}

// testOutage ends the restriction to uncertain users if MoEngage accepts a test of the credentials, although all
// tracked users have repeatedly failed alone: then the cause may be their payloads and not an outage.
func (a *attempt) testOutage() {
	if !a.onlyUncertain || !a.diagnosis.onlyPayloadsMayFail() || a.ctx.Err() != nil {
		return
	}
	test := a.cfg
	test.Transport = a.client.transport
	if _, err := Authenticate(a.lasting, test); err == nil {
		a.diagnosis.allowUncertain(a.cfg)
	}
}

// settle writes the outcome and retries until that succeeds: until then no request can include the lease's
// users. An outcome not written before the process ends is uncertain at the next start, which is safe. A stop
// does not wait for a full disk. It reports whether the outcome was written.
func (a *attempt) settle(o domain.Settlement) bool {
	for faults := 0; ; faults++ {
		err := a.outbox.Settle(a.lasting, o)
		if err == nil {
			crashpoint.Reach(crashpoint.Settled)
			return true
		}
		stopping := a.ctx.Err() != nil
		if a.lasting.Err() != nil || errors.Is(err, domain.ErrClosed) || stopping && errors.Is(err, domain.ErrFull) {
			a.log.Error("an outcome was not written; its changes may be sent twice", keyLease, o.Lease, keyError, err)
			return false
		}
		if faults == 0 {
			a.log.Error("cannot write an outcome to the outbox; retrying", keyLease, o.Lease, keyError, err)
		}
		stop := a.ctx.Done()
		if stopping {
			stop = a.lasting.Done()
		}
		select {
		case <-stop:
		case <-time.After(min(100*time.Millisecond<<min(faults, 10), maxOutboxPause)):
		}
	}
}
