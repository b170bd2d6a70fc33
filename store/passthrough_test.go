package store

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Every event looked at each day of message_ids, whether or not anything was received on it: a thousand
// events took most of a minute.
func TestMessageIDsKeptForCenturiesAreNotSearchedDayByDay(t *testing.T) {
	r := rules(SendEvent)
	r.MessageIDs = 290 * 365 * day
	b := open(t, r)
	var events []*Event
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
	b := open(t, rules(SendEvent))
	step := func(days int) *Event {
		e := event("ann", "step", true, 0, passThrough("m1"))
		e.Received = e.Received.Add(time.Duration(days) * day)
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
	corrected := func(e *Event) *Event {
		e.MessageID, e.ClockShift = "m1", time.Second
		return e
	}
	for _, tt := range []struct {
		name   string
		events []*Event
	}{
		{"pass-through", []*Event{
			event("ann", "step", true, 0, passThrough("m1")), event("bob", "step", true, 0, passThrough("m1")),
			event("ann", "other", true, 0, passThrough("m1")),
		}},
		{"with a corrected clock", []*Event{
			corrected(event("ann", "gold", true, 0)), corrected(event("bob", "gold", true, 0)),
			corrected(event("ann", "other", true, 0)), corrected(event("ann", "gold", true, 0, asTrack("Audience Entered"))),
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := open(t, rules(SendAsReceived))
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
	b := open(t, rules(SendEvent))
	e := event("ann", "step", true, 0, passThrough("m1"))
	sum := sha256.Sum256([]byte("m1"))
	b.receive(event("cid", "step", true, 0))
	if err := b.db.Update(func(tx *bolt.Tx) error {
		ids, err := tx.Bucket(bucketMessages).CreateBucketIfNotExists(dayKey(e.Received))
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
