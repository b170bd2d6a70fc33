package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"personasync/store/domain"
)

// sentUpTo returns the watermark of a computation.
func (b *bench) sentUpTo(key string) time.Time {
	b.Helper()
	all, err := b.Watermarked()
	must(b, err)
	for _, c := range all {
		if c.Key != key {
			continue
		}
		if c.SentUpTo == "" {
			return time.Time{}
		}
		at, err := time.Parse(time.RFC3339Nano, c.SentUpTo)
		must(b, err)
		return at
	}
	b.Fatalf("no computation %s", key)
	return time.Time{}
}

// wantWatermarksTrue fails the test if something that was received before a watermark is pending.
func (b *bench) wantWatermarksTrue() {
	b.Helper()
	all, err := b.Watermarked()
	must(b, err)
	marks := make(map[string]time.Time, len(all))
	for _, c := range all {
		at, _ := time.Parse(time.RFC3339Nano, c.SentUpTo) // zero if it says nothing
		if was, several := marks[c.Key]; !several || at.Before(was) {
			marks[c.Key] = at
		}
	}
	pending, _, err := b.Changes(domain.OutboxFilter{State: domain.StatePending, Limit: 500})
	must(b, err)
	for _, c := range pending {
		if at, err := time.Parse(time.RFC3339Nano, c.ReceivedAt); err == nil && at.Before(marks[c.Computation]) {
			b.Errorf("%s is sent up to %v, and %s of %v is pending", c.Computation, marks[c.Computation], c.ID, at)
		}
	}
}

func TestAWatermarkStandsAtTheOldestPendingChange(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	hour := time.Now().Add(-time.Hour).Truncate(time.Second)
	ago := func(minutes int) func(*domain.Event) {
		return func(e *domain.Event) { e.Received = hour.Add(time.Duration(minutes) * time.Minute) }
	}
	b.receive(event("ann", "early", true, 1, ago(1)), event("ann", "late", true, 1, ago(2)))
	b.drain()
	if at := b.sentUpTo("early"); !at.Equal(hour.Add(2 * time.Minute)) {
		t.Errorf("everything is sent, and the watermark is %v", at)
	}
	b.receive(event("bob", "early", true, 1, ago(10)), event("cid", "early", true, 1, ago(20)), event("cid", "late", true, 1, ago(30)))
	want := map[string]time.Time{"early": hour.Add(10 * time.Minute), "late": hour.Add(30 * time.Minute)}
	expect := func(when string) {
		t.Helper()
		for key, at := range want {
			if got := b.sentUpTo(key); !got.Equal(at) {
				t.Errorf("%s: %s is sent up to %v, want %v", when, key, got, at)
			}
		}
	}
	expect("nothing left")
	f := b.take()
	expect("under way")
	b.settle(f, domain.Refused)
	expect("refused")
	b.settle(b.take(), domain.Parked)
	if at := b.sentUpTo("early"); !at.Equal(hour.Add(30 * time.Minute)) {
		t.Errorf("only parked changes are left, and the watermark is %v", at)
	}
}

// A user's fourth lane and those after it have no place of their own in the due index.
func TestAWatermarkCountsAudiencesThatHaveNoPlaceInTheDueIndex(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	hour := time.Now().Add(-time.Hour).Truncate(time.Second)
	for i := range 7 {
		b.receive(event("ann", fmt.Sprint("aud", i), true, 1, func(e *domain.Event) { e.Received = hour.Add(time.Duration(i) * time.Minute) }))
	}
	for i := range 7 {
		if got, want := b.sentUpTo(fmt.Sprint("aud", i)), hour.Add(time.Duration(i)*time.Minute); !got.Equal(want) {
			t.Errorf("aud%d is sent up to %v, want %v", i, got, want)
		}
	}
}

// A change that was overtaken in a request is pending until that is answered, also when the user's other changes end.
func TestAWatermarkCountsWhatWasOvertakenInARequest(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	hour := time.Now().Add(-time.Hour).Truncate(time.Second)
	ago := func(minutes int) func(*domain.Event) {
		return func(e *domain.Event) { e.Received = hour.Add(time.Duration(minutes) * time.Minute) }
	}
	b.receive(event("ann", "aud", true, 1, ago(1)))
	f := b.take()
	b.receive(event("ann", "aud", false, 2, ago(10)), event("ann", "other", true, 2, ago(20)))
	pending, _, err := b.Changes(domain.OutboxFilter{State: domain.StatePending, Computation: "other"})
	must(t, err)
	id, err := domain.ParseID(pending[0].ID)
	must(t, err)
	must(t, b.Drop(context.Background(), time.Now(), []domain.ID{id}))
	if at := b.sentUpTo("aud"); !at.Equal(hour.Add(time.Minute)) {
		t.Errorf("aud is sent up to %v, and a change of %v is under way", at, hour.Add(time.Minute))
	}
	b.settle(f, domain.Delivered)
	if at := b.sentUpTo("aud"); !at.Equal(hour.Add(10 * time.Minute)) {
		t.Errorf("aud is sent up to %v, and the oldest pending change is of %v", at, hour.Add(10*time.Minute))
	}
	recount(t, b)
}

// A retried change from before collapse was turned on is older than the pending one, and was counted from that.
func TestAWatermarkCountsARetriedChangeOlderThanThePendingOne(t *testing.T) {
	r := rules(domain.SendAttribute)
	r.Defaults.Collapse = false
	b := open(t, r)
	hour := time.Now().Add(-time.Hour).Truncate(time.Second)
	ago := func(minutes int) func(*domain.Event) {
		return func(e *domain.Event) { e.Received = hour.Add(time.Duration(minutes) * time.Minute) }
	}
	b.receive(event("ann", "aud", true, 1, ago(1)))
	b.settle(b.take(), domain.Parked)
	r.Defaults.Collapse = true
	must(t, b.SetRules(t.Context(), r))
	b.receive(event("ann", "aud", false, 2, ago(10)), event("ann", "aud", true, 3, ago(20)))
	must(t, b.Retry(t.Context(), time.Now(), b.ids(domain.StateParked)))
	must(t, b.Applied(t.Context()))
	b.wantWatermarksTrue()
	if at := b.sentUpTo("aud"); !at.Equal(hour.Add(time.Minute)) {
		t.Errorf("aud is sent up to %v, and a change of %v is pending", at, hour.Add(time.Minute))
	}
	b.drain()
	b.balance()
}

// An enter that a share held is let go, and counts as received then. Behind it leaves an exit that the guard held, which was
// received before.
func TestAWatermarkCountsAnExitBehindAnEnterThatWasLetGo(t *testing.T) {
	r := watched(domain.SendEvent)
	r.Lists = map[string]domain.UserList{"pilot": domain.NewUserList([]string{"user1"})}
	b := peopled(t, r, 6)
	b.receive(enters(7, 60))
	tomorrow := everything(time.Now().Add(24 * time.Hour))
	f, _, err := b.Take(t.Context(), tomorrow)
	must(t, err)
	b.receive(leaves(1, 70), leaves(2, 71), leaves(3, 72), leaves(7, 73), enters(8, 80))
	b.swept()
	b.settle(f, domain.Refused)
	for _, share := range []*domain.Rollout{{Share: 1, List: "pilot"}, nil} {
		r.Defaults.Rollout = share
		must(t, b.SetRules(t.Context(), r))
		_, err = b.CompareConsent(t.Context())
		must(t, err)
	}
	b.decide(false)
	b.wantWatermarksTrue()
	f, _, err = b.Take(t.Context(), tomorrow)
	must(t, err)
	out := domain.Settlement{Lease: f.ID, At: noon}
	for _, d := range f.Users {
		r := domain.Result{Verdict: domain.Delivered}
		if d.User == "user7" {
			r = domain.Result{Verdict: domain.Refused, RetryAt: noon}
		}
		out.Results = append(out.Results, domain.UserResult{Attributes: r, Event: r})
	}
	must(t, b.Settle(t.Context(), out))
	b.wantWatermarksTrue()
	b.drainToday()
	b.wantHeld(0)
}

// Only so many users are looked at. Then a watermark may be too early, but never too late.
func TestAWatermarkOfManyUsersIsNeverTooLate(t *testing.T) {
	costly(t, manyUsers)
	b := open(t, rules(domain.SendAttribute))
	b.floods("large", 3000, 2*time.Hour)
	b.floods("large", 10, 3*time.Hour)
	b.receive(event("last", "small", true, 1, today(time.Hour)))
	now := time.Now()
	if at := b.sentUpTo("large"); at.After(now.Add(-2 * time.Hour)) {
		t.Errorf("large is sent up to %v, and changes two hours old are pending", at)
	}
	if at := b.sentUpTo("small"); at.IsZero() || at.After(now.Add(-time.Hour)) {
		t.Errorf("small is sent up to %v, and a change one hour old is pending", at)
	}
	b.wantWatermarksTrue()
}

// What is received and not applied yet may become a change.
func TestAWatermarkIsNoLaterThanTheFirstEventThatIsNotApplied(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "aud", true, 1))
	b.drain()
	paused, release, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() { ended <- b.writer.Pause(func() { close(paused); <-release }) }()
	<-paused
	at := time.Now().Add(-time.Minute).Truncate(time.Second)
	must(t, b.Append(context.Background(), event("bob", "aud", true, 1, func(e *domain.Event) { e.Received = at })))
	got := b.sentUpTo("aud")
	close(release)
	must(t, <-ended)
	if got.After(at) {
		t.Errorf("aud is sent up to %v, and an event of %v is not applied", got, at)
	}
}
