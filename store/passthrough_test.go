package store

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/apply"
	"personasync/store/internal/state"
)

// Every event looked at each day of message_ids, whether or not anything was received on it: a thousand
// events took most of a minute.
func TestMessageIDsKeptForCenturiesAreNotSearchedDayByDay(t *testing.T) {
	r := rules(domain.SendEvent)
	r.MessageIDs = 290 * 365 * state.Day
	b := open(t, r)
	var events []*domain.Event
	for i := range 20 {
		events = append(events, event("ann", "step", true, i%10, passThrough(fmt.Sprint("m", i))))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.receive(events...)
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > 100_000 {
		t.Errorf("20 events made %d allocations", n)
	}
	if e := b.balance().Events; e.Transitions != 20 {
		t.Errorf("%+v", e)
	}
}

func TestAMessageIDIsKnownOnLaterDaysAndUnderAClockThatWasSetBack(t *testing.T) {
	b := open(t, rules(domain.SendEvent))
	step := func(days int) *domain.Event {
		e := event("ann", "step", true, 0, passThrough("m1"))
		e.Received = e.Received.Add(time.Duration(days) * state.Day)
		e.Time = e.Received
		return e
	}
	b.receive(step(0), step(1), step(-1))
	if e := b.balance().Events; e.Transitions != 1 || e.Duplicate != 2 {
		t.Errorf("%+v", e)
	}
}

// One message id may be what a function of the sender's gives to all that it makes of one event: the users, the
// computations and the calls behind the first were dropped as repeats, with what they said of memberships.
func TestAMessageIDThatUsersAndComputationsShareLosesNoneOfThem(t *testing.T) {
	corrected := func(e *domain.Event) *domain.Event {
		e.MessageID, e.ClockShift = "m1", time.Second
		return e
	}
	for _, tt := range []struct {
		name   string
		events []*domain.Event
	}{
		{"pass-through", []*domain.Event{
			event("ann", "step", true, 0, passThrough("m1")), event("bob", "step", true, 0, passThrough("m1")),
			event("ann", "other", true, 0, passThrough("m1")),
		}},
		{"with a corrected clock", []*domain.Event{
			corrected(event("ann", "gold", true, 0)), corrected(event("bob", "gold", true, 0)),
			corrected(event("ann", "other", true, 0)), corrected(event("ann", "gold", true, 0, asTrack("Audience Entered"))),
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := open(t, rules(domain.SendAsReceived))
			b.receive(tt.events...)
			if e := b.balance().Events; e.Transitions != uint64(len(tt.events)) {
				t.Errorf("first: %+v", e)
			}
			b.receive(tt.events...)
			if e := b.balance().Events; e.Duplicate != uint64(len(tt.events)) {
				t.Errorf("again: %+v", e)
			}
		})
	}
}

// A message id that an older version remembered, by itself, is known still: its event is not sent once more.
func TestAMessageIDOfAnOlderVersionIsKnownStill(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendEvent))
	e := event("ann", "step", true, 0, passThrough("m1"))
	sum := sha256.Sum256([]byte("m1"))
	b.receive(event("cid", "step", true, 0))
	if err := b.db.Update(func(tx engine.Tx) error {
		ids, err := tx.Bucket(state.BucketMessages).MakeInner(apply.DayKey(e.Received))
		if err != nil {
			return err
		}
		return ids.Put(sum[:16], []byte{})
	}); err != nil {
		t.Fatal(err)
	}
	b.receive(e)
	if e := b.balance().Events; e.Duplicate != 1 {
		t.Errorf("%+v", e)
	}
}

// TestAClockThatJumpedAheadMakesNoNewsOld: for as long as the clock was ahead, an event that passes through counted
// as a replay, and a transition as older than max_event_age. They were acknowledged and never sent. A replay is one
// all the same.
func TestAClockThatJumpedAheadMakesNoNewsOld(t *testing.T) {
	costly(t, manyStores)
	r := rules(domain.SendEvent)
	r.MessageIDs, r.Defaults.MaxEventAge = 2*state.Day, time.Hour
	for _, tt := range []struct {
		name               string
		age, jump, noticed time.Duration
		sent, stale        bool
	}{
		{"news", 10 * time.Second, 0, 0, true, false},
		{"news, a year ahead", 10 * time.Second, 366 * state.Day, 366 * state.Day, true, false},
		{"news, a year ahead by all that is known", 10 * time.Second, 366 * state.Day, 0, false, true},
		{"two hours old, a day ahead", 2 * time.Hour, state.Day, state.Day, false, false},
		{"a replay, a year ahead", 3 * state.Day, 366 * state.Day, 366 * state.Day, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := open(t, r)
			came := func(e *domain.Event) *domain.Event {
				e.Received, e.ClockAhead = e.Time.Add(tt.age+tt.jump), tt.noticed
				return e
			}
			b.receive(came(event("ann", "vip", true, 1)), came(event("bob", "step", true, 1, passThrough("m1"))))
			sent := 0
			if f := b.take(); f != nil {
				sent = len(f.Users)
			}
			if sent != 2 && tt.sent || sent != 0 && !tt.sent {
				t.Errorf("%d users' events are sent", sent)
			}
			if e := b.balance().Events; (e.Stale == 1) != tt.stale {
				t.Errorf("%+v", e)
			}
		})
	}
}

// A redelivery that comes in while the clock is ahead is still one, and so is one of what came in then.
func TestAMessageIDIsKnownUnderAClockThatJumpedAhead(t *testing.T) {
	b := open(t, rules(domain.SendEvent))
	step := func(id string, ahead time.Duration) *domain.Event {
		e := event("ann", "step", true, 0, passThrough(id))
		e.Received, e.ClockAhead = e.Received.Add(ahead), ahead
		return e
	}
	b.receive(step("m1", 0), step("m1", 366*state.Day), step("m2", 366*state.Day), step("m2", 366*state.Day), step("m2", 0))
	if e := b.balance().Events; e.Transitions != 2 || e.Duplicate != 3 {
		t.Errorf("%+v", e)
	}
}
