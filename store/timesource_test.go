package store

import (
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/query"
)

func TestATimeThatCouldNotBeReadIsShownWithItsEvent(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	unread := event("ann", "vip", true, 1)
	unread.TimeSource = domain.TimeUnreadable
	parked := event("ann", "gold", true, 1)
	parked.TimeSource, parked.Fault, parked.Sentence = domain.TimeSecond, "undetermined", "no flag"
	b.receive(unread, parked, event("ann", "silver", true, 1))

	for list, want := range map[string]domain.TimeSource{"pending": domain.TimeUnreadable, "parked": domain.TimeSecond} {
		state, _ := domain.ParseState(list)
		page, _, err := b.Changes(domain.OutboxFilter{State: state})
		must(t, err)
		for _, line := range page {
			id, err := domain.ParseID(line.ID)
			must(t, err)
			c, _, err := b.Change(id)
			must(t, err)
			if line.Computation == "silver" {
				want = domain.TimeOwn
			}
			if c.TimeSource != want {
				t.Errorf("%s %s: %q, want %q", list, line.Computation, c.TimeSource, want)
			}
		}
	}
	trail, err := b.Activity(query.ActivityFilter{})
	must(t, err)
	said := 0
	for _, h := range trail.Items {
		if h.TimeSource == "unreadable" && h.Computation == "vip" {
			said++
		} else if h.TimeSource != "" {
			t.Errorf("%+v", h)
		}
	}
	u, err := b.User("ann")
	must(t, err)
	for _, m := range u.Memberships {
		if (m.Computation == "vip") != (m.TimeSource == "unreadable") {
			t.Errorf("%+v", m)
		}
	}
	if said != 1 || len(u.Memberships) != 2 {
		t.Errorf("%d lines of the trail, %d memberships", said, len(u.Memberships))
	}
}

// A time that sentAt corrected rests on the receipt, so the enter below seems to be newer when it is delivered again.
func TestARepeatWithACorrectedTimeChangesNothing(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	enter := event("ann", "vip", true, 1)
	enter.ClockShift = time.Hour
	again := *enter
	again.Received, again.Time, again.ClockShift = enter.Received.Add(10*time.Minute), enter.Time.Add(10*time.Minute), time.Hour+10*time.Minute
	b.receive(enter, event("ann", "vip", false, 5), &again)
	b.drain()
	b.wantSaid("")
	if e := b.balance().Events; e.Duplicate != 1 {
		t.Errorf("%+v", e)
	}
}
