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
