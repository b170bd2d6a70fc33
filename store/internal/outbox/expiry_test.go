package outbox

import (
	"encoding/json"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

const keepParked = 30 * state.Day

// parkOne has MoEngage refuse a change for good, which was received on a day.
func (b *box) parkOne(user string, day int) domain.ID {
	b.Helper()
	m := day * 24 * 60
	id := b.enqueue(user, true, m)
	b.settle(b.take(options(m)), domain.Parked, m)
	return id
}

func (b *box) prune(day int) (more bool) {
	b.Helper()
	b.Do(func(tx *state.Tx) { more = PruneParked(tx, minute(day*24*60), keepParked) })
	return more
}

// TestAParkedChangeExpiresAnnounced: a week ahead, however long the agent did not run.
func TestAParkedChangeExpiresAnnounced(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendBoth))
	first, second := b.parkOne("ann", 0), b.parkOne("bob", 5)
	for day := range 30 {
		b.prune(day)
	}
	b.wantState(first, domain.StateParked)
	b.prune(30)
	b.wantState(first, domain.StateExpired)
	b.wantState(second, domain.StateParked)
	b.Reopen()
	b.prune(200)
	b.wantState(second, domain.StateExpired) // it was announced on day 28
	b.Read(func(tx *state.Tx) {
		for _, user := range []string{"ann", "bob"} {
			if e := tx.Entry(tx.User(user), 0); !e.Waiting.ID.IsZero() {
				t.Errorf("the row of %s still names the expired change: %+v", user, e.Waiting)
			}
		}
	})
}

// TestAnAnnouncementIsMadeOnceADay, however often changes are pruned, and covers the changes of the day to come.
func TestAnAnnouncementIsMadeOnceADay(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendBoth))
	b.parkOne("ann", 0)
	for _, tc := range []struct{ day, want int }{{23, 1}, {23, 1}, {24, 1}, {25, 2}, {25, 2}} {
		b.prune(tc.day)
		var list []Notice
		b.Read(func(tx *state.Tx) { b.Must(json.Unmarshal(tx.Bucket(state.BucketMeta).Get(MetaNotices), &list)) })
		if len(list) != tc.want {
			t.Errorf("on day %d there are %d announcements, want %d", tc.day, len(list), tc.want)
		}
	}
}

// TestAnUnannouncedChangeDoesNotExpire though it is as old as it may be.
func TestAnUnannouncedChangeDoesNotExpire(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendBoth))
	id := b.parkOne("ann", 0)
	b.prune(100)
	b.prune(106)
	b.wantState(id, domain.StateParked)
	b.prune(107)
	b.wantState(id, domain.StateExpired)
}

// TestTheAnnouncementsOfAClockThatWasAheadAreWithdrawn once it is set back.
func TestTheAnnouncementsOfAClockThatWasAheadAreWithdrawn(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendBoth))
	id := b.parkOne("ann", 0)
	b.prune(1000)
	b.prune(35)
	b.prune(41)
	b.wantState(id, domain.StateParked)
	b.prune(42)
	b.wantState(id, domain.StateExpired)
}

func TestParkedChangesAreKeptForEverWithoutARetention(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendBoth))
	id := b.parkOne("ann", 0)
	b.Do(func(tx *state.Tx) {
		for _, keep := range []time.Duration{0, -1} {
			if PruneParked(tx, minute(1e6), keep) {
				t.Error("there is more to expire, and nothing does")
			}
		}
	})
	b.wantState(id, domain.StateParked)
}
