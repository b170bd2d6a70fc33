package outbox

import (
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// TestASendTimeIsNotInTheFuture: MoEngage refuses such events. A receipt far behind the time is a clock that was set
// back, and then the time is kept.
func TestASendTimeIsNotInTheFuture(t *testing.T) {
	received := statetest.Receipt
	for ahead, want := range map[time.Duration]time.Duration{
		-time.Hour:                    -time.Hour,
		-time.Second:                  -time.Second,
		-time.Millisecond:             -time.Second,
		0:                             -time.Second,
		domain.MaxAhead:               -time.Second,
		domain.MaxAhead + time.Second: domain.MaxAhead + time.Second,
	} {
		if got := SendTime(&domain.Event{Time: received.Add(ahead), Received: received}).Sub(received); got != want {
			t.Errorf("a time %v ahead is sent as %v ahead, want %v", ahead, got, want)
		}
	}
}

// TestARecordHasRoomForItsUsers: half of its change ids, with a repetition of each user's cohorts.
func TestARecordHasRoomForItsUsers(t *testing.T) {
	for cohorts, want := range map[int]int{0: 4681, 12: 1724, 40000: 1} {
		r := &state.Registry{Cohorts: make([]*state.Field, cohorts)}
		if got := PerRecord(r, 1e6); got != want {
			t.Errorf("with %d cohorts a record has %d users, want %d", cohorts, got, want)
		}
		if got := PerRecord(r, 1); got != 1 {
			t.Errorf("with %d cohorts a record has %d users of at most one", cohorts, got)
		}
	}
	c := Cause{Slots: 3}
	if got := c.Room(); got != 1<<16-4 {
		t.Errorf("a record with 3 changes has room for %d", got)
	}
}

// TestTwoChangesOfARecordHaveTwoIds, and the epoch of the record.
func TestTwoChangesOfARecordHaveTwoIds(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendBoth))
	b.Do(func(tx *state.Tx) {
		u, f, c := tx.User("ann"), tx.FieldOf(0), b.cause(tx, 1)
		one := Draft(tx, u, f, policy(tx, f), c, domain.KindEvent, domain.TransitionEnter)
		two := Draft(tx, u, f, policy(tx, f), c, domain.KindAttribute, domain.TransitionEnter)
		want := domain.ID{Epoch: statetest.Epoch, Seq: c.Seq}
		if one.ID != want || two.ID.Slot != 1 || two.ID.Seq != c.Seq {
			t.Errorf("the ids are %s and %s, want %s and the next", one.ID, two.ID, want)
		}
		if id := c.ParkedAs(tx.State.Epochs); id != want {
			t.Errorf("the event is parked as %s, want %s", id, want)
		}
		c.Parked = domain.ID{Epoch: 1, Seq: 2}
		if id := c.ParkedAs(tx.State.Epochs); id != c.Parked {
			t.Errorf("an event that was parked is parked again as %s", id)
		}
	})
}
