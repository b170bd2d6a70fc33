package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// parked is an event that cannot be used.
func parked(user string) *domain.Event {
	return event(user, "vip", true, 1, func(e *domain.Event) { e.Fault, e.Sentence = "undetermined", "no flag" })
}

// TestADamagedParkedItemKeepsNoOtherFromExpiring: it stood before the others, and nothing expired any more.
func TestADamagedParkedItemKeepsNoOtherFromExpiring(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.SetRetention(Options{Parked: time.Hour})
	b.receive(parked("ann"), parked("bob"))
	must(t, b.writer.Do(t.Context(), func(x *state.Tx) error {
		k, frame := x.Parked.Cursor().First()
		broken := append([]byte(nil), frame...)
		broken[len(broken)-1] ^= 1
		return x.Parked.Put(append([]byte(nil), k...), broken)
	}, nil))
	for _, at := range []time.Duration{time.Hour, 48 * time.Hour} { // the first call announces it
		_, err := b.Prune(t.Context(), noon.Add(at))
		must(t, err)
	}
	c, err := b.Counts()
	must(t, err)
	if c.Events.Discarded != 1 || c.Events.Parked != 1 {
		t.Errorf("%d expired, %d still parked, want one of each", c.Events.Discarded, c.Events.Parked)
	}
}

func TestWhatExpiresIsAnnouncedAWeekBefore(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	late := parked("cid")
	late.Received = late.Received.Add(24 * time.Hour)
	b.receive(parked("ann"), parked("bob"), late)
	const keep = 30 * 24 * time.Hour
	goes := late.Received.Add(-24 * time.Hour).Add(keep)
	for _, tc := range []struct {
		name string
		now  time.Time
		keep time.Duration
		want uint64
	}{
		{"more than a week before", goes.Add(-outbox.NoticeLead - time.Second), keep, 0},
		{"a week before", goes.Add(-outbox.NoticeLead), keep, 2},
		{"six days before", goes.Add(-6 * 24 * time.Hour), keep, 3},
		{"kept for ever", goes, 0, 0},
	} {
		e, err := b.Expiring(tc.now, tc.keep)
		must(t, err)
		switch {
		case e == nil && tc.want == 0:
		case e == nil || e.Count != tc.want || e.More || !e.First.Equal(goes):
			t.Errorf("%s: %+v, want %d from %s", tc.name, e, tc.want, goes)
		}
	}
}

// TestWhatExpiresIsAnnouncedOnceADay, however often the data is looked at: each notice is written into the state.
func TestWhatExpiresIsAnnouncedOnceADay(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	const keep = 30 * 24 * time.Hour
	b.SetRetention(Options{Parked: keep})
	b.receive(parked("ann"))
	for hours := range 72 {
		_, err := b.Prune(t.Context(), noon.Add(keep-outbox.NoticeLead).Add(time.Duration(hours)*time.Hour))
		must(t, err)
	}
	var list []outbox.Notice
	must(t, b.look(func(tx engine.Tx) error {
		return json.Unmarshal(tx.Bucket(state.BucketMeta).Get(outbox.MetaNotices), &list)
	}))
	if n := len(list); n < 3 || n > 4 {
		t.Errorf("72 looks in three days made %d notices", n)
	}
}

func TestWhatExpiresIsNotGuessedOfAClosedStore(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.receive(parked("ann"))
	must(t, b.Store.Close())
	if e, err := b.Expiring(noon, time.Hour); !errors.Is(err, domain.ErrClosed) {
		t.Errorf("a closed store says %+v, %v", e, err)
	}
}

// TestMessageIdsAreForgottenInSlices: a day of them dropped whole would be one long transaction.
func TestMessageIdsAreForgottenInSlices(t *testing.T) {
	b := open(t, rules(domain.SendAsReceived))
	must(t, b.Applied(t.Context()))
	must(t, b.writer.Do(t.Context(), func(x *state.Tx) error {
		for d := range 2 {
			ids, err := x.Bucket(state.BucketMessages).MakeInner(state.NumberKey(uint64(noon.Add(-10*state.Day).Unix()/86400) + uint64(d)))
			if err != nil {
				return err
			}
			for i := range state.PruneSlice + 10 {
				if err := ids.Put(fmt.Appendf(nil, "%016d", i), nil); err != nil {
					return err
				}
			}
		}
		return nil
	}, nil))
	left := func() (n int) {
		must(t, b.look(func(tx engine.Tx) error {
			days := tx.Bucket(state.BucketMessages)
			return days.ForEach(func(day, _ []byte) error { n += engine.Count(days.Inner(day)); return nil })
		}))
		return n
	}
	steps := 0
	for was, more := left(), true; more; steps++ {
		var err error
		more, err = b.Prune(t.Context(), noon)
		must(t, err)
		is := left()
		if was-is > state.PruneSlice {
			t.Fatalf("one slice forgot %d ids", was-is)
		}
		was = is
	}
	if left() != 0 || steps != 4 {
		t.Errorf("%d ids are left after %d slices", left(), steps)
	}
}

// TestAnExitIsForgottenOnceItIsOldAndTold walks users in every condition; only those go of whom there is
// nothing more to say.
func TestAnExitIsForgottenOnceItIsOldAndTold(t *testing.T) {
	costly(t, manyEvents)
	r := rules(domain.SendAttribute | domain.SendCohort)
	b := open(t, r)
	const keep = 90 * 24 * time.Hour
	b.SetRetention(Options{ExMembers: keep})
	b.receive(event("told", "vip", true, 1), event("member", "vip", true, 1), event("again", "vip", true, 1), event("waits", "vip", true, 1), event("two", "vip", true, 1), event("two", "gold", true, 1))
	drainRoads(b)
	b.receive(event("told", "vip", false, 2), event("again", "vip", false, 2), event("two", "vip", false, 2))
	drainRoads(b)
	b.receive(event("waits", "vip", false, 3), event("stranger", "vip", false, 3), event("again", "vip", true, 3))
	drainOnly(b, "again")
	late := noon.Add(keep + time.Hour)
	walk(b, noon.Add(keep-3*time.Hour)) // it takes an hour
	for _, user := range []string{"told", "member", "again", "waits", "two", "stranger"} {
		if !knownIn(b, user, "vip") {
			t.Errorf("%s was forgotten too early", user)
		}
	}
	walk(b, late)
	for user, want := range map[string]bool{"told": false, "member": true, "again": true, "waits": true, "two": false, "stranger": false} {
		if got := knownIn(b, user, "vip"); got != want {
			t.Errorf("%s is known: %v, want %v", user, got, want)
		}
	}
	if !knownIn(b, "two", "gold") {
		t.Error("a membership beside the exit is gone")
	}
	drainRoads(b)
	b.said()
	b.receive(event("told", "vip", true, 4))
	drainRoads(b)
	b.wantSaid("told.vip=true told.vip=true") // the attribute and the cohort
	b.balance()
	soundness(t, b)
}

// walk has Prune walk all rows.
func walk(b *bench, now time.Time) {
	for range state.Partitions + 2 { // it begins anywhere
		now = now.Add(time.Minute)
		for more := true; more; {
			var err error
			more, err = b.Prune(context.Background(), now)
			must(b, err)
		}
	}
}

func knownIn(b *bench, user, key string) bool {
	info, err := b.User(user)
	if errors.Is(err, domain.ErrNotFound) {
		return false
	}
	must(b, err)
	for _, m := range info.Memberships {
		if m.Computation == key {
			return true
		}
	}
	return false
}

// drainRoads delivers everything on both roads, those who wait to be known to MoEngage included.
func drainRoads(b *bench) {
	b.drain()
	for {
		f, _, err := b.Take(context.Background(), onCohorts(noon.Add(3*time.Hour)))
		must(b, err)
		if f == nil {
			return
		}
		b.settle(f, domain.Delivered)
	}
}

// drainOnly delivers the pending changes of one user on the endpoint of attributes.
func drainOnly(b *bench, user string) {
	f := b.take()
	o := domain.Settlement{Lease: f.ID, At: noon.Add(time.Hour)}
	for _, d := range f.Users {
		s := domain.UserResult{}
		if d.User == user {
			s.Attributes.Verdict = domain.Delivered
		}
		o.Results = append(o.Results, s)
	}
	must(b, b.Settle(context.Background(), o))
}

func TestTheJournalIsPrunedByItsRetention(t *testing.T) {
	b := open(t, rules(domain.SendNone))
	b.receive(event("ann", "vip", true, 1))
	for _, tc := range []struct {
		keep  time.Duration
		after time.Duration
		want  int
	}{{2 * time.Hour, time.Hour, 1}, {2 * time.Hour, 3 * time.Hour, 0}} {
		b.SetRetention(Options{Journal: tc.keep, JournalBytes: 1 << 20})
		_, err := b.Prune(t.Context(), noon.Add(tc.after))
		must(t, err)
		if n := len(b.journalOf("ann")); n != tc.want {
			t.Errorf("after %s of %s %d lines are left", tc.after, tc.keep, n)
		}
	}
	b.receive(event("ann", "vip", false, 2))
	b.SetRetention(Options{Journal: 2 * time.Hour, JournalBytes: 1})
	_, err := b.Prune(t.Context(), noon.Add(time.Hour))
	must(t, err)
	if c, err := b.Counts(); err != nil || c.Journal != 0 {
		t.Errorf("beyond its bytes there are %d, %v", c.Journal, err)
	}
	b.receive(event("ann", "vip", true, 3))
	if list := b.journalOf("ann"); len(list) != 1 || list[0].Transition != "enter" {
		t.Errorf("after that it has %+v", list)
	}
	recount(t, b)
}
