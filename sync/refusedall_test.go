package syncer

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// After a change at MoEngage or of ours, an answer about one bad element may come for everything. Then only a
// few changes may be parked. The breaker opens, and sending recovers without help.
func TestARefusalThatEverythingGetsParksAFewAndStops(t *testing.T) {
	refusals := map[string]struct {
		answer func() *http.Response
		most   int // changes that may be parked for it
	}{
		"an error that nobody documents": {func() *http.Response { return fail(400, "Surprise", "platform is not known") }, 0},
		"too large, for a proxy":         {func() *http.Response { return reply(413, "<html>") }, 0},
	}
	for name, refusal := range refusals {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var refused atomic.Bool
				refused.Store(true)
				o := newShelf(t)
				w := &wire{t: t, latency: 5 * time.Millisecond, answer: func(sentRequest) (*http.Response, error) {
					if refused.Load() {
						return refusal.answer(), nil
					}
					return ok(), nil
				}}
				for i := range 3000 {
					o.put(fmt.Sprint("user-", i), "", true, i%2 == 0)
				}
				s, stop := run(t, testConfig(w), o)
				defer stop()
				time.Sleep(10 * time.Minute)
				if n := len(o.seen().parked); n > refusal.most {
					t.Errorf("%d changes are parked, want at most %d", n, refusal.most)
				}
				if h := s.Health(); !h.Stopped || h.NextProbe.IsZero() {
					t.Errorf("sending goes on: %+v", h)
				}
				if n := w.count(); n > 180 {
					t.Errorf("%d requests in ten minutes in which everything is refused", n)
				}
				parked := len(o.seen().parked)
				refused.Store(false)
				eventually(t, 10*time.Minute, o.drained)
				if s.Health().Stopped || len(o.seen().parked) != parked {
					t.Errorf("%d parked after it was over, health %+v", len(o.seen().parked), s.Health())
				}
			})
		})
	}
}

// The log reports the stop once, not for each probe.
func TestAStopIsSaidOnceForARefusalThatEverythingGets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := newShelf(t)
		w := &wire{t: t, answer: func(sentRequest) (*http.Response, error) { return fail(400, "Surprise", "expected string"), nil }}
		for i := range 100 {
			o.attribute(fmt.Sprint("user-", i))
		}
		_, stop := runLogged(t, testConfig(w), o, slog.New(slog.NewTextHandler(&log, nil)))
		time.Sleep(30 * time.Minute)
		stop()
		if n := strings.Count(log.String(), "moengage refuses everything"); n != 1 {
			t.Errorf("said %d times that sending stopped:\n%s", n, &log)
		}
	})
}

// After 32 refusals in a row, a user with only valid data had waited for up to a minute, and the status had
// said that MoEngage refuses everything.
func TestManyDocumentedRefusalsStopSending(t *testing.T) {
	const many = 200
	for name, together := range map[string]bool{"all at once": true, "one by one, in a quiet night": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bad := map[string]bool{}
				for i := range many {
					bad[fmt.Sprint("bad-", i)] = true
				}
				o := newShelf(t)
				w := &wire{t: t, latency: 5 * time.Millisecond, answer: poisoned(bad, func() *http.Response { return fail(400, "TypeError", "expected string") })}
				s, stop := run(t, testConfig(w), o)
				defer stop()
				for i := range many {
					o.attribute(fmt.Sprint("bad-", i))
					if !together {
						time.Sleep(5 * time.Minute)
					}
				}
				o.attribute("good")
				eventually(t, 5*time.Second, func() bool { return slices.Contains(w.taken(), "good") })
				eventually(t, 2*time.Minute, o.drained)
				if n := len(o.seen().parked); n != many || s.Health().State != stateOK {
					t.Errorf("%d are parked in the end, want %d; health %+v", n, many, s.Health())
				}
			})
		})
	}
}

// A breaker opened by a wrong key had stayed open until a user's data was accepted, although a data error of
// another user already shows that the key is right.
func TestADocumentedRefusalProvesThatTheKeyWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wrong atomic.Bool
		wrong.Store(true)
		o := newShelf(t)
		w := &wire{t: t, answer: func(sentRequest) (*http.Response, error) {
			if wrong.Load() {
				return fail(401, "Authentication required", "wrong key"), nil
			}
			return fail(400, "TypeError", "expected string"), nil
		}}
		s, stop := run(t, testConfig(w), o)
		defer stop()
		o.attribute("bad")
		time.Sleep(time.Minute)
		if !s.Health().Stopped {
			t.Fatalf("health %+v", s.Health())
		}
		wrong.Store(false)
		eventually(t, 2*time.Minute, o.drained)
		if h := s.Health(); h.State != stateOK {
			t.Errorf("health %+v", h)
		}
	})
}

// The breaker opened because everything was refused. A documented data error of the probe parks its user, and shows
// that MoEngage judges the data again.
func TestADocumentedRefusalOfAProbeClosesTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var documented atomic.Bool
		o := newShelf(t)
		w := &wire{t: t, answer: func(sentRequest) (*http.Response, error) {
			if documented.Load() {
				return fail(400, "TypeError", "expected string"), nil
			}
			return fail(400, "Surprise", "no"), nil
		}}
		s, stop := run(t, testConfig(w), o)
		defer stop()
		o.attribute("bad")
		time.Sleep(time.Minute)
		if !s.Health().Stopped {
			t.Fatalf("health %+v", s.Health())
		}
		documented.Store(true)
		eventually(t, 2*time.Minute, o.drained)
		if h := s.Health(); h.State != stateOK || len(o.seen().parked) != 1 {
			t.Errorf("%d parked, health %+v", len(o.seen().parked), h)
		}
	})
}
