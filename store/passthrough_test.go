package store

import (
	"fmt"
	"runtime"
	"testing"
	"time"
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
