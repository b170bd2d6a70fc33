package store

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAPortionIsSmallWhileSomebodyPostsUnlessTheLagGrows(t *testing.T) {
	var p portion
	now := noon
	step := func(alone bool, lag uint64, after time.Duration, want int) {
		t.Helper()
		now = now.Add(after)
		if p.adapt(alone, lag, now); p.bytes() != want {
			t.Errorf("lag %d, alone %v: %d bytes, want %d", lag, alone, p.bytes(), want)
		}
	}
	if p.bytes() != portionLeast {
		t.Errorf("it begins with %d", p.bytes())
	}
	step(false, 1_000_000, 0, portionLeast)
	step(false, 2_000_000, time.Second, portionLeast) // too early to tell
	step(true, 1_500_000, time.Second, portionMost)
	step(false, 1_400_000, time.Second, portionLeast)
	step(false, 1_500_000, patience, 2*portionLeast)
	for range 5 {
		step(false, p.lag+1, patience, min(2*p.bytes(), portionMost))
	}
	if p.bytes() != portionMost {
		t.Errorf("a lag that goes on growing leaves it at %d", p.bytes())
	}
	step(false, 0, patience, portionMost/2)
	step(false, 0, patience, portionMost/4)
}

func TestApplyRestsLessTheLongerItIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			waited time.Duration // of the oldest record that is not applied
			rest   time.Duration // after a batch of 10 ms
		}{
			{0, 40 * time.Millisecond},
			{patience / 4, 30 * time.Millisecond},
			{patience * 3 / 4, minRest},
			{patience, 0},
			{time.Hour, 0},
			{-time.Hour, 40 * time.Millisecond}, // the clock was set back
		} {
			s := &Store{reached: time.Now().Add(-c.waited)}
			if rest := s.restAfter(10*time.Millisecond, 10, 10); rest != c.rest {
				t.Errorf("%v behind it rests %v, want %v", c.waited, rest, c.rest)
			}
		}
	})
}
