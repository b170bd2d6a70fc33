package outbox

import (
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// settler is a Settle in progress for one user.
type settler struct {
	tx       *state.Tx
	u        *state.User
	endpoint domain.Endpoint
	at       time.Time
	accepted bool // MoEngage accepted something of the user
}

// Settle writes the results of a lease. Users who were erased meanwhile are skipped. It does nothing when the lease
// is settled already.
func Settle(tx *state.Tx, o domain.Settlement) {
	f := tx.State.Leases[o.Lease]
	if f == nil {
		return // settled already
	}
	tx.State.EndLease(f)
	tx.Remove(tx.Bucket(state.BucketLeases), state.NumberKey(o.Lease))
	if o.NotSent {
		was := f.Counts()
		countSent(tx, f.Second, domain.SentSecond{Users: -was.Users, Events: -was.Events, Cohorts: -was.Cohorts, Deletes: -was.Deletes})
	}
	wantUsers(tx, f.Endpoint, func(yield func(string) bool) {
		for i := range f.List {
			if !yield(f.List[i].User) {
				return
			}
		}
	})
	for i := range f.List {
		result := domain.UserResult{}
		if i < len(o.Results) {
			result = o.Results[i]
		}
		l := settler{tx: tx, u: tx.User(f.List[i].User), endpoint: f.Endpoint, at: o.At}
		l.settle(&f.List[i], result)
	}
}

// settle writes the result of one user's changes.
func (l *settler) settle(p *state.LeasedUser, s domain.UserResult) {
	again := time.Time{} // when a failed change may leave again
	waiting := l.endpoint == domain.EndpointTransition && l.u.Index.AwaitsProfile()
	for _, change := range p.Attributes {
		again = domain.Later(again, l.attribute(change, s.Attributes))
	}
	if !p.Queued.ID.IsZero() {
		result := s.Event
		if p.Loose {
			result = s.Attributes
		}
		again = domain.Later(again, l.queued(p.Queued, result))
	}
	rh := l.u.Index.Endpoint(l.endpoint)
	rh.Retry = 0
	if !again.IsZero() && len(rh.Lanes) > 0 {
		rh.Retry = ceilSecond(again)
	}
	l.u.Dirty = true
	if len(rh.Lanes) > 0 {
		Retime(l.tx, l.u, l.endpoint)
	}
	if l.accepted && l.endpoint == domain.EndpointTransition {
		l.u.Index.ProfileCreated(Second(l.at), waiting)
	}
}

func ceilSecond(t time.Time) uint32 {
	return uint32(t.Add(time.Second - 1).Unix())
}

// attribute settles one attribute change, and returns when a failed one may leave again.
func (l *settler) attribute(s state.LeasedChange, r domain.Result) (again time.Time) {
	f := l.tx.FieldOf(s.Number)
	e := l.tx.Entry(l.u, s.Number)
	t, overtaken := e.Waiting, e.InFlight.ID == s.ID
	if overtaken {
		t, e.InFlight = e.InFlight, state.Ticket{}
	}
	if t.ID != s.ID || f == nil {
		return // erased meanwhile
	}
	l.tx.Write(l.u, s.Number)
	if r.Verdict == domain.Delivered && l.unknown(f, &t) {
		r = domain.Result{Verdict: domain.Untried}
		e.LastSent = state.LastSent{Kind: state.UncertainlySent} // MoEngage may have had a profile all the same
	}
	t.Failures = attempted(t.Failures, r, l.at)
	switch r.Verdict {
	case domain.Delivered:
		e.LastSent = state.SentValue(t.Value)
		l.accepted = true
	case domain.Uncertain:
		e.LastSent = state.LastSent{Kind: state.UncertainlySent}
	}
	switch {
	case r.Verdict == domain.Delivered:
		l.closeTicket(f, e, &t, overtaken, domain.StateDelivered)
	case overtaken: // not worth another attempt
		l.closeTicket(f, e, &t, overtaken, domain.StateSuperseded)
	case r.Verdict == domain.Parked:
		SettlePending(l.tx, l.u, f, &t)
		l.park(l.tx.PendingChange(l.u, f, &t))
		e.Waiting = state.Ticket{ID: t.ID, Place: state.PlaceParked, Transition: t.Transition}
		return
	default:
		e.Waiting = t
		if t.Tried() {
			again = domain.Later(l.at, r.RetryAt)
		}
		return again
	}
	if overtaken {
		l.dropNeedless(f, e)
	}
	return
}

// unknown reports whether a cohort change was delivered before the user's first change on the other endpoint, which
// an operator retried while the request was in flight. It is sent once more after that one; see RepeatCohorts.
func (l *settler) unknown(f *state.Field, t *state.Ticket) bool {
	return f.Kind() == domain.KindCohort && l.u.Index.Accepted == 0 && l.u.Index.AwaitsProfileIn(state.Lane{Due: t.Due})
}

// closeTicket closes an attribute change. An overtaken one is not the pending change of its row.
func (l *settler) closeTicket(f *state.Field, e *state.Entry, t *state.Ticket, overtaken bool, s domain.State) {
	ch := l.tx.Pending(l.u, f, t)
	if overtaken {
		ch.Successor = e.Waiting.ID
		l.tx.State.Ledger.Changes.Pending--
		l.u.Index.Endpoint(l.endpoint).Remove(t.Lane)
	} else {
		SettlePending(l.tx, l.u, f, t)
		e.Waiting = state.Ticket{}
	}
	if s == domain.StateDelivered {
		ch.Successor = domain.ID{}
	}
	l.tx.Close(l.u, &ch, s, l.at)
}

// attempted adds an attempt to the failures. A change that was not sent counts none, but keeps the reason.
func attempted(was *state.Failures, r domain.Result, at time.Time) *state.Failures {
	if r.Verdict == domain.Untried && r.Reason == "" {
		return was
	}
	now := &state.Failures{Reason: r.Reason, Sentence: r.Sentence, Answer: r.Answer}
	if was != nil {
		now.Attempts, now.Alone = was.Attempts, was.Alone
	}
	if r.Verdict != domain.Untried {
		now.Attempts++
		now.Alone += int(record.BoolByte(r.Alone))
	}
	if r.Verdict == domain.Refused || r.Verdict == domain.Uncertain {
		now.Next = domain.Later(at, r.RetryAt)
	}
	return now
}

// dropNeedless cancels the pending value if MoEngage has it after this settlement.
func (l *settler) dropNeedless(f *state.Field, e *state.Entry) {
	p, t := state.PolicyOf(l.tx, f), e.Waiting
	if !t.Pending() || !needless(e, t.Transition, t.Value, p.UnknownExit) && (state.Allows(l.tx, l.u, &p) || !unheard(e, t.Value)) {
		return
	}
	SettlePending(l.tx, l.u, f, &t)
	e.Waiting = state.Ticket{}
	l.tx.Close(l.u, l.tx.PendingChange(l.u, f, &t), domain.StateCancelled, l.at)
}

// queued settles an event, or a loose attribute.
func (l *settler) queued(s state.LeasedChange, r domain.Result) (again time.Time) {
	key := state.QueueKey(l.u.Key, s.Number, s.ID)
	due, _, frame := state.ParseQueueValue(l.tx.Queue.Get(key))
	ch := l.tx.Decode(frame)
	if ch == nil { // erased meanwhile, or corrupt
		missQueued(l.tx, l.u, l.endpoint, s.Number, s.ID)
		return
	}
	if r.Verdict == domain.Untried {
		if r.Reason != "" {
			ch.Reason, ch.Sentence, ch.Answer = r.Reason, r.Sentence, r.Answer
			l.tx.Put(l.tx.Queue, key, l.tx.QueueValue(due, ch))
		}
		if ch.Attempts > 0 {
			return l.at
		}
		return
	}
	ch.Attempts++
	ch.Alone += int(record.BoolByte(r.Alone))
	ch.Reason, ch.Sentence, ch.Answer = r.Reason, r.Sentence, r.Answer
	if ch.Loose && r.Verdict == domain.Uncertain {
		l.tx.Entry(l.u, ch.Field).LastSent = state.LastSent{Kind: state.UncertainlySent}
		l.tx.Write(l.u, ch.Field)
	}
	if ch.Kind == domain.KindDelete && r.Verdict == domain.Uncertain {
		mayHaveAccepted(l.tx, l.u, ch, l.at)
	}
	if r.Verdict == domain.Refused || r.Verdict == domain.Uncertain {
		ch.NextAttempt = domain.Later(l.at, r.RetryAt)
		l.tx.Put(l.tx.Queue, key, l.tx.QueueValue(due, ch))
		return ch.NextAttempt
	}
	dequeue(l.tx, l.u, l.endpoint, s.Number, s.ID)
	l.tx.State.Ledger.Changes.Pending--
	if ch.Kind == domain.KindDelete && r.Verdict == domain.Delivered {
		closeDeletion(l.tx, l.u, ch, domain.StatePending, domain.StateDelivered, l.at)
		return
	}
	looseLess(l.tx, l.u, ch)
	if r.Verdict == domain.Parked {
		l.park(ch)
		l.tx.Put(l.tx.Queue, state.QueueKey(l.u.Key, state.LaneParked, s.ID), nil)
		return
	}
	l.accepted = true
	if ch.Loose {
		l.tx.Entry(l.u, ch.Field).LastSent = state.SentValue(ch.Value)
	}
	l.tx.Close(l.u, ch, domain.StateDelivered, l.at)
	return
}

func (l *settler) park(ch *state.Stored) {
	ch.State, ch.NextAttempt = domain.StateParked, time.Time{}
	l.tx.State.Ledger.Changes.Parked++
	l.tx.Put(l.tx.Parked, state.IDKey(ch.ID), ch.Encode(nil))
	l.tx.ParkedNow(ch)
	if ch.Kind == domain.KindDelete {
		l.tx.State.Deletes.Count(domain.StatePending, -1)
		countDeletion(l.tx, domain.StateParked, 1)
	}
}

// Interrupt settles a lease that a crash cut off as uncertain: its request may or may not have arrived.
func Interrupt(tx *state.Tx, lease uint64, at time.Time) {
	lost := domain.Result{Verdict: domain.Uncertain, RetryAt: at, Reason: "interrupted", Sentence: "the agent stopped while the request was under way"}
	o := domain.Settlement{Lease: lease, At: at, Results: make([]domain.UserResult, len(tx.State.Leases[lease].List))}
	for i := range o.Results {
		o.Results[i] = domain.UserResult{Attributes: lost, Event: lost}
	}
	Settle(tx, o)
}
