package store

import (
	"bytes"
	"time"
)

// landing is a Settle in progress for one delivery.
type landing struct {
	b    *batch
	u    *user
	road Road
	at   time.Time
}

// settle writes what became of a flight. Users forgotten meanwhile are passed over.
func (b *batch) settle(o Outcome) error {
	flights := b.tx.Bucket(bucketFlights)
	frame := flights.Get(numberKey(o.Flight))
	if frame == nil {
		return nil // settled already
	}
	road, list, err := decodeFlight(frame, b.st.epoch)
	if err != nil {
		return err
	}
	for i, p := range list {
		u := b.user(p.user)
		rh := u.head.road(road)
		if rh.flight != o.Flight {
			continue
		}
		rh.flight = 0
		u.dirty = true
		result := Settlement{}
		if i < len(o.Results) {
			result = o.Results[i]
		}
		l := landing{b: b, u: u, road: road, at: o.At}
		l.land(p, result)
	}
	b.remove(flights, numberKey(o.Flight))
	return nil
}

func (l *landing) land(p boarding, s Settlement) {
	again := time.Time{} // when what failed may go again
	for _, id := range p.attributes {
		again = later(again, l.attribute(id, s.Attributes))
	}
	if !p.event.IsZero() {
		again = later(again, l.queued(p.event, s.Event))
	}
	rh := l.u.head.road(l.road)
	rh.retry = 0
	if !again.IsZero() && len(rh.lanes) > 0 {
		rh.retry = ceilSecond(again)
	}
	l.b.retime(l.u, l.road)
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
func (l *landing) attribute(id ID, r Result) (again time.Time) {
	ch := l.b.fetch(l.b.outbox, id)
	if ch == nil {
		return
	}
	if ch.loose {
		return l.queued(id, r)
	}
	e := l.b.entry(l.u, ch.field)
	if e.flying.id != id {
		return
	}
	l.b.write(l.u, ch.field)
	t := e.flying
	e.flying = ticket{}
	l.record(ch, r)
	switch r.Verdict {
	case Delivered:
		e.told = tellValue(ch.Value)
		l.leave(ch, t.lane)
		l.b.close(l.u, ch, StateDelivered, l.at)
		l.dropNeedless(e)
		return
	case Uncertain:
		e.told = told{kind: toldUncertain}
	}
	if !e.waiting.id.IsZero() { // a newer value waits: this one is not worth another attempt
		ch.Successor = e.waiting.id
		l.leave(ch, t.lane)
		l.b.close(l.u, ch, StateSuperseded, l.at)
		l.dropNeedless(e)
		return
	}
	if r.Verdict == Parked {
		l.leave(ch, t.lane)
		l.park(ch)
		e.waiting = ticket{id: id, lane: t.lane, due: t.due, place: placeParked}
		return
	}
	return l.wait(e, ch, t, r)
}

// wait has an attribute change wait again.
func (l *landing) wait(e *entry, ch *stored, t ticket, r Result) (again time.Time) {
	if r.Verdict != Untried {
		t.tried = true
		ch.NextAttempt = l.retryAt(r)
		l.b.put(l.b.outbox, idKey(ch.ID), ch.encode(nil))
	}
	e.waiting = t
	l.u.head.setPending(ch.field, true)
	if t.tried {
		return l.retryAt(r)
	}
	return time.Time{}
}

// queued settles an event, or a loose attribute.
func (l *landing) queued(id ID, r Result) (again time.Time) {
	ch := l.b.fetch(l.b.outbox, id)
	if ch == nil {
		return
	}
	l.record(ch, r)
	key := queueKey(l.u.key, ch.lane, id)
	switch r.Verdict {
	case Delivered:
		if ch.loose {
			l.b.entry(l.u, ch.field).told = tellValue(ch.Value)
			l.b.write(l.u, ch.field)
		}
		l.b.remove(l.b.queue, key)
		l.leave(ch, ch.lane)
		l.b.close(l.u, ch, StateDelivered, l.at)
		return
	case Parked:
		l.b.remove(l.b.queue, key)
		l.leave(ch, ch.lane)
		l.park(ch)
		l.b.put(l.b.queue, queueKey(l.u.key, laneParked, id), queueValue(0, false))
		return
	case Untried:
		if _, tried := parseQueueValue(l.b.queue.Get(key)); tried {
			return l.at
		}
		return
	}
	ch.NextAttempt = l.retryAt(r)
	l.b.put(l.b.outbox, idKey(id), ch.encode(nil))
	l.b.put(l.b.queue, key, queueValue(second(ch.Received), true))
	return ch.NextAttempt
}

// record notes an attempt in the change.
func (l *landing) record(ch *stored, r Result) {
	if r.Verdict == Untried {
		return
	}
	ch.Attempts++
	ch.Reason, ch.Sentence, ch.Answer = r.Reason, r.Sentence, r.Answer
}

func (l *landing) retryAt(r Result) time.Time {
	return later(l.at, r.RetryAt)
}

// leave takes a change out of the outbox and out of its lane.
func (l *landing) leave(ch *stored, lane uint32) {
	l.b.withdraw(ch)
	l.u.head.road(l.road).remove(lane)
}

func (l *landing) park(ch *stored) {
	ch.State = StateParked
	l.b.st.ledger.changes.Parked++
	l.b.put(l.b.parked, idKey(ch.ID), ch.encode(nil))
}

// dropNeedless cancels the waiting value if, after what was just learned, MoEngage knows it already.
func (l *landing) dropNeedless(e *entry) {
	if !e.waiting.pending() {
		return
	}
	ch := l.b.fetch(l.b.outbox, e.waiting.id)
	if ch == nil {
		return
	}
	p := Policy{}
	if f := l.b.fieldOf(ch.field); f != nil {
		p = l.b.st.rules.For(f.key, f.id)
	}
	if !needless(e, ch, p.UnknownExit) {
		return
	}
	l.leave(ch, e.waiting.lane)
	l.u.head.setPending(ch.field, false)
	e.waiting = ticket{}
	l.b.close(l.u, ch, StateCancelled, l.at)
}

// strand settles a flight that a crash cut off: nobody knows how far it came.
func (b *batch) strand(flight uint64, at time.Time) error {
	frame := b.tx.Bucket(bucketFlights).Get(numberKey(flight))
	_, list, err := decodeFlight(bytes.Clone(frame), b.st.epoch)
	if err != nil {
		return err
	}
	lost := Result{Verdict: Uncertain, RetryAt: at, Reason: "interrupted", Sentence: "the agent stopped while the request was under way"}
	o := Outcome{Flight: flight, At: at, Results: make([]Settlement, len(list))}
	for i := range o.Results {
		o.Results[i] = Settlement{Attributes: lost, Event: lost}
	}
	return b.settle(o)
}
