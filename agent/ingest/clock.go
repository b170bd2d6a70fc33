package ingest

import (
	"fmt"
	"sync"
	"time"

	"personasync/store/domain"
)

// Clock gives the time of receipt, and guards against a wall clock that is set.
//
// If the clock is set back, every event seems to come from the future. Its time would be cut to its receipt, would
// be older than the stored events, and transitions would be dropped as stale. So the Clock remembers the latest time
// that was shown and the time elapsed since, which setting the clock does not change. Until the wall clock reaches
// that time again, it is the upper bound for the time of an event. After a restart it is the time of the last write
// to the files; how long the agent was down is then unknown.
//
// A clock that jumps ahead may be wrong for a moment. The time it shows is the receipt of events, but it is
// remembered, and lets things expire, only after it has held for clockSettles. At a start this also applies to the
// time of the last write. So a clock that is a year ahead at the first reading counts as a jump. The end of a long
// downtime does too, which only keeps things for an hour longer.
type Clock struct {
	wall func() time.Time     // without a monotonic reading
	past func() time.Duration // elapsed since a fixed moment, independent of the wall clock

	mu    sync.Mutex
	shown time.Time     // the latest time that wall showed
	at    time.Duration // past at that moment
	off   time.Duration // how far wall was ahead of shown plus the time elapsed, at the last reading
	since time.Duration // past when wall was first ahead; valid while off is above MaxAhead
	filed bool          // shown is the time of the last write to the files
}

// clockSettles is how long a clock must stay ahead before it is believed.
const clockSettles = time.Hour

// NewClock returns a clock that has shown a time before, or the zero time if none is known.
func NewClock(shown time.Time) *Clock {
	start := time.Now()
	return &Clock{
		wall:  func() time.Time { return time.Now().Round(0) },
		past:  func() time.Duration { return time.Since(start) },
		shown: shown.Round(0),
		filed: true,
	}
}

// ClockAt returns a clock that stands at a time: deliveries read with it are read as if they came then.
func ClockAt(t time.Time) *Clock {
	t = t.Round(0)
	return &Clock{wall: func() time.Time { return t }, past: func() time.Duration { return 0 }, shown: t}
}

// read returns the time, and the upper bound for the time of an event.
func (c *Clock) read() (now, latest time.Time) {
	now, latest, _ = c.receipt()
	return now, latest
}

// receipt is read, and also returns how far ahead the time may be because the clock jumped while the agent ran. A jump
// across a restart does not count, because it may have been a long downtime.
func (c *Clock) receipt() (now, latest time.Time, ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	past, was := c.past(), c.off
	now, latest = c.wall(), c.shown.Add(past-c.at)
	c.off = now.Sub(latest)
	if c.off < 0 {
		return now, latest, 0
	}
	if was <= domain.MaxAhead {
		c.since = past
	}
	if c.off <= domain.MaxAhead || c.shown.IsZero() || past-c.since >= clockSettles {
		c.shown, c.at, c.off, c.filed = now, past, 0, false
	}
	if c.off > domain.MaxAhead && !c.filed {
		ahead = c.off
	}
	return now, now, ahead
}

// Settled reports whether things may expire by the time that the clock shows now.
func (c *Clock) Settled() bool {
	c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.off <= domain.MaxAhead
}

// Doubt says why the clock may be wrong. It returns "" if it seems right.
func (c *Clock) Doubt() string {
	c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	off := c.off.Round(time.Second)
	switch {
	case c.off > domain.MaxAhead && !c.filed:
		return fmt.Sprintf("the clock jumped ahead by %s: until it has held for an hour, nothing expires", off)
	case c.off < -domain.MaxAhead && c.filed:
		return fmt.Sprintf("the clock shows a time that is %s before the files were last written to: it is behind now, or was ahead then", -off)
	case c.off < -domain.MaxAhead:
		return fmt.Sprintf("the clock was set back by %s: it is behind now, or was ahead before", -off)
	}
	return ""
}
