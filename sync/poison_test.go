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
