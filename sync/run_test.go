package syncer

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"personasync/store/domain"
)

// TestTheOutboxIsAskedLessOftenWhileItFails: after a second, two, four, and half a minute at most. One that is closed ends the loop.
func TestTheOutboxIsAskedLessOftenWhileItFails(t *testing.T) {
	d := dispatcher{Sender: &Sender{shared: shared{log: slog.New(slog.DiscardHandler)}}, ctx: t.Context()}
	now, fault := time.Now(), errors.New("the disk fails")
	for i, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second} {
		at, err := d.outboxFailed(now, fault)
		if err != nil || at.Sub(now) != want || !d.askAt.Equal(at) {
			t.Errorf("failure %d: it is asked again after %v, want %v; %v", i+1, at.Sub(now), want, err)
		}
	}
	if _, err := d.outboxFailed(now, domain.ErrClosed); !errors.Is(err, domain.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestASleepIsOfTheMonotonicClock: a retry is due at a second of the wall clock, which may be set back by an hour between
// the question to the outbox and the sleep.
func TestASleepIsOfTheMonotonicClock(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct{ left, want time.Duration }{
		{time.Second, time.Second}, {time.Hour, sweepEvery}, {-time.Hour, time.Millisecond}, {0, time.Millisecond},
	} {
		at := soonest(now, now.Add(tc.left).Round(0)) // without a reading of the monotonic clock
		if got := at.Sub(now); got != tc.want {
			t.Errorf("%v before it is due, the outbox is asked again in %v, want %v", tc.left, got, tc.want)
		}
		if at == at.Round(0) {
			t.Errorf("%v before it is due, the sleep ends at %v by the wall clock", tc.left, at)
		}
	}
	if got := soonest(now, time.Time{}).Sub(now); got != sweepEvery {
		t.Errorf("while nothing is due, the outbox is asked again in %v", got)
	}
}

// TestADefaultLeavesWhatIsGiven: a longest pause that is no shorter than the shortest one stays.
func TestADefaultLeavesWhatIsGiven(t *testing.T) {
	for _, tc := range []struct{ min, max, wantMin, wantMax time.Duration }{
		{0, 0, time.Second, 5 * time.Minute}, {time.Minute, time.Minute, time.Minute, time.Minute}, {time.Minute, time.Second, time.Minute, 5 * time.Minute},
		{time.Hour, 0, time.Hour, time.Hour}, {time.Minute, 2 * time.Minute, time.Minute, 2 * time.Minute},
	} {
		c := Config{MinBackoff: tc.min, MaxBackoff: tc.max}.withDefaults()
		if c.MinBackoff != tc.wantMin || c.MaxBackoff != tc.wantMax {
			t.Errorf("from %v to %v becomes %v to %v", tc.min, tc.max, c.MinBackoff, c.MaxBackoff)
		}
	}
}

// TestTheLoopSleepsWhileAllRequestsAreInFlight: the time to ask the outbox has long passed, but a settled lease wakes
// the loop. Without a sleep until then it would turn a thousand times a second.
func TestTheLoopSleepsWhileAllRequestsAreInFlight(t *testing.T) {
	s := New(testConfig(&wire{t: t}), newShelf(t), quiet())
	c, _ := s.current()
	for lease := range c.Concurrency {
		s.releases.leased(uint64(lease + 1))
	}
	now := time.Now()
	d := dispatcher{Sender: s, ctx: t.Context(), lasting: t.Context(), askAt: now.Add(-time.Second)}
	if _, at, ok := d.permitted(now); ok || !at.IsZero() {
		t.Errorf("allowed: %v, looked at again at %v, want only after a lease is settled", ok, at)
	}
}
