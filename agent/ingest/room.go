package ingest

import "sync/atomic"

// What strangers can make the agent hold in memory is bounded, because a body must be read before its
// signature can be checked. Whoever finds no room is asked to come again, and keeps his events.
const (
	// maxRequests is how many requests may be under way. A commit waits for 4,096 at most.
	maxRequests = 8 << 10

	// maxBodies is what all requests together may hold in bodies and in the events read from them:
	// some 16 of Segment's largest. The collector lets as much again gather before it runs.
	maxBodies = 256 << 20

	// freeBytes of every request do not count, so that large bodies, sent or announced by whomever, keep
	// no single event out.
	freeBytes = 32 << 10

	// eventCost is about what an event needs beside the bytes it was read from.
	eventCost = 1 << 10
)

// room is what is held at the moment.
type room struct{ requests, bytes atomic.Int64 }

// claim is what one request holds of a room. It belongs to the request's goroutine.
type claim struct {
	room *room
	most int64 // that the room may hold
	held int64
}

// enter begins a request, if there is room for one more. The claim must be released.
func (r *room) enter(maxBody int64) (c claim, ok bool) {
	c = claim{room: r, most: max(maxBodies, 4*maxBody)}
	if r.requests.Add(1) > maxRequests {
		c.release()
		return c, false
	}
	return c, true
}

func (c *claim) release() {
	c.give(c.held)
	c.room.requests.Add(-1)
}

// take claims n bytes more, if there is room for them.
func (c *claim) take(n int64) bool {
	counted := max(c.held+n-freeBytes, 0) - max(c.held-freeBytes, 0)
	if counted > 0 && c.room.bytes.Add(counted) > c.most {
		c.room.bytes.Add(-counted)
		return false
	}
	c.held += n
	return true
}

// give returns n bytes.
func (c *claim) give(n int64) {
	c.room.bytes.Add(max(c.held-n-freeBytes, 0) - max(c.held-freeBytes, 0))
	c.held -= n
}
