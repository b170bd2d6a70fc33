package preview

import (
	"fmt"
	"time"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/agent/sending"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// Membership is what the users of a delivery are before it comes.
type Membership string

const (
	In    Membership = "in"    // members, and MoEngage knows it
	Out   Membership = "out"   // they were members and left, and MoEngage knows it
	Never Membership = "never" // never seen
)

// ParseMembership reads the word for a Membership.
func ParseMembership(word string) (Membership, error) {
	switch m := Membership(word); m {
	case In, Out, Never:
		return m, nil
	}
	return "", fmt.Errorf("%w: %q is none of in, out and never", api.ErrUsage, word)
}

// AsIf is Run without data. Every user is what now says, in every audience that the delivery names. The guard against mass
// exits is off, because one user is no mass.
func AsIf(c *config.Config, q api.PreviewQuery, now Membership) (*api.PreviewResult, error) {
	s := Settings{Config: c, Endpoint: func(e domain.Endpoint) syncer.Config { return sending.Config(c, e) }}
	rules := c.Rules()
	rules.Guard = domain.Guard{}
	r, err := run(s, q, rules, store.TryNew, func(events []*domain.Event) []*domain.Event { return history(events, now, &rules) })
	if err != nil || now == Never {
		return r, err
	}
	for i := range r.Events {
		if r.Events[i].Class == domain.ClassTrait.String() {
			r.Remarks = append(r.Remarks, "--as-if says what the users are in audiences; a trait is shown as one that has no value yet")
			break
		}
	}
	return r, nil
}

// longBefore is how long before the first event of a delivery its users became members or former members.
const longBefore = 24 * time.Hour

// history returns events that make the users of a delivery members or former members. There is one for each call, because
// send = "as_received" keeps what identify calls say apart from what track calls say.
func history(events []*domain.Event, now Membership, rules *domain.Rules) (list []*domain.Event) {
	if now == Never {
		return nil
	}
	type about struct {
		user, anonymous, email, space, key, id string
		track                                  bool
	}
	known := make(map[about]bool)
	began := first(events).Add(-longBefore)
	for _, e := range events {
		of := about{e.User.ID, e.Anonymous.ID, e.Email.ID, e.Space, e.Key, e.ComputationID, e.Call == domain.CallTrack}
		if e.Fault != "" || e.Flag == domain.FlagSilent || known[of] {
			continue
		}
		known[of] = true
		p := rules.For(e.Key, e.ComputationID)
		list = append(list, before(e, domain.FlagIn, began, &p))
		if now == Out {
			list = append(list, before(e, domain.FlagOut, began.Add(time.Minute), &p))
		}
	}
	return list
}

// before is an event about the user and the audience of another one, and about nothing else. It gives the consent that
// the audience asks for, because MoEngage would not know of the membership without.
func before(e *domain.Event, flag domain.Flag, at time.Time, p *domain.Policy) *domain.Event {
	b := *e
	b.Received, b.Time, b.TimeSource, b.ClockShift, b.ClockAhead = at, at, domain.TimeOwn, 0, 0
	b.Flag, b.PassThrough, b.Object, b.LeftOut = flag, false, domain.Span{}, nil
	if b.Consent = nil; len(p.Consent) > 0 {
		b.Consent = &domain.Preferences{Given: p.Consent}
	}
	b.MessageID = fmt.Sprint("before ", flag, " ", e.MessageID)
	return &b
}

// first is the earliest time of events and of their receipts.
func first(events []*domain.Event) (at time.Time) {
	for _, e := range events {
		at = domain.Sooner(at, domain.Sooner(e.Time, e.Received))
	}
	return at
}
