package syncer

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store"
	"personasync/store/domain"
	"personasync/sync/sandbox"
)

var _ Outbox = (*store.Store)(nil)

func listOf(n int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for i := range n {
			if !yield(fmt.Sprint("listed-", i), nil) {
				return
			}
		}
	}
}

// now appends a membership with the current time.
func (s *station) now(user, key string) {
	s.t.Helper()
	e := moved(user, key, true, false, 1)
	e.Received, e.Time = time.Now(), time.Now()
	s.must(s.store.Append(context.Background(), e))
	s.must(s.store.Applied(context.Background()))
}

// An import needs ten minutes of both limits. A fresh transition is still sent within one window, attribute and
// event, and the import gets the rest. Fake time makes the window exact.
func TestAFreshTransitionLeavesWithinAWindowBehindAnImport(t *testing.T) {
	const limit = 600
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, modelRules(domain.SendBoth), sandbox.Options{Latency: 100 * time.Millisecond},
			Config{MaxDelay: time.Second, UsersPerMinute: limit, EventsPerMinute: limit})
		_, err := s.store.Import(context.Background(), store.Import{Key: "vip", AsOf: time.Now(), Users: listOf(10 * limit), Create: true, Events: true})
		s.must(err)
		time.Sleep(150 * time.Second)
		for i := range 3 {
			user, before := fmt.Sprint("fresh-", i), s.moengage.Stats()
			s.now(user, "gold")
			time.Sleep(time.Minute)
			if p, _ := s.moengage.User(user); string(p.Attributes["gold"]) != "true" || len(p.Events) != 1 {
				t.Errorf("a window later MoEngage knows %s of %s, and %d events", p.Attributes["gold"], user, len(p.Events))
			}
			if sent := s.moengage.Stats().Users - before.Users; sent < limit*9/10 {
				t.Errorf("%d users left in that window, the import's among them, of %d", sent, limit)
			}
		}
		s.stop()
	})
}

// A flush of one computation ends when its own changes were sent, however many others wait for the rate limit.
func TestAFlushOfOneComputationDoesNotWaitForAnImport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := modelRules(domain.SendAttribute)
		p := r.Defaults
		p.Job = "gold"
		r.Sections = []domain.Section{{Key: "gold", Policy: p}}
		s := newStation(t, r, sandbox.Options{}, Config{MaxDelay: time.Second, UsersPerMinute: 600, Realtime: func(job string) bool { return job == "" }})
		_, err := s.store.Import(context.Background(), store.Import{Key: "vip", AsOf: time.Now(), Users: listOf(6000), Create: true})
		s.must(err)
		s.now("fresh", "gold")
		time.Sleep(2 * time.Minute)
		job := "gold"
		drained := s.senders[0].Flush(&job, nil)
		time.Sleep(time.Minute)
		select {
		case <-drained:
		default:
			t.Error("it is not over, a window later")
		}
		if p, _ := s.moengage.User("fresh"); string(p.Attributes["gold"]) != "true" {
			t.Errorf("MoEngage knows %s", p.Attributes["gold"])
		}
		if c := s.counts().Changes; c.Pending < 1000 {
			t.Errorf("the import was over, too: %+v", c)
		}
		s.stop()
	})
}

// Changes released by a schedule behind an import of the same computation are sent within a window. The run
// waits only for the import.
func TestARunThatIsWidenedLetsLaterChangesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := modelRules(domain.SendAttribute)
		r.Defaults.Job = "nightly"
		s := newStation(t, r, sandbox.Options{}, Config{MaxDelay: time.Second, UsersPerMinute: 600, Realtime: func(string) bool { return false }})
		_, err := s.store.Import(context.Background(), store.Import{Key: "vip", AsOf: time.Now(), Users: listOf(6000), Create: true})
		s.must(err)
		drained := s.senders[0].Open("nightly", time.Now(), nil)
		time.Sleep(2 * time.Minute)
		s.now("fresh", "vip")
		time.Sleep(time.Minute)
		if _, known := s.moengage.User("fresh"); known {
			t.Error("it left before its time")
		}
		s.senders[0].Widen("nightly", time.Now())
		time.Sleep(2 * time.Second)
		s.now("late", "vip")
		time.Sleep(time.Minute)
		if p, _ := s.moengage.User("fresh"); string(p.Attributes["vip"]) != "true" {
			t.Errorf("MoEngage knows %s of it a window later", p.Attributes["vip"])
		}
		time.Sleep(10 * time.Minute)
		select {
		case <-drained:
		default:
			t.Error("the run waits for later changes")
		}
		if c := s.counts().Changes; c.Pending != 1 {
			t.Errorf("%d changes are pending, want only the last", c.Pending)
		}
		s.stop()
	})
}
