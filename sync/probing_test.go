package syncer

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store/domain"
	"personasync/sync/sandbox"
)

// outages are complete failures of MoEngage. Those that leave the outcome of a request open make it uncertain.
var outages = map[string]struct {
	latency time.Duration
	answer  func() (*http.Response, error)
}{
	"resets":    {100 * time.Millisecond, func() (*http.Response, error) { return nil, reset() }},
	"500":       {100 * time.Millisecond, func() (*http.Response, error) { return reply(500, "oops"), nil }},
	"a gateway": {time.Second, func() (*http.Response, error) { return reply(504, "<html>"), nil }},
	"a portal":  {100 * time.Millisecond, func() (*http.Response, error) { return reply(200, "<html>log in"), nil }},
	"silence":   {time.Hour, func() (*http.Response, error) { return ok(), nil }},
}

// While MoEngage fails, only the requests in flight at the beginning become uncertain. Later attempts contain
// only users who are uncertain already.
func TestAnOutageMakesNoMoreRequestsUncertainThanMayBeInFlight(t *testing.T) {
	for name, outage := range outages {
		for _, concurrency := range []int{1, 4, 7} {
			for _, bytes := range []int{1, 1000, 100_000} { // one user a request, a few, all
				t.Run(fmt.Sprintf("%s, %d at once, %d bytes", name, concurrency, bytes), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						var down atomic.Bool
						down.Store(true)
						o := newShelf(t)
						w := &wire{t: t, latency: outage.latency}
						w.answer = func(sentRequest) (*http.Response, error) {
							if down.Load() {
								return outage.answer()
							}
							return ok(), nil
						}
						c := testConfig(w)
						c.Concurrency = concurrency
						if c.MaxRequestBytes = bytes; bytes == 1 {
							c.MaxRequestBytes, c.UsersPerMinute = 0, 60
						}
						const users = 100
						for i := range users {
							o.put(fmt.Sprint("user-", i), "", true, i%3 == 0)
						}
						_, stop := run(t, c, o)
						defer stop()
						time.Sleep(10 * time.Minute)
						if n := firstTries(w.seen()); n > concurrency {
							t.Errorf("%d requests were made uncertain, want %d at most", n, concurrency)
						}
						down.Store(false)
						w.mu.Lock()
						w.latency = 10 * time.Millisecond
						w.mu.Unlock()
						eventually(t, 10*time.Minute, o.drained)
						if o.seen().delivered != users+(users+2)/3 {
							t.Errorf("%d delivered after it", o.seen().delivered)
						}
					})
				})
			}
		}
	}
}

// The same with the store, which keeps retry times in whole seconds and gives out changes in turns, for both
// endpoints.
func TestAnOutageMakesNoMoreRequestsUncertainOnEitherEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{MaxDelay: time.Second, MaxRequestBytes: 1000, Concurrency: 4}
		s := newStation(t, modelRules(domain.SendAttribute|domain.SendCohort), sandbox.Options{KeepBodies: true}, c)
		s.moengage.Fail(trouble(t, "on=transition,status=500,when=after"))
		tell := func(key string, second int) {
			var events []*domain.Event
			for i := range 60 {
				events = append(events, moved(fmt.Sprint("user-", i), key, true, false, second))
			}
			s.must(s.store.Append(context.Background(), events...))
		}
		tell("vip", 0)
		time.Sleep(10 * time.Minute)
		if n := firstBodies(s.moengage.Requests(), "transition"); n > 4 || n == 0 {
			t.Errorf("%d requests of transitions were made uncertain, want 4 at most", n)
		}
		s.moengage.Heal()
		s.drain(time.Hour)

		s.moengage.Fail(trouble(t, "on=cohortsync,status=504,when=after"))
		before := len(s.moengage.Requests())
		for i := range 8 {
			tell(fmt.Sprint("cohort-", i), 1+i)
		}
		time.Sleep(20 * time.Minute)
		if n := firstBodies(s.moengage.Requests()[before:], "cohortsync"); n > 4 || n == 0 {
			t.Errorf("%d requests of cohorts were made uncertain, want 4 at most", n)
		}
		s.moengage.Heal()
		s.drain(time.Hour)
		s.balanced()
		s.stop()
	})
}

// firstBodies is firstTries for the requests of a sandbox at one endpoint. A cohort member is identified by the
// cohort too.
func firstBodies(requests []sandbox.Request, endpoint string) int {
	ids := regexp.MustCompile(`"(?:customer_id|uid)":"([^"]*)"`)
	cohort := regexp.MustCompile(`"cohort_id":"([^"]*)"`)
	var seen []sentRequest
	for _, r := range requests {
		if r.Endpoint != endpoint {
			continue
		}
		var one sentRequest
		for _, id := range ids.FindAllStringSubmatch(r.Body, -1) {
			one.ids = append(one.ids, cohort.FindString(r.Body)+id[1])
		}
		seen = append(seen, one)
	}
	return firstTries(seen)
}

// firstTries counts the requests with a user from no earlier request.
func firstTries(requests []sentRequest) (n int) {
	seen := map[string]bool{}
	for _, r := range requests {
		if slices.ContainsFunc(r.ids, func(id string) bool { return !seen[id] }) {
			n++
		}
		for _, id := range r.ids {
			seen[id] = true
		}
	}
	return n
}

// With one request at a time, a poisoned payload may be the only one tried for a while. It opens the breaker
// once, for a few minutes at most.
func TestAPayloadThatBreaksMoEngageDelaysNobodyForLongWithOneRequestAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newShelf(t)
		w := &wire{t: t, latency: 20 * time.Millisecond, answer: func(r sentRequest) (*http.Response, error) {
			if slices.Contains(r.ids, "poison") {
				return nil, reset()
			}
			return ok(), nil
		}}
		c := testConfig(w)
		c.Concurrency = 1
		s, stop := run(t, c, o)
		defer stop()
		o.attribute("poison")
		time.Sleep(10 * time.Second)
		for i := range 10 {
			o.attribute(fmt.Sprint("user-", i))
		}
		eventually(t, 6*time.Minute, func() bool { return o.seen().delivered == 10 })
		o.attribute("late")
		eventually(t, 5*time.Second, func() bool { return o.seen().delivered == 11 })
		if s.Health().State != stateOK {
			t.Errorf("health %+v", s.Health())
		}
	})
}

// A failing endpoint is tried at least once a minute, however long it has failed and whichever users are
// pending, and the status says when. After recovery sending continues within a minute.
func TestAFailingEndpointIsTriedEveryMinute(t *testing.T) {
	answers := map[string]func() (*http.Response, error){
		"unreachable": func() (*http.Response, error) { return nil, cut() },
		"503":         func() (*http.Response, error) { return reply(503, ""), nil },
		"429":         func() (*http.Response, error) { return reply(429, ""), nil },
		"401":         func() (*http.Response, error) { return fail(401, "Authentication required", "mismatch"), nil },
	}
	latency := map[string]time.Duration{}
	for name, outage := range outages {
		answers[name], latency[name] = outage.answer, outage.latency
	}
	for name, answer := range answers {
		for _, users := range []int{1, 300} {
			t.Run(fmt.Sprintf("%s, %d users", name, users), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var down atomic.Bool
					down.Store(true)
					o := newShelf(t)
					w := &wire{t: t, latency: latency[name], answer: func(sentRequest) (*http.Response, error) {
						if down.Load() {
							return answer()
						}
						return ok(), nil
					}}
					s, stop := run(t, testConfig(w), o)
					defer stop()
					for i := range users {
						o.attribute(fmt.Sprint("user-", i))
					}
					time.Sleep(time.Hour)
					last := time.Now()
					for i, r := range slices.Backward(w.seen()) {
						if pause := last.Sub(r.at); pause > time.Minute {
							t.Errorf("%v without a try after request %d", pause, i)
						}
						last = r.at
					}
					eventually(t, time.Minute, func() bool { return s.Health().NextProbe.After(time.Now()) })
					if next, n := s.Health().NextProbe, w.count(); time.Until(next) > time.Minute {
						t.Errorf("the next try is said to be at %v, in %v", next, time.Until(next))
					} else if time.Sleep(time.Until(next) + 2*time.Second); w.count() == n {
						t.Errorf("no try at %v, when the next was said to be", next)
					}
					down.Store(false)
					w.mu.Lock()
					w.latency = 10 * time.Millisecond
					w.mu.Unlock()
					eventually(t, 100*time.Second, func() bool { return s.Health().State == stateOK })
					if !s.Health().NextProbe.IsZero() || s.Health().LastErrorAt.IsZero() {
						t.Errorf("health %+v after it", s.Health())
					}
				})
			})
		}
	}
}

// MoEngage's Retry-After takes precedence, up to an hour.
func TestARetryAfterLongerThanAMinuteIsHonoured(t *testing.T) {
	for _, status := range []int{429, 503, 403} {
		synctest.Test(t, func(t *testing.T) {
			o := newShelf(t)
			w := &wire{t: t, answer: func(sentRequest) (*http.Response, error) { return reply(status, "", "Retry-After", "600"), nil }}
			_, stop := run(t, testConfig(w), o)
			defer stop()
			o.attribute("ann")
			time.Sleep(time.Hour)
			for i, r := range w.seen()[1:] {
				if pause := r.at.Sub(w.seen()[i].at); pause < 10*time.Minute || pause > 10*time.Minute+5*time.Second {
					t.Errorf("%d: came back after %v, was told ten minutes", status, pause)
				}
			}
			if w.count() < 5 {
				t.Errorf("%d: %d requests in an hour", status, w.count())
			}
		})
	}
}
