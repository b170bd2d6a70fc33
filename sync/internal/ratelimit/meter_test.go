package ratelimit

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
		var m Meter
		m.SetLimits(Amount{Users: limit, Events: 0})
		type trip struct {
			g              Amount
			left, answered time.Time
		}
		var open, done []trip
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for range 3000 {
			now = now.Add(time.Duration(rand.Int64N(int64(200 * time.Millisecond))))
			for len(open) > 0 && (rand.IntN(3) == 0 || len(open) > 4) {
				one := open[0]
				open = open[1:]
				m.Settle(one.g, true, now)
				one.answered = now
				done = append(done, one)
			}
			var g Amount
			if rand.IntN(2) == 0 {
				g, _ = m.Reserve(now)
				g = m.Keep(g, Amount{Users: min(g.Users, rand.IntN(limit+1))}, now)
			} else {
				g, _ = m.Admit(Amount{Users: 1 + rand.IntN(limit)}, now)
			}
			if g.Users > 0 {
				open = append(open, trip{g: g, left: now})
			}
		}
		if len(done) == 0 {
			t.Fatalf("limit %d: nothing was admitted", limit)
		}
		for i, first := range done {
			in := 0
			for _, later := range done[i:] {
				if later.left.Sub(first.answered) <= Window {
					in += later.g.Users
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
	var m Meter
	m.SetLimits(Amount{Users: 60, Events: 120})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 60 {
		g, _ := m.Reserve(now)
		m.Settle(m.Keep(g, Amount{Users: 1, Events: 2}, now), true, now)
	}
	g, again := m.Reserve(now)
	if !g.Empty() || again.Before(now.Add(Window)) || again.After(now.Add(Window+2*grain)) {
		t.Fatalf("grant %+v, again in %v", g, again.Sub(now))
	}
	if g, _ := m.Reserve(again.Add(-time.Millisecond)); !g.Empty() {
		t.Errorf("granted %+v before its time", g)
	}
	if g, _ := m.Reserve(again); g.Empty() {
		t.Error("nothing was granted when it was promised")
	}
}

func TestUsersMayBeSpentWhileEventsAreNot(t *testing.T) {
	var m Meter
	m.SetLimits(Amount{Users: 60, Events: 600})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 60 {
		g, _ := m.Reserve(now)
		m.Settle(m.Keep(g, Amount{Users: 1, Events: 0}, now), true, now)
	}
	g, again := m.Reserve(now)
	if g.Users != 0 || g.Events != 10 || again.IsZero() {
		t.Errorf("grant %+v, again %v", g, again)
	}
}

func TestWhatNeverLeftCostsNothing(t *testing.T) {
	var m Meter
	m.SetLimits(Amount{Users: 60, Events: 60})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 1000 {
		g, _ := m.Reserve(now)
		if g.Empty() {
			t.Fatal("a request that never left was counted")
		}
		m.Settle(m.Keep(g, Amount{Users: 1, Events: 1}, now), false, now)
	}
}

func TestNoLimitIsNoLimit(t *testing.T) {
	var m Meter
	now := time.Now()
	for range 1000 {
		g, _ := m.Reserve(now)
		if g.Users < 1_000_000 || g.Events < 1_000_000 {
			t.Fatalf("grant %+v", g)
		}
		m.Settle(m.Keep(g, Amount{Users: 800, Events: 800}, now), true, now)
	}
	if len(m.users.past) != 0 {
		t.Error("what is not limited is remembered")
	}
}

func TestAClockSetBackDoesNotStopTheMeter(t *testing.T) {
	var m Meter
	m.SetLimits(Amount{Users: 60, Events: 60})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m.Restore([]domain.SentSecond{{At: now.Add(time.Hour), Users: 60, Events: 60}}, now)
	if g, again := m.Reserve(now); !g.Empty() || again.After(now.Add(Window+2*grain)) {
		t.Errorf("grant %+v, again in %v", g, again.Sub(now))
	}
}

// A clock set back by a year would block sending for a year if times had no monotonic reading.
func TestTheMeterDoesNotGoByTheWallClock(t *testing.T) {
	var m Meter
	m.SetLimits(Amount{Users: 60, Events: 60, Calls: 60})
	now := time.Now()
	m.Restore([]domain.SentSecond{{At: now.Add(-time.Second).Round(0), Users: 60, Events: 60, Cohorts: 60}}, now)
	g, again := m.Reserve(now)
	if !g.Empty() {
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

func TestTheMeterIsBounded(t *testing.T) {
	var m Meter
	m.SetLimits(Amount{Users: 10_000_000, Events: 0})
	now := time.Now()
	for range 100_000 {
		now = now.Add(time.Millisecond)
		m.Settle(Amount{}, true, now)
		m.users.expire(now)
		m.users.spend(now, 1)
	}
	if n := len(m.users.past); n > 1202 {
		t.Errorf("%d entries for a minute", n)
	}
}

func TestAmounts(t *testing.T) {
	for a, want := range map[Amount]bool{{}: true, {Users: 1}: false, {Events: 1}: false, {Calls: 1}: true, {Users: -1, Events: -1}: true} {
		if a.Empty() != want {
			t.Errorf("%+v is empty: %v", a, !want)
		}
	}
	if got := (Amount{Users: 10, Events: 3, Calls: 1}).AtMost(5); got != (Amount{Users: 5, Events: 3, Calls: 1}) {
		t.Errorf("at most 5: %+v", got)
	}
	for limit, want := range map[int]int{0: unlimited, -1: unlimited, 1: 1, 59: 1, 60: 1, 120: 2, 60_000: 1000} {
		if got := Share(limit); got != want {
			t.Errorf("the share of %d is %d, want %d", limit, got, want)
		}
	}
}

// Once a limit was reached, requests are paced at its rate. When everything due was sent, they need not be.
func TestPacingBeginsAtTheLimitAndEndsWithTheBacklog(t *testing.T) {
	var m Meter
	m.SetLimits(Amount{Users: 60, Events: 60, Calls: 60})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	send := func() Amount {
		g, _ := m.Reserve(now)
		if g.Empty() {
			return g
		}
		g = m.Keep(g, Amount{Users: 1, Events: 1, Calls: 1}, now)
		m.Settle(g, true, now)
		return g
	}
	for range 60 {
		if send().Empty() {
			t.Fatal("paced below the limit")
		}
	}
	g, again := m.Reserve(now)
	if !g.Empty() || again.Before(now.Add(Window)) {
		t.Fatalf("at the limit: %+v, again in %v", g, again.Sub(now))
	}
	now = again
	for range 2 { // the second makes up for being one share late
		if send().Empty() {
			t.Fatal("nothing is allowed when it was promised")
		}
	}
	g, again = m.Reserve(now)
	if wait := again.Sub(now); !g.Empty() || wait < 900*time.Millisecond || wait > time.Second {
		t.Fatalf("after two paced requests: %+v, again in %v", g, wait)
	}
	m.StopPacing()
	if send().Empty() {
		t.Error("paced although everything due was sent")
	}
}

// A request in flight holds its reservation, and a part that was not used is free again.
func TestAReservationIsHeldUntilItIsSettled(t *testing.T) {
	var m Meter
	m.SetLimits(Amount{Users: 120})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	held := Amount{Users: 119}
	if _, again := m.Admit(held, now); !again.IsZero() {
		t.Fatal("not admitted")
	}
	if _, again := m.Admit(Amount{Users: 2}, now); !again.Equal(now.Add(time.Second)) { // when is unknown: a guess
		t.Errorf("admitted beyond the limit, or again at %v", again)
	}
	if g, again := m.Reserve(now); g.Users != 0 || g.Events != unlimited || !again.Equal(now.Add(time.Second)) {
		t.Errorf("reserved %+v, again at %v", g, again)
	} else {
		m.Settle(g, false, now)
	}
	held = m.Keep(held, Amount{Users: 100}, now)
	if _, again := m.Admit(Amount{Users: 20}, now); !again.IsZero() {
		t.Error("the unused part is still held")
	}
	m.Settle(held, false, now)
	if _, again := m.Admit(Amount{Users: 100}, now); !again.IsZero() {
		t.Error("a request that never left was counted")
	}
	if _, again := m.Admit(Amount{}, now); !again.IsZero() {
		t.Error("a request of nothing has to wait")
	}
}

// Each of the three limits holds by itself: for reservations, for pacing, and after a restart.
func TestEachLimitHoldsByItself(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const grain = 50 * time.Millisecond
	for name, n := range map[string]func(n int) Amount{
		"users":  func(n int) Amount { return Amount{Users: n} },
		"events": func(n int) Amount { return Amount{Events: n} },
		"calls":  func(n int) Amount { return Amount{Calls: n} },
	} {
		t.Run(name, func(t *testing.T) {
			admitted := func(m *Meter, n Amount, now, want time.Time) {
				t.Helper()
				if _, again := m.Admit(n, now); !again.Equal(want) {
					t.Errorf("%+v at %v: again at %v, want %v", n, now, again, want)
				}
			}
			var m Meter
			m.SetLimits(n(60))
			admitted(&m, n(40), now, time.Time{})
			admitted(&m, n(21), now, now.Add(time.Second)) // a guess, because it depends on a request in flight
			m.Settle(n(40), true, now)
			admitted(&m, n(20), now.Add(time.Second), time.Time{})
			m.Settle(n(20), true, now.Add(time.Second))
			// Room for 40 comes when the first request is a minute old, for 41 when the second is.
			admitted(&m, n(40), now.Add(2*time.Second), now.Add(Window+grain))
			admitted(&m, n(41), now.Add(2*time.Second), now.Add(Window+grain+time.Second))

			// A reservation of an open limit holds back nothing.
			var open Meter
			open.Reserve(now)
			admitted(&open, n(1), now, time.Time{})

			// After a restart a second counts from its end, and one of the future from now.
			for at, want := range map[time.Time]time.Time{now.Add(-10 * time.Second): now.Add(-9 * time.Second), now.Add(time.Hour): now} {
				var restored Meter
				restored.SetLimits(n(60))
				used := n(60)
				restored.Restore([]domain.SentSecond{{At: at, Users: used.Users, Events: used.Events, Cohorts: used.Calls}}, now)
				admitted(&restored, n(1), now, want.Add(Window+grain))
			}

			// At the limit, requests are paced at its rate.
			var paced Meter
			paced.SetLimits(n(60))
			admitted(&paced, n(60), now, time.Time{})
			paced.Reserve(now) // notices that the limit is reached
			paced.Settle(n(60), false, now)
			paced.Keep(n(0), n(2), now) // the first comes at no planned time
			paced.Keep(n(0), n(3), now)
			windows := map[string]*window{"users": &paced.users, "events": &paced.events, "calls": &paced.calls}
			if w := windows[name]; !w.pacing || !w.nextAt.Equal(now.Add(3*time.Second)) || w.freeShare(now.Add(2999*time.Millisecond)) != 0 || w.freeShare(now.Add(3*time.Second)) != 1 {
				t.Errorf("%s are paced: %v, next at %v", name, w.pacing, w.nextAt)
			}
		})
	}
}

// A reservation that is not empty does not say when to ask again, even if it took the last.
func TestTheLastShareIsReserved(t *testing.T) {
	var m Meter
	m.SetLimits(Amount{Users: 60, Events: 60})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, again := m.Admit(Amount{Users: 59, Events: 59}, now); !again.IsZero() {
		t.Fatal("not admitted")
	}
	if g, again := m.Reserve(now); g != (Amount{Users: 1, Events: 1, Calls: 1}) || !again.IsZero() {
		t.Errorf("reserved %+v, again at %v", g, again)
	}
}

// A reservation that lacks one of users and events is complete when that one is free; one without both, when the
// first of them is.
func TestWhenMoreCanBeReserved(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	first, second := now.Add(Window+50*time.Millisecond), now.Add(Window+50*time.Millisecond+time.Second)
	for _, tc := range []struct {
		spent, later Amount
		want         time.Time
	}{
		{Amount{Users: 60}, Amount{}, first},
		{Amount{Events: 60}, Amount{}, first},
		{Amount{Users: 60}, Amount{Events: 60}, first},
		{Amount{Events: 60}, Amount{Users: 60}, first},
		{Amount{}, Amount{Users: 60}, second},
		{Amount{Calls: 60, Users: 60}, Amount{}, first},
		{Amount{}, Amount{Calls: 60}, second},
	} {
		var m Meter
		m.SetLimits(Amount{Users: 60, Events: 60, Calls: 60})
		m.Settle(m.Keep(Amount{}, tc.spent, now), true, now)
		m.Settle(m.Keep(Amount{}, tc.later, now), true, now.Add(time.Second))
		if g, again := m.Reserve(now.Add(2 * time.Second)); !again.Equal(tc.want) {
			t.Errorf("%+v, then %+v: reserved %+v, again at %v, want %v", tc.spent, tc.later, g, again, tc.want)
		}
	}
}
