package store

import (
	"time"

	"personasync/store/domain"
)

// settler is a Settle in progress for one delivery.
type settler struct {
	b        *batch
	u        *user
	endpoint domain.Endpoint
	at       time.Time
	accepted bool // MoEngage took something of the user
}

// settle writes what became of a lease. Whoever was forgotten meanwhile is passed over.
func (b *batch) settle(o domain.Settlement) {
	f := b.st.leases[o.Lease]
	if f == nil {
		return // settled already
	}
	b.st.endLease(f)
	b.remove(b.tx.Bucket(bucketFlights), numberKey(o.Lease))
	if o.NotSent {
		was := f.counts()
		b.countSent(f.second, domain.SentSecond{Users: -was.Users, Events: -was.Events, Cohorts: -was.Cohorts})
	}
	for i := range f.list {
		result := domain.DeliveryResult{}
		if i < len(o.Results) {
			result = o.Results[i]
		}
		l := settler{b: b, u: b.user(f.list[i].user), endpoint: f.endpoint, at: o.At}
		l.settle(&f.list[i], result)
	}
}

func (l *settler) settle(p *leasedDelivery, s domain.DeliveryResult) {
	again := time.Time{} // when what failed may go again
	waiting := l.endpoint == domain.EndpointTransition && l.u.head.stranger()
	for _, seat := range p.attributes {
		again = later(again, l.attribute(seat, s.Attributes))
	}
	if !p.queued.id.IsZero() {
		result := s.Event
		if p.loose {
			result = s.Attributes
		}
		again = later(again, l.queued(p.queued, result))
	}
	rh := l.u.head.endpoint(l.endpoint)
	rh.retry = 0
	if !again.IsZero() && len(rh.lanes) > 0 {
		rh.retry = ceilSecond(again)
	}
	l.u.dirty = true
	if len(rh.lanes) > 0 {
		l.b.retime(l.u, l.endpoint)
	}
	if l.accepted && l.endpoint == domain.EndpointTransition {
		l.u.head.introduce(second(l.at), waiting)
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func ceilSecond(t time.Time) uint32 {
	return uint32(t.Add(time.Second - 1).Unix())
}

// attribute settles one attribute change, and returns when it may go again if it failed.
func (l *settler) attribute(s leasedChange, r domain.Result) (again time.Time) {
	f := l.b.fieldOf(s.number)
	e := l.b.entry(l.u, s.number)
	t, overtaken := e.waiting, e.inFlight.id == s.id
	if overtaken {
		t, e.inFlight = e.inFlight, ticket{}
	}
	if t.id != s.id || f == nil {
		return // forgotten meanwhile
	}
	l.b.write(l.u, s.number)
	if r.Verdict == domain.Delivered && l.unknown(f, &t) {
		r = domain.Result{Verdict: domain.Untried}
		e.lastSent = lastSent{kind: uncertainlySent} // MoEngage may have known the user all the same
	}
	t.trouble = attempted(t.trouble, r, l.at)
	switch r.Verdict {
	case domain.Delivered:
		e.lastSent = sentValue(t.value)
		l.accepted = true
	case domain.Uncertain:
		e.lastSent = lastSent{kind: uncertainlySent}
	}
	switch {
	case r.Verdict == domain.Delivered:
		l.closeTicket(f, e, &t, overtaken, domain.StateDelivered)
	case overtaken: // not worth another attempt
		l.closeTicket(f, e, &t, overtaken, domain.StateSuperseded)
	case r.Verdict == domain.Parked:
		l.b.settlePending(l.u, f, &t)
		l.park(l.b.change(l.u, f, &t))
		e.waiting = ticket{id: t.id, place: placeParked, transition: t.transition}
		return
	default:
		e.waiting = t
		if t.tried() {
			again = later(l.at, r.RetryAt)
		}
		return again
	}
	if overtaken {
		l.dropNeedless(f, e)
	}
	return
}

// unknown reports whether a cohort change was delivered before the first thing that MoEngage will be told of
// the user: an operator sent that again while the request was under way. It goes once more, behind it; see
// repeatCohorts.
func (l *settler) unknown(f *field, t *ticket) bool {
	return f.kind() == domain.KindCohort && l.u.head.accepted == 0 && l.u.head.strangers(lane{due: t.due})
}

// closeTicket closes an attribute change. An overtaken one is not what waits any more.
func (l *settler) closeTicket(f *field, e *entry, t *ticket, overtaken bool, s domain.State) {
	ch := l.b.made(l.u, f, t)
	if overtaken {
		ch.Successor = e.waiting.id
		l.b.st.ledger.changes.Pending--
		l.u.head.endpoint(l.endpoint).remove(t.lane)
	} else {
		l.b.settlePending(l.u, f, t)
		e.waiting = ticket{}
	}
	if s == domain.StateDelivered {
		ch.Successor = domain.ID{}
	}
	l.b.close(l.u, &ch, s, l.at)
}

// attempted notes an attempt. One that never left is none, but why it did not may be worth knowing.
func attempted(was *trouble, r domain.Result, at time.Time) *trouble {
	if r.Verdict == domain.Untried && r.Reason == "" {
		return was
	}
	now := &trouble{reason: r.Reason, sentence: r.Sentence, answer: r.Answer}
	if was != nil {
		now.attempts, now.alone = was.attempts, was.alone
	}
	if r.Verdict != domain.Untried {
		now.attempts++
		now.alone += int(boolByte(r.Alone))
	}
	if r.Verdict == domain.Refused || r.Verdict == domain.Uncertain {
		now.next = later(at, r.RetryAt)
	}
	return now
}

// dropNeedless cancels the waiting value if, after what was just learned, MoEngage knows it already.
func (l *settler) dropNeedless(f *field, e *entry) {
	p := l.b.st.rules.For(f.key, f.id)
	t := e.waiting
	if !t.pending() || !needless(e, t.transition, t.value, p.UnknownExit) {
		return
	}
	l.b.settlePending(l.u, f, &t)
	e.waiting = ticket{}
	l.b.close(l.u, l.b.change(l.u, f, &t), domain.StateCancelled, l.at)
}

// queued settles an event, or a loose attribute.
func (l *settler) queued(s leasedChange, r domain.Result) (again time.Time) {
	key := queueKey(l.u.key, s.number, s.id)
	due, _, frame := parseQueueValue(l.b.queue.Get(key))
	ch := l.b.decode(frame)
	if ch == nil { // forgotten meanwhile, or damaged
		l.b.missQueued(l.u, l.endpoint, s.number, s.id)
		return
	}
	if r.Verdict == domain.Untried {
		if r.Reason != "" {
			ch.Reason, ch.Sentence, ch.Answer = r.Reason, r.Sentence, r.Answer
			l.b.put(l.b.queue, key, l.b.queueValue(due, ch))
		}
		if ch.Attempts > 0 {
			return l.at
		}
		return
	}
	ch.Attempts++
	ch.Alone += int(boolByte(r.Alone))
	ch.Reason, ch.Sentence, ch.Answer = r.Reason, r.Sentence, r.Answer
	if ch.loose && r.Verdict == domain.Uncertain {
		l.b.entry(l.u, ch.field).lastSent = lastSent{kind: uncertainlySent}
		l.b.write(l.u, ch.field)
	}
	if r.Verdict == domain.Refused || r.Verdict == domain.Uncertain {
		ch.NextAttempt = later(l.at, r.RetryAt)
		l.b.put(l.b.queue, key, l.b.queueValue(due, ch))
		return ch.NextAttempt
	}
	l.b.leaveQueue(l.u, l.endpoint, s.number, s.id)
	l.b.st.ledger.changes.Pending--
	l.b.looseLess(l.u, ch)
	if r.Verdict == domain.Parked {
		l.park(ch)
		l.b.put(l.b.queue, queueKey(l.u.key, laneParked, s.id), nil)
		return
	}
	l.accepted = true
	if ch.loose {
		l.b.entry(l.u, ch.field).lastSent = sentValue(ch.Value)
	}
	l.b.close(l.u, ch, domain.StateDelivered, l.at)
	return
}

func (l *settler) park(ch *stored) {
	ch.State, ch.NextAttempt = domain.StateParked, time.Time{}
	l.b.st.ledger.changes.Parked++
	l.b.put(l.b.parked, idKey(ch.ID), ch.encode(nil))
	l.b.parkedNow(ch)
}

// interrupt settles a lease that a crash cut off: nobody knows how far it came.
func (b *batch) interrupt(flight uint64, at time.Time) {
	lost := domain.Result{Verdict: domain.Uncertain, RetryAt: at, Reason: "interrupted", Sentence: "the agent stopped while the request was under way"}
	o := domain.Settlement{Lease: flight, At: at, Results: make([]domain.DeliveryResult, len(b.st.leases[flight].list))}
	for i := range o.Results {
		o.Results[i] = domain.DeliveryResult{Attributes: lost, Event: lost}
	}
	b.settle(o)
}
