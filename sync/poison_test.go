package syncer

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// One user of a hundred makes MoEngage fail without naming the data. The other users, and later ones, are
// delivered soon. The one user is retried alone with backoff.
func TestAPayloadThatBreaksMoEngageDelaysNobodyElse(t *testing.T) {
	for name, breaks := range map[string]func() (*http.Response, error){
		"500":   func() (*http.Response, error) { return reply(500, "oops"), nil },
		"reset": func() (*http.Response, error) { return nil, reset() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newShelf(t)
				w := &wire{t: t, latency: 20 * time.Millisecond, answer: func(r sentRequest) (*http.Response, error) {
					if slices.Contains(r.ids, "user-37") {
						return breaks()
					}
					return ok(), nil
				}}
				s, stop := run(t, testConfig(w), o)
				defer stop()
				for i := range 100 {
					o.attribute(fmt.Sprint("user-", i))
				}
				eventually(t, time.Minute, func() bool { return o.seen().delivered == 99 })
				// Two failures of all, seven of half as many each time, each of which leaves another half to
				// send, and the retries of the single user meanwhile.
				if n := w.count(); n > 30 {
					t.Errorf("%d requests", n)
				}
				time.Sleep(10 * time.Minute)
				before := w.count()
				time.Sleep(time.Hour)
				if n := w.count() - before; n < 5 || n > 80 {
					t.Errorf("%d tries of the lone one in an hour", n)
				}
				if h := s.Health(); h.State != stateOK {
					t.Errorf("one payload opened the breaker: %+v", h)
				}
				o.attribute("late")
				eventually(t, 10*time.Second, func() bool { return o.seen().delivered == 100 })
				if len(o.seen().parked) != 0 {
					t.Errorf("parked %v", o.seen().parked)
				}
			})
		})
	}
}

func TestAttemptsInCompanyParkNobodyInnocent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newShelf(t)
		w := &wire{t: t, answer: poisoned(map[string]bool{"user-3": true}, func() *http.Response { return reply(502, "") })}
		c := testConfig(w)
		c.MaxAttempts = 3
		_, stop := run(t, c, o)
		defer stop()
		for i := range 10 {
			o.attribute(fmt.Sprint("user-", i))
		}
		eventually(t, 10*time.Minute, o.drained)
		if p := o.seen().parked; o.seen().delivered != 9 || p["user-3/attributes"].Reason != codeAttempts {
			t.Errorf("%d delivered, parked %v", o.seen().delivered, p)
		}
	})
}

// After an outage of an hour the backlog is sent in few requests, although the users tried in it were tracked.
func TestAnOutageLeavesFewSmallRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		o := newShelf(t)
		w := &wire{t: t, latency: 50 * time.Millisecond, answer: func(sentRequest) (*http.Response, error) {
			if time.Since(start) < time.Hour {
				return nil, reset()
			}
			return ok(), nil
		}}
		c := testConfig(w)
		for i := range 10_000 {
			o.attribute(fmt.Sprint("user-", i))
		}
		_, stop := run(t, c, o)
		defer stop()
		time.Sleep(time.Hour)
		during := w.count()
		eventually(t, 15*time.Minute, o.drained)
		// The mean pause is 27 s, half of a minute's.
		if after := w.count() - during; during > 200 || after > 2*during+30 {
			t.Errorf("%d requests in the outage, %d after it", during, after)
		}
	})
}

// A first failure with other users may be chance and halves nothing. The second one halves the limit.
func TestAFirstFailureInCompanyHalvesNothing(t *testing.T) {
	ss, now := make(poisonTracker), time.Now()
	users := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for failures, want := range []int{8, 4} {
		ss.fail(users, true, now)
		for _, u := range users {
			if got := ss.batchLimit(u); got != want {
				t.Errorf("after %d failures %s may be with %d users, want %d", failures+1, u, got, want)
			}
		}
	}
}

// The memory is bounded: beyond the limit the tracker begins anew.
func TestTheTrackerIsBounded(t *testing.T) {
	p, now := make(poisonTracker), time.Now()
	for i := range maxTracked {
		p.fail([]string{fmt.Sprint("user-", i)}, true, now)
	}
	if len(p) != maxTracked {
		t.Fatalf("%d users are tracked, want %d", len(p), maxTracked)
	}
	if p.fail([]string{"one", "more"}, true, now); len(p) != 2 {
		t.Errorf("%d users are tracked after the limit, want the new ones", len(p))
	}
}

// A failure by MoEngage counts a user's attempts alone, and limits no batch.
func TestAFailureByMoEngageLimitsNoBatch(t *testing.T) {
	p, now := make(poisonTracker), time.Now()
	if p.fail([]string{"ann", "bob"}, false, now); len(p) != 0 {
		t.Errorf("%d users are tracked", len(p))
	}
	for want := 1; want <= 3; want++ {
		if got := p.fail([]string{"ann"}, false, now); got != want || p.batchLimit("ann") != 0 {
			t.Errorf("failed alone %d times, want %d; batch limit %d", got, want, p.batchLimit("ann"))
		}
	}
	if !p.allFailedAlone() {
		t.Error("a user without a batch limit counts")
	}
	if p.fail([]string{"bob"}, true, now); p.allFailedAlone() {
		t.Error("bob failed once alone")
	}
	if p.allTracked([]string{"bob", "ann"}) || !p.allTracked([]string{"bob"}) {
		t.Error("ann is tracked")
	}
}

// Tracked users share requests with tracked users only, at most as many as the least of their limits.
func TestABatchKeepsTheLeastLimit(t *testing.T) {
	var b batch
	for i, limit := range []int{8, 3, 5} {
		if !b.admits(limit) {
			t.Fatalf("user %d is refused", i)
		}
		b.add(limit)
	}
	if b.admits(8) || b.admits(0) {
		t.Error("a fourth user is admitted beside one with a limit of three")
	}
	b = batch{}
	b.add(0)
	if !b.admits(0) || b.admits(4) {
		t.Error("a tracked user is admitted beside an untracked one")
	}
}

// TestAFailureIsOfUsersThatFailedBefore, if something else was accepted since. Which one of several is to blame is not known.
func TestAFailureIsOfUsersThatFailedBefore(t *testing.T) {
	p, failed := make(poisonTracker), time.Now()
	p.fail([]string{"ann", "bob"}, true, failed)
	for _, tc := range []struct {
		users        []string
		accepted     time.Time
		caused, news bool
	}{
		{[]string{"ann", "zoe"}, failed.Add(1), false, false},
		{[]string{"ann"}, failed.Add(-1), false, false},
		{[]string{"ann", "bob"}, failed.Add(1), true, false},
		{[]string{"ann"}, failed.Add(1), true, true},
		{[]string{"ann"}, failed.Add(-1), true, false}, // they stay poisoned
		{[]string{"ann", "bob"}, failed.Add(-1), false, false},
	} {
		if caused, news := p.causedBy(tc.users, tc.accepted); caused != tc.caused || news != tc.news {
			t.Errorf("%v, accepted %v after: caused %v, news %v", tc.users, tc.accepted.Sub(failed), caused, news)
		}
	}
}
