package syncer

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// MoEngage refuses the data of eight users. A documented error parks each of them. An undocumented one stops no
// user who comes later.
func TestAFewRefusedUsersStopSendingForEverybody(t *testing.T) {
	tests := map[string]struct {
		refusal    func() *http.Response
		documented bool
	}{
		"documented":      {func() *http.Response { return fail(400, "AttributeError", "platform is not known") }, true},
		"undocumented":    {func() *http.Response { return fail(400, "Surprise", "no") }, false},
		"not JSON":        {func() *http.Response { return reply(400, "<html>Bad Request") }, false},
		"account":         {func() *http.Response { return fail(400, "InvalidParams", "given app_id is invalid") }, false},
		"a small request": {func() *http.Response { return reply(413, "") }, false},
	}
	for name, tt := range tests {
		for _, events := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, events %v", name, events), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := newShelf(t)
					w := &wire{t: t, latency: 20 * time.Millisecond, answer: func(r sentRequest) (*http.Response, error) {
						if slices.ContainsFunc(r.ids, func(id string) bool { return strings.Contains(id, "bad-") }) {
							return tt.refusal(), nil
						}
						return ok(), nil
					}}
					s, stop := run(t, testConfig(w), o)
					defer stop()
					for i := range 8 {
						o.put(fmt.Sprint("bad-", i), "", true, events)
					}
					time.Sleep(5 * time.Minute)
					halves := 8
					if events {
						halves = 16
					}
					if n := len(o.seen().parked); tt.documented && n != halves || !tt.documented && n != 0 {
						t.Errorf("%d are parked before anything was accepted", n)
					}
					if tt.documented && s.Health().State != stateOK {
						t.Errorf("health %+v", s.Health())
					}
					o.attribute("good")
					eventually(t, 3*time.Second, func() bool { return slices.Contains(w.taken(), "good") })
					eventually(t, 5*time.Second, o.drained)
					if n := len(o.seen().parked); n != halves || o.seen().delivered != 1 {
						t.Errorf("%d are parked and %d delivered in the end", n, o.seen().delivered)
					}
					if s.Health().State != stateOK {
						t.Errorf("health %+v in the end", s.Health())
					}
				})
			})
		}
	}
}

// The values of one computation are refused for thousands of users. Users of another computation in the same
// requests must not wait for all of them.
func TestABrokenComputationStopsTheOthers(t *testing.T) {
	for name, refusal := range map[string]func() *http.Response{
		"documented":   func() *http.Response { return fail(400, "AttributeError", "no") },
		"undocumented": func() *http.Response { return reply(400, "<html>Bad Request") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newShelf(t)
				w := &wire{t: t, latency: 5 * time.Millisecond, answer: func(r sentRequest) (*http.Response, error) {
					if slices.ContainsFunc(r.ids, func(id string) bool { return strings.Contains(id, "bad-") }) {
						return refusal(), nil
					}
					return ok(), nil
				}}
				for i := range 2000 {
					user, computation := fmt.Sprint("bad-", i), "broken"
					if i%100 == 0 {
						user, computation = fmt.Sprint("good-", i), "sound"
					}
					o.attribute(user)
					o.mu.Lock()
					o.byName[user].attributes[0].Computation = computation
					o.mu.Unlock()
				}
				_, stop := run(t, testConfig(w), o)
				defer stop()
				eventually(t, 10*time.Minute, func() bool {
					n := 0
					for _, id := range w.taken() {
						if strings.HasPrefix(id, "good-") {
							n++
						}
					}
					return n == 20
				})
			})
		})
	}
}

// All users of one broken computation are parked for a documented error. The outbox becomes empty, so a waiting
// flush ends.
func TestDocumentedErrorsDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newShelf(t)
		w := &wire{t: t, answer: func(sentRequest) (*http.Response, error) { return fail(400, "AttributeError", "no"), nil }}
		s, stop := run(t, testConfig(w), o)
		defer stop()
		for i := range 500 {
			o.attribute(fmt.Sprint("bad-", i))
		}
		select {
		case <-s.Flush(nil, nil):
		case <-time.After(time.Minute):
			t.Errorf("not drained, %d parked, health %+v", len(o.seen().parked), s.Health())
		}
	})
}

// A blocked account refuses everybody. Users who were refused once, long before it was blocked, must not be
// parked for that.
func TestABlockedAccountParksNobodyForOldRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var blocked atomic.Bool
		o := newShelf(t)
		w := &wire{t: t, answer: func(r sentRequest) (*http.Response, error) {
			if blocked.Load() {
				return fail(400, "Blacklisted", "Your account is blacklisted"), nil
			}
			return ok(), nil
		}}
		s, stop := run(t, testConfig(w), o)
		defer stop()
		blocked.Store(true)
		o.attribute("ann")
		time.Sleep(5 * time.Minute)
		blocked.Store(false)
		eventually(t, 2*time.Minute, o.drained)
		time.Sleep(time.Hour)
		blocked.Store(true)
		for i := range 20 {
			o.attribute("ann")
			o.attribute(fmt.Sprint("user-", i))
			time.Sleep(time.Minute)
		}
		if n := len(o.seen().parked); n != 0 || !s.Health().Stopped {
			t.Errorf("%d parked by a blocked account, health %+v", n, s.Health())
		}
		blocked.Store(false)
		eventually(t, 2*time.Minute, o.drained)
	})
}

func TestRefusalsProveOnlyWhatIsRecent(t *testing.T) {
	at := func(after time.Duration) time.Time { return noon.Add(after) }
	for name, tt := range map[string]struct {
		accepted, again time.Duration
		proven          bool
	}{
		"accepted in between":              {time.Minute, 2 * time.Minute, true},
		"accepted before":                  {-time.Minute, 2 * time.Minute, false},
		"accepted at the same moment":      {0, 2 * time.Minute, false},
		"accepted too long ago":            {time.Minute, time.Minute + proofKept, false},
		"accepted nearly too long ago":     {time.Minute, time.Minute + proofKept - 1, true},
		"refused too long ago":             {refusalKept - time.Minute, refusalKept, false},
		"refused nearly too long ago":      {refusalKept - time.Minute, refusalKept - 1, true},
		"accepted, and blocked long since": {time.Minute, 30 * time.Minute, false},
	} {
		r := make(refusals)
		if r.record("ann", at(-time.Hour), at(0)) {
			t.Errorf("%s: a first refusal proves something", name)
		}
		if got := r.record("ann", at(tt.accepted), at(tt.again)); got != tt.proven {
			t.Errorf("%s: proven %v", name, got)
		}
	}
	r := make(refusals)
	for i := range maxRefusals {
		r.record(fmt.Sprint("user-", i), noon, noon)
	}
	if r.record("user-7", noon, noon); len(r) != maxRefusals {
		t.Errorf("%d refusals after a repeat, want %d", len(r), maxRefusals)
	}
	if r.record("another", noon, noon); len(r) != 1 || !r.has("another") {
		t.Errorf("%d refusals after the limit, want the new one", len(r))
	}
	if r.accept([]string{"another"}); r.has("another") {
		t.Error("an accepted user counts as refused")
	}
}
