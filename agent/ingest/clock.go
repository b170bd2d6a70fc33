package ingest

import (
	"fmt"
	"sync"
	"time"

	"personasync/store/domain"
)

// Clock says when events come, and what a clock that was set must not be believed.
//
// A clock that is set back makes every event look as if it came from the future, and one that is believed
// only up to its receipt then looks older than what came before it: transitions would be thrown away as
// stale. So the door remembers the latest that its clock has shown, and how much time has passed since,
// which a clock that is set does not change. Until the clock is there again, that is the latest that an
// event can be of. Across a restart it is known from the files when they were last written to; how long
// the agent was down then is not.
//
// A clock that jumps ahead may be wrong for a moment. The time it shows is the receipt of what comes in, but it
// is remembered as shown, and anything expires by it, only after it has held for clockSettles. At a start the
// files say when they were last written to, so that the first look at a clock that is a year ahead is a jump,
// too, and so is the end of a long downtime, which costs an hour of keeping things longer.
type Clock struct {
	wall func() time.Time     // without a monotonic reading
	past func() time.Duration // since some moment, however the wall clock is set

	mu    sync.Mutex
	shown time.Time     // the latest that wall has shown …
	at    time.Duration // … when past said so
	off   time.Duration // how far wall was from that, less what has passed, at the last look
	since time.Duration // when past said at first that wall is ahead; counts while off is above MaxAhead
	filed bool          // shown is from the files
}

// clockSettles is how long a clock must hold after it jumped ahead.
const clockSettles = time.Hour

// NewClock makes a clock that is known to have shown a time before; the zero time if none is known.
func NewClock(shown time.Time) *Clock {
	start := time.Now()
	return &Clock{
		wall:  func() time.Time { return time.Now().Round(0) },
		past:  func() time.Duration { return time.Since(start) },
		shown: shown.Round(0),
		filed: true,
	}
}

// read returns the time, and the latest that it can be.
func (c *Clock) read() (now, latest time.Time) {
	now, latest, _ = c.receipt()
	return now, latest
}

// receipt is read, and how far ahead the time may be because the clock jumped while the agent ran. A jump across a
// restart is none: that may have been a long downtime.
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

// Settled reports whether things may expire by the time that the clock shows.
func (c *Clock) Settled() bool {
	c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.off <= domain.MaxAhead
}

// Doubt says why the clock may be wrong; empty when nothing speaks against it.
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
