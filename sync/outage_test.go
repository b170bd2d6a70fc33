package syncer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store/domain"
	"personasync/sync/sandbox"
)

// TestAnOutageCostsItsNetDifference has an outage in which every user enters and leaves ten times. Afterwards
// MoEngage gets only the users whose state differs from before. PERSONASYNC_TORTURE=1 makes it three days, with
// 200,000 transitions of 20,000 users.
func TestAnOutageCostsItsNetDifference(t *testing.T) {
	users, outage := 400, 5*time.Hour
	if torturing() {
		users, outage = 22_000, 72*time.Hour
	}
	synctest.Test(t, func(t *testing.T) { goWithout(t, users, outage) })
}

func goWithout(t *testing.T, users int, outage time.Duration) {
	rnd := rand.New(rand.NewPCG(3, 3))
	s := newStation(t, modelRules(domain.SendAttribute), sandbox.Options{}, Config{MaxDelay: time.Second, UsersPerMinute: 10_000, EventsPerMinute: 30_000})
	told, in := make([]bool, users), make([]bool, users)
	move := func(i, second int) *domain.Event {
		in[i] = !in[i]
		return moved(fmt.Sprint("user-", i), "vip", in[i], false, second)
	}
	var before []*domain.Event
	for i := range users {
		if i%2 == 0 {
			told[i] = true
			before = append(before, move(i, 0))
		}
	}
	s.must(s.store.Append(context.Background(), before...))
	s.drain(time.Hour)
	was := s.moengage.Stats()

	s.wire.cut.Store(true)
	const rounds = 10
	for round := range rounds {
		var events []*domain.Event
		for i := range users {
			if rnd.IntN(10) == 0 {
				continue // so that not all end where they began
			}
			events = append(events, move(i, 1+round))
		}
		s.must(s.store.Append(context.Background(), events...))
		time.Sleep(outage / rounds)
	}
	differ := 0
	for i := range users {
		if in[i] != told[i] {
			differ++
		}
	}
	waiting := s.counts().Changes
	if waiting.Pending != uint64(differ) {
		t.Errorf("%d changes wait, the net difference is %d", waiting.Pending, differ)
	}

	s.wire.cut.Store(false)
	s.drain(time.Hour)
	now := s.moengage.Stats()
	if sent := now.Users - was.Users; sent != uint64(differ) {
		t.Errorf("%d users were sent after the outage, the net difference is %d", sent, differ)
	}
	for i := range users {
		p, known := s.moengage.User(fmt.Sprint("user-", i))
		if got := string(p.Attributes["vip"]); known != (told[i] || in[i]) || known && got != fmt.Sprint(in[i]) {
			t.Fatalf("user-%d is %q at MoEngage, want %v", i, got, in[i])
		}
	}
	// For the outage alone: every created change was delivered, superseded or cancelled.
	c := s.balanced()
	if h := c.Changes; h.Created != c.Events.Transitions || h.Created != h.Delivered+h.Superseded+h.Cancelled || h.Delivered != uint64(len(before)+differ) {
		t.Errorf("the ledger says %+v of %d transitions", h, c.Events.Transitions)
	}
	if n := now.Requests - was.Requests; n > uint64(differ/100+60) {
		t.Errorf("%d requests for %d users", n, differ)
	}
	if now.Limited > 0 {
		t.Errorf("%d requests were over MoEngage's limit", now.Limited)
	}
	s.stop()
}

// TestAnOutageOfWithdrawalsCostsItsNetDifference has every user withdraw their consent while MoEngage is away, and half of
// them give it again: MoEngage is told of the other half alone. A withdrawal and a new consent within an outage cost
// nothing. PERSONASYNC_TORTURE=1 makes it a million users.
func TestAnOutageOfWithdrawalsCostsItsNetDifference(t *testing.T) {
	users := 600
	if torturing() {
		users = 1_000_000
	}
	synctest.Test(t, func(t *testing.T) { withdrawAll(t, users) })
}

func withdrawAll(t *testing.T, users int) {
	r := modelRules(domain.SendAttribute)
	r.Defaults.Consent = []string{"Marketing"}
	s := newStation(t, r, sandbox.Options{}, Config{MaxDelay: time.Second, UsersPerMinute: 60_000, EventsPerMinute: 60_000})
	said := 0
	say := func(from, step int, make func(user string) *domain.Event, given ...string) {
		said++
		var events []*domain.Event
		for i := from; i < users; i += step {
			e := make(fmt.Sprint("user-", i))
			e.Consent, e.MessageID = &domain.Preferences{Given: given}, fmt.Sprint(e.User.ID, said)
			if events = append(events, e); len(events) == 1000 {
				s.must(s.store.Append(context.Background(), events...))
				events = events[:0]
			}
		}
		s.must(s.store.Append(context.Background(), events...))
		s.must(s.store.Applied(context.Background()))
	}
	statement := func(user string) *domain.Event {
		return &domain.Event{Received: time.Now(), Time: modelStart.Add(time.Duration(said) * time.Second), Call: domain.CallTrack, Name: domain.ConsentEvent, User: domain.Identifier{ID: user}, Raw: []byte("{}")}
	}
	settle := func(differ int) {
		t.Helper()
		if c := s.counts().Changes; c.Pending != uint64(differ) || c.Held != 0 {
			t.Errorf("%d changes wait and %d are held, the net difference is %d", c.Pending, c.Held, differ)
		}
		was := s.moengage.Stats()
		s.wire.cut.Store(false)
		s.drain(24 * time.Hour)
		if sent := s.moengage.Stats().Users - was.Users; sent != uint64(differ) {
			t.Errorf("%d users were sent after the outage, the net difference is %d", sent, differ)
		}
		s.wire.cut.Store(true)
	}
	say(0, 1, func(user string) *domain.Event { return moved(user, "vip", true, false, 0) }, "Marketing")
	settle(users)
	say(0, 1, statement)
	say(0, 2, statement, "Marketing")
	settle(users / 2)
	say(0, 2, statement)
	say(0, 2, statement, "Marketing")
	settle(0)
	say(1, 2, statement, "Marketing")
	settle(users / 2)
	for i := range users {
		if p, _ := s.moengage.User(fmt.Sprint("user-", i)); string(p.Attributes["vip"]) != "true" {
			t.Fatalf("user-%d is %q at MoEngage", i, p.Attributes["vip"])
		}
	}
	if c := s.balanced().Changes; c.Created != uint64(users)*4 || c.Delivered != uint64(users)*2 || c.Superseded != c.Cancelled || c.Superseded != uint64(users) {
		t.Errorf("the ledger says %+v", c)
	}
	s.stop()
}
