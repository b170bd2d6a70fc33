package syncer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"personasync/store/domain"
)

// shelf is an outbox in memory. It has the store's guarantees that the sender depends on: the order of a user's
// changes, one lease per user, and at most one event beside the attributes. It also counts its calls.
type shelf struct {
	t testing.TB

	sent []domain.SentSecond // by an earlier sender
	wake chan struct{}

	mu       sync.Mutex
	waiting  []*person // in order of receipt; some at the front may be empty
	byName   map[string]*person
	jobs     map[string]bool
	retrying int // number of persons with a retry time
	leases   map[uint64]*domain.Lease
	last     uint64
	seq      uint64
	tally    tally

	moment moment

	failTake, failSettle func() error
}

// tally counts a sender's calls of a shelf.
type tally struct {
	takes, settles int
	notSent        int                      // leases settled as never having left
	flying         int                      // leases not settled
	left           int                      // persons with pending or leased changes
	parked         map[string]domain.Result // by user and half

	// Halves of deliveries, by verdict.
	delivered, untried, refused, uncertain int
}

// person has the pending changes of one user.
type person struct {
	name       string
	job        string
	received   time.Time // of the oldest pending change; whole seconds
	retry      time.Time
	attributes []domain.Change
	events     []domain.Change
	flying     bool
	listed     bool
}

func (p *person) empty() bool { return len(p.attributes) == 0 && len(p.events) == 0 }

// moment ends a test whose sender asks its outbox again and again: in a bubble, time stands still while a loop goes
// round, and the test would never end.
type moment struct {
	at    time.Time
	takes int
}

// maxTakes is more than the requests of any test that leave at one moment.
const maxTakes = 10_000

func (m *moment) count() {
	if now := time.Now(); !now.Equal(m.at) {
		m.at, m.takes = now, 0
	}
	if m.takes++; m.takes > maxTakes {
		panic("the outbox is asked again and again in one moment")
	}
}

func newShelf(t testing.TB) *shelf {
	return &shelf{
		t: t, wake: make(chan struct{}, 1),
		byName: map[string]*person{}, jobs: map[string]bool{}, leases: map[uint64]*domain.Lease{},
		tally: tally{parked: map[string]domain.Result{}},
	}
}

// attribute adds a membership received now.
func (s *shelf) attribute(user string) { s.put(user, "", true, false) }

// event adds an event received now.
func (s *shelf) event(user string) { s.put(user, "", false, true) }

func (s *shelf) put(user, job string, attribute, event bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	p := s.byName[user]
	if p == nil {
		p = &person{name: user, job: job}
		s.byName[user] = p
	}
	if !p.listed {
		p.received, p.listed = now.Truncate(time.Second), true
		s.waiting = append(s.waiting, p)
		s.jobs[job] = true
	}
	if attribute {
		s.seq++
		change := membership(s.seq, user)
		change.Received = now
		p.attributes = append(p.attributes, change)
	}
	if event {
		s.seq++
		change := entered(s.seq, user)
		change.Received = now
		p.events = append(p.events, change)
	}
	s.signal()
}

func (s *shelf) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func membership(seq uint64, user string) domain.Change {
	return domain.Change{ID: domain.ID{Epoch: 1, Seq: seq}, Kind: domain.KindAttribute, User: user, Name: "vip", Value: []byte("true")}
}

func entered(seq uint64, user string) domain.Change {
	return domain.Change{
		ID: domain.ID{Epoch: 1, Seq: seq}, Kind: domain.KindEvent, User: user, Name: "Audience Entered",
		Computation: "vip", ComputedBy: "aud_1", Class: domain.ClassAudience, Transition: domain.TransitionEnter,
		Value: []byte("true"), MessageID: fmt.Sprint("m-", seq), EventTime: time.Now(),
	}
}

func (s *shelf) Wake(domain.Endpoint) <-chan struct{} { return s.wake }

func (s *shelf) Sent(since time.Time) ([]domain.SentSecond, error) { return s.sent, nil }

func (s *shelf) Take(ctx context.Context, o domain.TakeOptions) (*domain.Lease, domain.Next, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.takes++
	s.moment.count()
	if s.failTake != nil {
		if err := s.failTake(); err != nil {
			return nil, domain.Next{}, err
		}
	}
	f := &domain.Lease{ID: s.last + 1, Endpoint: o.Endpoint}
	users, events := 0, 0
	for _, p := range s.inOrder() {
		d, ok := p.delivery(o)
		if !ok {
			continue
		}
		if len(d.Attributes) > 0 && users == o.MaxUsers || d.Event != nil && events == o.MaxEvents || !o.Fit(d) {
			break
		}
		if len(d.Attributes) > 0 {
			users++
		}
		if d.Event != nil {
			events++
		}
		f.Users = append(f.Users, d)
		p.flying = true
	}
	next := s.next()
	if len(f.Users) == 0 {
		return nil, next, nil
	}
	s.last = f.ID
	s.leases[f.ID] = f
	return f, next, nil
}

// inOrder returns all persons with pending changes in the store's order: retries first, by time in whole
// seconds and name.
func (s *shelf) inOrder() []*person {
	if s.retrying == 0 {
		return s.waiting
	}
	var retries, others []*person
	for _, p := range s.waiting {
		if p.retry.IsZero() {
			others = append(others, p)
		} else {
			retries = append(retries, p)
		}
	}
	slices.SortStableFunc(retries, func(a, b *person) int {
		return cmp.Or(a.retry.Truncate(time.Second).Compare(b.retry.Truncate(time.Second)), cmp.Compare(a.name, b.name))
	})
	return append(retries, others...)
}

func (p *person) delivery(o domain.TakeOptions) (domain.UserChanges, bool) {
	due := !p.received.After(o.Due(p.job))
	if !p.retry.IsZero() {
		due = o.Force || !p.retry.After(o.Now)
	}
	if !due || p.flying || p.empty() || o.Skip != nil && o.Skip(p.name) {
		return domain.UserChanges{}, false
	}
	d := domain.UserChanges{User: p.name, Attributes: slices.Clone(p.attributes)}
	if len(p.events) > 0 {
		event := p.events[0]
		d.Event = &event
	}
	return d, true
}

func (s *shelf) next() domain.Next {
	n := domain.Next{Jobs: map[string]time.Time{}}
	retrying := 0
	for _, p := range s.waiting {
		if !p.retry.IsZero() {
			retrying++
		}
		switch {
		case p.flying || p.empty():
		case !p.retry.IsZero():
			n.Retry = domain.Sooner(n.Retry, p.retry)
			if n.RetryJobs == nil {
				n.RetryJobs = map[string]time.Time{}
			}
			n.RetryJobs[p.job] = domain.Sooner(n.RetryJobs[p.job], p.received)
		default:
			n.Jobs[p.job] = domain.Sooner(n.Jobs[p.job], p.received)
		}
		if retrying == s.retrying && len(n.Jobs) == len(s.jobs) {
			break // the following ones were received later
		}
	}
	return n
}

func (s *shelf) Settle(ctx context.Context, o domain.Settlement) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failSettle != nil {
		if err := s.failSettle(); err != nil {
			return err
		}
	}
	f := s.leases[o.Lease]
	if f == nil {
		return errors.New("no such lease")
	}
	if len(o.Results) != len(f.Users) {
		s.t.Errorf("lease %d has %d deliveries and %d results", f.ID, len(f.Users), len(o.Results))
	}
	delete(s.leases, o.Lease)
	s.tally.settles++
	if o.NotSent {
		s.tally.notSent++
	}
	for i, d := range f.Users {
		p := s.byName[d.User]
		p.flying = false
		s.setRetry(p, time.Time{})
		if len(d.Attributes) > 0 {
			n := len(d.Attributes)
			s.close(p, "attributes", o.Results[i].Attributes, func() { p.attributes = p.attributes[n:] }, p.attributes[:n])
		}
		if d.Event != nil {
			s.close(p, "event", o.Results[i].Event, func() { p.events = p.events[1:] }, p.events[:1])
		}
	}
	s.unlist(f)
	s.signal()
	return nil
}

// unlist removes persons without pending changes.
func (s *shelf) unlist(f *domain.Lease) {
	for _, d := range f.Users {
		p := s.byName[d.User]
		if p.empty() {
			s.setRetry(p, time.Time{})
			delete(s.byName, d.User)
		}
	}
	for len(s.waiting) > 0 && s.waiting[0].empty() {
		s.waiting = s.waiting[1:]
	}
}

func (s *shelf) setRetry(p *person, at time.Time) {
	if !p.retry.IsZero() {
		s.retrying--
	}
	if !at.IsZero() {
		s.retrying++
	}
	p.retry = at
	if whole := at.Truncate(time.Second); whole.Before(at) {
		p.retry = whole.Add(time.Second) // as the store rounds it
	}
}

func (s *shelf) close(p *person, half string, r domain.Result, remove func(), changes []domain.Change) {
	switch r.Verdict {
	case domain.Untried:
		s.tally.untried++
		return
	case domain.Delivered:
		s.tally.delivered++
		remove()
	case domain.Parked:
		s.tally.parked[p.name+"/"+half] = r
		remove()
	case domain.Refused, domain.Uncertain:
		if r.Verdict == domain.Refused {
			s.tally.refused++
		} else {
			s.tally.uncertain++
		}
		s.setRetry(p, domain.Later(p.retry, r.RetryAt))
		for i := range changes {
			changes[i].Attempts++
			if r.Alone {
				changes[i].Alone++
			}
		}
	}
}

// seen returns a copy of the tally.
func (s *shelf) seen() tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tally
	t.parked = maps.Clone(t.parked)
	t.flying = len(s.leases)
	t.left = len(s.byName)
	return t
}

func (s *shelf) drained() bool { return s.seen().left == 0 }

// retryOf returns when a user may be tried again.
func (s *shelf) retryOf(user string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byName[user].retry
}

// fail makes Take and Settle fail from now on. Nil makes them work again.
func (s *shelf) fail(take, settle func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failTake, s.failSettle = take, settle
}
