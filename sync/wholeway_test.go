package syncer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store/domain"
	"personasync/sync/sandbox"
)

// These tests repeat those of the sender on the whole path: from the store through both senders to the sandbox.
// `make torture` runs them at their full size.

func torturing() bool { return os.Getenv("PERSONASYNC_TORTURE") != "" }

func (s *station) fail(spec string) {
	s.t.Helper()
	f, err := sandbox.ParseFault(spec)
	s.must(err)
	s.moengage.Fail(f)
}

// enter appends a membership for each user in one call.
func (s *station) enter(users int) {
	s.t.Helper()
	events := make([]*domain.Event, users)
	for i := range events {
		events[i] = moved(fmt.Sprint("user-", i), "vip", true, false, i%200)
	}
	s.must(s.store.Append(context.Background(), events...))
}

func TestSevenPoisonedUsersOfAThousandOnTheWholeWay(t *testing.T) {
	for _, strict := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newStation(t, modelRules(domain.SendAttribute), sandbox.Options{Strict: strict}, Config{MaxDelay: time.Second, Concurrency: 1})
			bad := map[string]bool{}
			for len(bad) < 7 {
				if user := fmt.Sprint("user-", rand.IntN(1000)); !bad[user] {
					bad[user] = true
					s.fail("user=" + user)
				}
			}
			s.enter(1000)
			s.drain(time.Hour)

			page, _, err := s.store.Changes(domain.OutboxFilter{State: domain.StateParked})
			s.must(err)
			for _, info := range page {
				id, err := domain.ParseID(info.ID)
				s.must(err)
				c, _, err := s.store.Change(id)
				s.must(err)
				if !bad[c.User] || c.Reason != codeData || !strings.Contains(c.Sentence, "TypeError: expected string") ||
					!strings.Contains(c.Answer.Body, `"expected string"`) || c.Answer.RequestID == "" || c.Answer.Status != 400 {
					t.Errorf("parked: %+v", c)
				}
			}
			if c := s.balanced().Changes; c.Parked != 7 || c.Delivered != 993 {
				t.Errorf("%+v", c)
			}
			for i := range 1000 {
				user := fmt.Sprint("user-", i)
				if p, _ := s.moengage.User(user); (string(p.Attributes["vip"]) == "true") == bad[user] {
					t.Errorf("%s holds %s", user, p.Attributes["vip"])
				}
			}
			delivered, _, err := s.store.Changes(domain.OutboxFilter{State: domain.StateDelivered, Limit: 1000})
			s.must(err)
			for _, c := range delivered {
				if c.Attempts != 1 {
					t.Fatalf("an attempt of the good was counted: %+v", c)
				}
			}
			// For each bad element ceil(log2 1000) + 2, and one request for the untested rest.
			if n := s.wire.tries.Load(); n > 7*12+1 {
				t.Errorf("%d requests, want at most %d", n, 7*12+1)
			}
			s.stop()
		})
	}
}

// The network fails and recovers a thousand times. Each time everything drains without a restart, in a number
// of requests that excludes polling.
func TestTheWholeWayDrainsAfterEveryCut(t *testing.T) {
	rounds := 50
	if torturing() {
		rounds = 1000
	}
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, modelRules(domain.SendBoth), sandbox.Options{}, Config{MaxDelay: time.Second, UsersPerMinute: 10_000, EventsPerMinute: 30_000})
		in := map[int]bool{}
		for round := range rounds {
			s.wire.cut.Store(round%2 == 0)
			if round%2 == 1 {
				s.fail([]string{"status=503", "reset", "status=502", "hang"}[round/2%4])
			}
			for i := range 5 {
				user := rand.IntN(100)
				in[user] = !in[user]
				s.must(s.store.Append(context.Background(), moved(fmt.Sprint("user-", user), "vip", in[user], false, round*5+i)))
				time.Sleep(time.Duration(rand.Int64N(int64(10 * time.Second))))
			}
			s.wire.cut.Store(false)
			s.moengage.Heal()
			s.drain(6 * time.Minute)
		}
		for user, in := range in {
			// A user who entered and left within one cut was never sent, so their attribute is absent.
			p, _ := s.moengage.User(fmt.Sprint("user-", user))
			if vip := string(p.Attributes["vip"]); vip != fmt.Sprint(in) && (in || vip != "") {
				t.Errorf("user-%d holds %s, want %v", user, vip, in)
			}
		}
		if c := s.balanced().Changes; c.Parked+c.Held > 0 {
			t.Errorf("%+v", c)
		}
		// Half a minute of full jitter between a second and 32 takes about six attempts. Then the backlog is
		// sent in as many requests as a user has events.
		if per := s.wire.tries.Load() / int64(rounds); per > 20 {
			t.Errorf("%d requests for each cut", per)
		}
		t.Logf("%d cuts, %d requests", rounds, s.wire.tries.Load())
		s.stop()
	})
}

// A backlog is sent at the workspace's limit. No request is refused, and hardly any of the limit is unused,
// with or without restarts and crashes.
func TestTheWholeWayKeepsToTheLimitAndUsesIt(t *testing.T) {
	limit := 1000
	if torturing() {
		limit = 10_000
	}
	for name, disturb := range map[string]func(*station){
		"undisturbed": nil,
		"restarted":   (*station).restart,
		"crashed":     func(s *station) { s.crash() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStation(t, modelRules(domain.SendAttribute),
					sandbox.Options{UsersPerMinute: limit, EventsPerMinute: limit, Latency: 180 * time.Millisecond},
					Config{MaxDelay: time.Second, UsersPerMinute: limit, EventsPerMinute: limit})
				s.enter(4*limit + 200)
				s.must(s.store.Applied(context.Background()))
				time.Sleep(time.Second) // to be batched; then three minutes
				for range 6 {
					time.Sleep(30 * time.Second)
					if disturb != nil {
						disturb(s)
					}
				}
				m := s.moengage.Stats()
				if m.Limited > 0 || m.MaxUsersInWindow > limit {
					t.Errorf("%d requests were refused for the limit; %d users in a minute", m.Limited, m.MaxUsersInWindow)
				}
				if use := float64(m.Users) / float64(3*limit); disturb == nil && use < 0.97 || use < 0.9 {
					t.Errorf("%.1f %% of the limit was used", 100*use)
				}
				t.Logf("%d users in three minutes of %d, in %d requests", m.Users, 3*limit, m.Requests)
				s.stop()
			})
		})
	}
}

// open releases everything pending at both endpoints, as a schedule's run does.
func (s *station) open() <-chan struct{} {
	return s.senders[1].Open("", time.Now(), s.senders[0].Open("", time.Now(), nil))
}

// A cohort change waits until MoEngage knows its user, and so for the other endpoint. A schedule's run, and a
// flush, waits for it.
func TestARunBringsTheCohortAlong(t *testing.T) {
	runs := map[string]func(*station) <-chan struct{}{
		"a schedule's run": (*station).open,
		"a flush": func(s *station) <-chan struct{} {
			return s.senders[1].Flush(nil, s.senders[0].Flush(nil, nil))
		},
	}
	for name, run := range runs {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStation(t, modelRules(domain.SendAttribute|domain.SendCohort),
					sandbox.Options{Delay: 30 * time.Second, Latency: 2 * time.Second}, Config{Realtime: func(string) bool { return false }})
				s.enter(20)
				s.must(s.store.Applied(context.Background()))
				time.Sleep(time.Hour)
				if n := s.wire.tries.Load(); n > 0 {
					t.Errorf("%d requests before anything was opened", n)
				}
				select {
				case <-run(s):
				case <-time.After(5 * time.Minute):
					t.Error("not over after five minutes")
				}
				if c, _ := s.moengage.Cohort("vip"); len(c.Members) != 20 {
					t.Errorf("the cohort has %d members when the run is over, want 20", len(c.Members))
				}
				s.enterMore(20)
				time.Sleep(time.Hour)
				if c := s.counts().Changes; c.Pending != 40 {
					t.Errorf("later changes left with it: %+v", c)
				}
				s.stop()
			})
		})
	}
}

// The cohort sender asks for pending changes before the other one is drained, and must notice when it is. A run
// that has not ended delays the next.
func TestARunWithNothingToSendIsOverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, modelRules(domain.SendAttribute), sandbox.Options{}, Config{Realtime: func(string) bool { return false }})
		for range 20 {
			time.Sleep(time.Minute + time.Duration(rand.Int64N(int64(time.Second))))
			began := time.Now()
			<-s.open()
			if took := time.Since(began); took > time.Second {
				t.Errorf("it took %v", took)
			}
		}
		s.stop()
	})
}

// enterMore appends memberships of other users.
func (s *station) enterMore(users int) {
	s.t.Helper()
	for i := range users {
		s.must(s.store.Append(context.Background(), moved(fmt.Sprint("other-", i), "vip", true, false, i)))
	}
}
