package wal

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"personasync/store/domain"
)

// A committer is the group commit. The goroutine that holds mu takes every queued request, commits all of them in one
// transaction and answers their callers. There is no timer. A caller that finds mu free commits its own request, without
// waking another goroutine. Under load the commit in progress gathers the next group, and the committer's own goroutine
// keeps mu while requests are queued.
//
// A caller that finds mu taken relies on the holder: it has queued its request before it tried, and then waits. So every
// holder of mu unlocks it with release, or looks at the queue again itself.
type committer struct {
	commit   func(group []*appendRequest) // one transaction, which answers the group; called with mu held
	requests chan *appendRequest
	queued   chan struct{} // buffer of one: requests are queued and nobody holds mu
	closing  chan struct{} // closed by stop; ends the goroutine once requests is empty
	ended    chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex   // held while committing
	interval atomic.Int64 // ns from the beginning of one commit to that of the next, at least
	began    time.Time    // beginning of the last commit; under mu

	senders sync.RWMutex // held for reading while sending to requests
	closed  bool         // under senders
}

// appendRequest is one caller of Append, waiting.
type appendRequest struct {
	frames [][]byte
	size   int
	other  bool       // its records are not events
	done   chan error // buffer of one
}

const (
	// queueLength limits how many requests wait for the next commit. With Segment's usual request of one event that is
	// 4,096 connections; further ones are told to retry.
	queueLength = 4096

	// GroupBytes limits one commit, so that the first request of a long queue does not wait for the last.
	GroupBytes = 8 << 20

	// smallGroup is the number of requests below which a commit lets others join. To a larger group they add less than
	// the disk loses while they run.
	smallGroup = 8

	// commitHold is how many groups the committer commits before it unlocks mu once.
	commitHold = 64
)

func newCommitter(commit func([]*appendRequest)) *committer {
	c := &committer{
		commit:   commit,
		requests: make(chan *appendRequest, queueLength),
		queued:   make(chan struct{}, 1),
		closing:  make(chan struct{}),
		ended:    make(chan struct{}),
	}
	go c.run()
	return c
}

// enqueue queues a request. It returns ErrBusy if the queue is full, and ErrClosed after stop.
func (c *committer) enqueue(req *appendRequest) error {
	c.senders.RLock()
	defer c.senders.RUnlock()
	if c.closed {
		return domain.ErrClosed
	}
	select {
	case c.requests <- req:
		return nil
	default:
		return domain.ErrBusy
	}
}

// lead commits one group of the queued requests if mu is free. The goroutine commits those that came meanwhile.
func (c *committer) lead() {
	if !c.mu.TryLock() {
		return
	}
	c.commitGroup()
	c.release()
}

// release unlocks mu and wakes the goroutine if requests were queued meanwhile.
func (c *committer) release() {
	c.mu.Unlock()
	if len(c.requests) > 0 {
		c.wake()
	}
}

// wake has the goroutine commit the queued requests.
func (c *committer) wake() {
	select {
	case c.queued <- struct{}{}:
	default:
	}
}

// stop refuses further requests and returns once the queued ones are answered.
func (c *committer) stop() {
	c.senders.Lock()
	c.closed = true
	c.senders.Unlock()
	close(c.closing)
	<-c.ended
}

func (c *committer) run() {
	defer close(c.ended)
	for {
		select {
		case <-c.queued:
			c.drain()
		case <-c.closing:
			c.drain()
			return
		}
	}
}

// drain commits until no request is queued. It unlocks mu now and then: under a constant load requests are always
// queued, and a rotation needs mu too.
func (c *committer) drain() {
	for len(c.requests) > 0 {
		c.mu.Lock()
		for n := 0; n < commitHold && c.commitGroup(); n++ {
		}
		c.mu.Unlock()
	}
}

// commitGroup commits a group of the queued requests, and reports whether there were any.
func (c *committer) commitGroup() bool {
	if len(c.requests) == 0 {
		return false
	}
	c.keepInterval()
	if len(c.requests) < smallGroup {
		runtime.Gosched() // callers that can run enqueue first: their requests share this commit instead of the next
	}
	group, size := []*appendRequest(nil), 0
	for size < GroupBytes {
		select {
		case req := <-c.requests:
			group, size = append(group, req), size+req.size
			continue
		default:
		}
		break
	}
	c.commit(group)
	return true
}

// keepInterval waits until the next commit may begin, unless the log closes.
func (c *committer) keepInterval() {
	interval := time.Duration(c.interval.Load())
	if wait := time.Until(c.began.Add(interval)); interval > 0 && wait > 0 {
		select {
		case <-time.After(wait):
		case <-c.closing:
		}
	}
	c.began = time.Now()
}
