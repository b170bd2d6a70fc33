package store

import (
	"context"
	"testing"
	"time"

	"personasync/store/domain"
)

// deletion is a delete of Segment that was received at a minute; one of an earlier minute when it has a time.
func deletion(user, message string, received int, options ...func(*domain.Event)) *domain.Event {
	e := &domain.Event{Received: minute(received), Time: minute(received), Call: domain.CallDelete, User: domain.Identifier{ID: user}, MessageID: message, Raw: []byte("{}")}
	for _, o := range options {
		o(e)
	}
	return e
}

func ofMinute(m int) func(*domain.Event) { return func(e *domain.Event) { e.Time = minute(m) } }

// TestADeleteErasesOnce: what came after the first is the user's new life, whatever is delivered of the old
// deletion again.
func TestADeleteErasesOnce(t *testing.T) {
	costly(t, manyStores)
	year := 365 * 24 * 60
	for name, c := range map[string]struct {
		first, again *domain.Event
		erased       bool
	}{
		"delivered again":                        {deletion("ann", "d", 40), deletion("ann", "d", 45), false},
		"told for another source":                {deletion("ann", "d", 40, ofMinute(10)), deletion("ann", "e", 45, ofMinute(11)), false},
		"replayed after a year":                  {deletion("ann", "d", 40, ofMinute(10)), deletion("ann", "d", year, ofMinute(10)), false},
		"a clock of Segment's that is ahead":     {deletion("ann", "d", 40, ofMinute(43)), deletion("ann", "d", 50, ofMinute(43)), false},
		"another wish":                           {deletion("ann", "d", 40, ofMinute(10)), deletion("ann", "e", 60, ofMinute(59)), true},
		"another wish without a time":            {deletion("ann", "d", 40), deletion("ann", "e", 60), true},
		"the same bytes, after the ids are gone": {deletion("ann", "raw_1", 40), deletion("ann", "raw_1", year), true},
	} {
		b := open(t, rules(domain.SendBoth))
		b.receive(event("ann", "vip", true, 0), event("bob", "vip", true, 0), c.first, event("ann", "vip", true, 42, at(42)))
		b.wantMembers("vip", "ann", "bob")
		before := b.balance().Events
		b.receive(c.again)
		if c.erased {
			b.wantMembers("vip", "bob")
		} else {
			b.wantMembers("vip", "ann", "bob")
			after := b.balance().Events
			if after.Stale+after.Duplicate != before.Stale+before.Duplicate+1 {
				t.Errorf("%s: counted %+v, before %+v", name, after, before)
			}
		}
		if t.Failed() {
			t.Fatal(name)
		}
		recount(t, b)
	}
}

// TestADeleteOfAnotherUserIsAnother: a message id says nothing of whom a delete is about.
func TestADeleteOfAnotherUserIsAnother(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 0), event("bob", "vip", true, 0), deletion("ann", "d", 40), deletion("bob", "d", 40))
	b.wantMembers("vip")
}

// TestAReplayedDeleteSparesWhatCameAfterAForget: the operator erased the user after Segment's delete.
func TestAReplayedDeleteSparesWhatCameAfterAForget(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 0), deletion("ann", "d", 40, ofMinute(10)))
	_, err := b.Forget(context.Background(), "ann")
	must(t, err)
	now := time.Now()
	fresh := event("ann", "vip", true, 0)
	fresh.Received, fresh.Time = now.Add(time.Second), now.Add(time.Second)
	late := deletion("ann", "other", 0)
	late.Received, late.Time = now.Add(time.Minute), minute(10)
	b.receive(fresh, late)
	b.wantMembers("vip", "ann")
	recount(t, b)
}
