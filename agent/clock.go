package agent

import (
	"sync"
	"time"
)

// A clock that is set back makes every event look as if it came from the future, and one that is believed
// only up to its receipt then looks older than what came before it: transitions would be thrown away as
// stale. So the door remembers the latest that its clock has shown, and how much time has passed since,
// which a clock that is set does not change. Until the clock is there again, that is the latest that an
// event can be of. Across a restart it is known from the files when they were last written to; how long
// the agent was down then is not.
type doorClock struct {
	wall func() time.Time     // without a monotonic reading
	past func() time.Duration // since some moment, however the wall clock is set

	mu    sync.Mutex
	shown time.Time     // the latest that wall has shown …
	at    time.Duration // … when past said so
}

// newDoorClock makes a clock that is known to have shown a time before; the zero time if none is known.
func newDoorClock(shown time.Time) *doorClock {
	start := time.Now()
	return &doorClock{
		wall:  func() time.Time { return time.Now().Round(0) },
		past:  func() time.Duration { return time.Since(start) },
		shown: shown.Round(0),
	}
}

// read returns the time, and the latest that it can be.
func (c *doorClock) read() (now, latest time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	past := c.past()
	now, latest = c.wall(), c.shown.Add(past-c.at)
	if !now.Before(latest) {
		c.shown, c.at, latest = now, past, now
	}
	return now, latest
}
