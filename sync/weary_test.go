package syncer

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What MoEngage says of one bad element it may come to say of everything: after a change of its own, or
// of ours. That must not carry the outbox into the parked changes. It costs a few, stops the road, and
// goes on by itself.
func TestARefusalThatEverythingGetsParksAFewAndStops(t *testing.T) {
	refusals := map[string]struct {
		answer func() *http.Response
		most   int // changes that may be parked for it
	}{
		"a documented data error": {func() *http.Response { return fail(400, "AttributeError", "platform is not known") }, weariness + 2*4}, // four requests at once, two of each
		"too large, for a proxy":  {func() *http.Response { return reply(413, "<html>") }, 0},
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
					t.Errorf("the road goes on: %+v", h)
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

// The road says that it stopped once, not at each try.
func TestAStopIsSaidOnceForARefusalThatEverythingGets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := newShelf(t)
		w := &wire{t: t, answer: func(sentRequest) (*http.Response, error) { return fail(400, "TypeError", "expected string"), nil }}
		for i := range 100 {
			o.attribute(fmt.Sprint("user-", i))
		}
		_, stop := runLogged(t, testConfig(w), o, slog.New(slog.NewTextHandler(&log, nil)))
		time.Sleep(30 * time.Minute)
		stop()
		if n := strings.Count(log.String(), "moengage refuses everything"); n != 1 {
			t.Errorf("said %d times that the road stopped:\n%s", n, &log)
		}
	})
}

// A few offenders one after the other, each alone in a quiet night, are parked as ever; the next waits
// for company that is accepted.
func TestOffendersInAQuietNight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := map[string]bool{}
		o := newShelf(t)
		w := &wire{t: t, answer: poisoned(bad, func() *http.Response { return fail(400, "TypeError", "expected string") })}
		for i := range weariness + 2 {
			bad[fmt.Sprint("bad-", i)] = true
		}
		s, stop := run(t, testConfig(w), o)
		defer stop()
		for i := range weariness + 2 {
			o.attribute(fmt.Sprint("bad-", i))
			time.Sleep(5 * time.Minute)
		}
		if n := len(o.seen().parked); n != weariness || !s.Health().Stopped {
			t.Errorf("%d are parked before anything was accepted, want %d; health %+v", n, weariness, s.Health())
		}
		o.attribute("good")
		eventually(t, 5*time.Minute, o.drained)
		if n := len(o.seen().parked); n != weariness+2 || s.Health().Stopped {
			t.Errorf("%d are parked in the end, want %d; health %+v", n, weariness+2, s.Health())
		}
	})
}
