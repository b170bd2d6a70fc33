package ingest

import "sync/atomic"

// A body must be read before its signature can be checked, so any client can make the agent hold memory. These
// limits bound it. A request beyond them is answered with 503, so that Segment keeps the events.
const (
	// maxRequests limits the requests in progress. A commit waits for at most 4,096 of them.
	maxRequests = 8 << 10

	// maxBodies limits the bytes that all requests hold in bodies and in the events read from them: about 16 of
	// Segment's largest bodies. The garbage collector lets as much again accumulate before it runs.
	maxBodies = 256 << 20

	// freeBytes of each request do not count. So large bodies, whether sent or only announced, never keep a
	// single event out.
	freeBytes = 32 << 10

	// eventCost is about the memory that an event needs in addition to the bytes it was read from.
	eventCost = 1 << 10
)

// memory is the memory that all requests hold at the moment.
type memory struct{ requests, bytes atomic.Int64 }

// reservation is one request's part of a memory. Only the request's goroutine may use it.
type reservation struct {
	of   *memory
	most int64 // bytes that all requests together may hold
	held int64
}

// enter begins a request, unless too many are in progress. The caller must release the reservation of a request
// that was begun.
func (m *memory) enter(maxBody int64) (res reservation, ok bool) {
	res = reservation{of: m, most: max(maxBodies, 4*maxBody)}
	if m.requests.Add(1) > maxRequests {
		res.release()
		return res, false
	}
	return res, true
}

// release ends the request and returns everything it holds.
func (res *reservation) release() {
	res.give(res.held)
	res.of.requests.Add(-1)
}

// take reserves n more bytes and reports whether there were enough.
func (res *reservation) take(n int64) bool {
	counted := max(res.held+n-freeBytes, 0) - max(res.held-freeBytes, 0)
	if counted > 0 && res.of.bytes.Add(counted) > res.most {
		res.of.bytes.Add(-counted)
		return false
	}
	res.held += n
	return true
}

// give returns n bytes.
func (res *reservation) give(n int64) {
	res.of.bytes.Add(max(res.held-n-freeBytes, 0) - max(res.held-freeBytes, 0))
	res.held -= n
}
