package syncer

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
)

// With random requests and round trips, no window of a minute exceeds the limit, whenever a request is counted
// in its round trip. Half of the requests are for less than a share, as in a search.
func TestNoWindowHoldsMoreThanTheLimit(t *testing.T) {
	for range 20 {
		limit := 1 + rand.IntN(500)
		var m meter
		m.limit(grant{users: limit, events: 0})
		type trip struct {
			g              grant
			left, answered time.Time
		}
		var open, done []trip
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for range 3000 {
			now = now.Add(time.Duration(rand.Int64N(int64(200 * time.Millisecond))))
			for len(open) > 0 && (rand.IntN(3) == 0 || len(open) > 4) {
				one := open[0]
				open = open[1:]
				m.settle(one.g, true, now)
				one.answered = now
				done = append(done, one)
			}
			var g grant
			if rand.IntN(2) == 0 {
				g, _ = m.reserve(now)
				g = m.keep(g, grant{users: min(g.users, rand.IntN(limit+1))}, now)
			} else {
				g, _ = m.admit(grant{users: 1 + rand.IntN(limit)}, now)
			}
			if g.users > 0 {
				open = append(open, trip{g: g, left: now})
			}
		}
		for i, first := range done {
			in := 0
			for _, later := range done[i:] {
				if later.left.Sub(first.answered) <= windowLength {
					in += later.g.users
				}
			}
			// first was answered first among the requests that may share its window.
			if in > limit {
				t.Fatalf("limit %d: %d in one window", limit, in)
			}
		}
	}
}

func TestAnEmptyGrantSaysWhenToAskAgain(t *testing.T) {
	var m meter
	m.limit(grant{users: 60, events: 120})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 60 {
		g, _ := m.reserve(now)
		m.settle(m.keep(g, grant{users: 1, events: 2}, now), true, now)
	}
	g, again := m.reserve(now)
	if !g.empty() || again.Before(now.Add(windowLength)) || again.After(now.Add(windowLength+2*grain)) {
		t.Fatalf("grant %+v, again in %v", g, again.Sub(now))
	}
	if g, _ := m.reserve(again.Add(-time.Millisecond)); !g.empty() {
		t.Errorf("granted %+v before its time", g)
	}
	if g, _ := m.reserve(again); g.empty() {
		t.Error("nothing was granted when it was promised")
	}
}

func TestUsersMayBeSpentWhileEventsAreNot(t *testing.T) {
	var m meter
	m.limit(grant{users: 60, events: 600})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 60 {
		g, _ := m.reserve(now)
		m.settle(m.keep(g, grant{users: 1, events: 0}, now), true, now)
	}
	g, again := m.reserve(now)
	if g.users != 0 || g.events != 10 || again.IsZero() {
		t.Errorf("grant %+v, again %v", g, again)
	}
}

func TestWhatNeverLeftCostsNothing(t *testing.T) {
	var m meter
	m.limit(grant{users: 60, events: 60})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 1000 {
		g, _ := m.reserve(now)
		if g.empty() {
			t.Fatal("a request that never left was counted")
		}
		m.settle(m.keep(g, grant{users: 1, events: 1}, now), false, now)
	}
}

func TestNoLimitIsNoLimit(t *testing.T) {
	var m meter
	now := time.Now()
	for range 1000 {
		g, _ := m.reserve(now)
		if g.users < 1_000_000 || g.events < 1_000_000 {
			t.Fatalf("grant %+v", g)
		}
		m.settle(m.keep(g, grant{users: 800, events: 800}, now), true, now)
	}
	if len(m.users.past) != 0 {
		t.Error("what is not limited is remembered")
	}
}

func TestAClockSetBackDoesNotStopTheMeter(t *testing.T) {
	var m meter
	m.limit(grant{users: 60, events: 60})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m.restore([]domain.SentSecond{{At: now.Add(time.Hour), Users: 60, Events: 60}}, now)
	if g, again := m.reserve(now); !g.empty() || again.After(now.Add(windowLength+2*grain)) {
		t.Errorf("grant %+v, again in %v", g, again.Sub(now))
	}
}

// A clock set back by a year would block sending for a year if times had no monotonic reading.
func TestTheMeterDoesNotGoByTheWallClock(t *testing.T) {
	var m meter
	m.limit(grant{users: 60, events: 60, calls: 60})
	now := time.Now()
	m.restore([]domain.SentSecond{{At: now.Add(-time.Second).Round(0), Users: 60, Events: 60, Cohorts: 60}}, now)
	g, again := m.reserve(now)
	if !g.empty() {
		t.Fatalf("granted %+v of nothing", g)
	}
	for name, w := range map[string]*window{"users": &m.users, "events": &m.events, "calls": &m.calls} {
		if !strings.Contains(w.past[0].until.String(), " m=") {
			t.Errorf("%s count until %s, by the wall clock", name, w.past[0].until)
		}
	}
	if !strings.Contains(again.String(), " m=") {
		t.Errorf("to be asked again at %s, by the wall clock", again)
	}
}

// The outbox assumes that a change deferred for longer was stored under a clock that was ahead.
func TestNothingIsPutOffForLongerThanTheOutboxBelieves(t *testing.T) {
	now := time.Now()
	for _, c := range []Config{{}, {MinBackoff: time.Minute, MaxBackoff: 6 * time.Hour}, {MinBackoff: 2 * time.Hour, MaxBackoff: 2 * time.Hour}} {
		c = c.withDefaults()
		for range 100 {
			var r breaker
			a := answer{Meaning: rows[codeStay], pause: longestWish}
			for range rand.IntN(20) {
				a.pause = longestWish * time.Duration(rand.IntN(2))
				r.retry(c, a, now, now)
			}
			r.stop(a, now)
			if put := r.resume.Add(c.MinBackoff).Sub(now); put > c.longestPause(longestWish) {
				t.Fatalf("put off for %s, believed are %s", put, c.longestPause(longestWish))
			}
		}
	}
}

func TestTheMeterIsBounded(t *testing.T) {
	var m meter
	m.limit(grant{users: 10_000_000, events: 0})
	now := time.Now()
	for range 100_000 {
		now = now.Add(time.Millisecond)
		m.settle(grant{}, true, now)
		m.users.expire(now)
		m.users.spend(now, 1)
	}
	if n := len(m.users.past); n > 1202 {
		t.Errorf("%d entries for a minute", n)
	}
}
