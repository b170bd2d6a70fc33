package groupcommit

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"personasync/store/domain"
)

// A Committer is the group commit. The goroutine that holds mu takes every queued request, commits all of them in one
// transaction and answers their callers. There is no timer. A caller that finds mu free commits its own request, without
// waking another goroutine. Under load the commit in progress gathers the next group, and the committer's own goroutine
// keeps mu while requests are queued.
//
// A caller that finds mu taken relies on the holder: it has queued its request before it tried, and then waits. So every
// holder of mu unlocks it with Release, or looks at the queue again itself.
//
// All methods may be called concurrently, unless they say otherwise. The zero Committer has only the methods that count.
type Committer struct {
	config   Config
	requests chan *Request
	queued   chan struct{} // buffer of one: requests are queued and nobody holds mu
	closing  chan struct{} // closed by Stop; ends the goroutine once requests is empty
	ended    chan struct{} // closed when the goroutine has ended
	written  chan struct{} // see Written

	mu       sync.Mutex   // held while committing
	interval atomic.Int64 // ns from the beginning of one commit to that of the next, at least
	began    time.Time    // beginning of the last commit; under mu

	expected int       // requests that the next commit may have, see gather; under mu
	gathers  time.Time // for how long it lets them come; under mu

	senders sync.RWMutex // held for reading while sending to requests
	closed  bool         // under senders

	count counters
}

// Config says how a Committer commits.
type Config struct {
	// Refuse returns why records are refused, before they are queued. It may be nil.
	Refuse func() error

	// Commit makes a group durable in one transaction. After nil it is; after an engine.DoubtError it may be; after any
	// other error it is not. A group without frames is a probe, which commits an empty transaction. One call at a time.
	Commit func(Group) error

	// Apart has the committer's goroutine alone commit, for a commit over a network, which may take longer than a caller
	// waits. It gathers larger groups.
	Apart bool
}

// A Request is one caller of Append, waiting.
type Request struct {
	Frames [][]byte
	size   int
	other  bool       // its records are not events
	done   chan error // buffer of one
}

// A Group is the requests that one transaction commits, in their order.
type Group []*Request

// NewRequest returns a request that no goroutine waits for.
func NewRequest(frames ...[]byte) *Request {
	req := &Request{Frames: frames, done: make(chan error, 1)}
	for _, f := range frames {
		req.size += len(f)
	}
	return req
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

// New returns a committer, whose goroutine Stop ends.
func New(config Config) *Committer {
	c := &Committer{
		config:   config,
		requests: make(chan *Request, queueLength),
		queued:   make(chan struct{}, 1),
		closing:  make(chan struct{}),
		ended:    make(chan struct{}),
		written:  make(chan struct{}, 1),
	}
	go c.run()
	return c
}

// enqueue queues a request. It returns ErrBusy if the queue is full, and ErrClosed after Stop.
func (c *Committer) enqueue(req *Request) error {
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
func (c *Committer) lead() {
	if c.config.Apart {
		c.wake()
		return
	}
	if !c.mu.TryLock() {
		return
	}
	c.commitGroup()
	c.Release()
}

// Hold waits for the commit in progress and keeps the next from beginning, until Release.
func (c *Committer) Hold() { c.mu.Lock() }

// Release unlocks mu and wakes the goroutine if requests were queued meanwhile.
func (c *Committer) Release() {
	c.mu.Unlock()
	if len(c.requests) > 0 {
		c.wake()
	}
}

// wake has the goroutine commit the queued requests.
func (c *Committer) wake() {
	select {
	case c.queued <- struct{}{}:
	default:
	}
}

// Stop refuses further requests and returns once the queued ones are answered.
func (c *Committer) Stop() {
	c.senders.Lock()
	c.closed = true
	c.senders.Unlock()
	close(c.closing)
	<-c.ended
}

func (c *Committer) run() {
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
func (c *Committer) drain() {
	for len(c.requests) > 0 {
		c.mu.Lock()
		for n := 0; n < commitHold && c.commitGroup(); n++ {
		}
		c.mu.Unlock()
	}
}

// commitGroup commits a group of the queued requests, and reports whether there were any.
func (c *Committer) commitGroup() bool {
	if len(c.requests) == 0 {
		return false
	}
	c.keepInterval()
	switch {
	case c.config.Apart:
		c.gather()
	case len(c.requests) < smallGroup:
		runtime.Gosched() // callers that can run enqueue first: their requests share this commit instead of the next
	}
	group, size := Group(nil), 0
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

// gather waits a moment for the callers that were just answered to come again, as those do that send one event after the
// other. Otherwise they and those that came meanwhile take turns, and each commit has half of them. The wait is short
// beside a commit of many milliseconds over a network; beside the flush of a disk it would not be.
func (c *Committer) gather() {
	for len(c.requests) < c.expected && time.Now().Before(c.gathers) {
		time.Sleep(100 * time.Microsecond)
	}
}

// commit commits a group and answers it. The caller holds mu.
func (c *Committer) commit(group Group) {
	began := time.Now()
	err := c.config.Commit(group)
	if err == nil {
		c.count.add(group)
	}
	c.count.finished.Add(1)
	c.expected, c.gathers = len(group)+len(c.requests), time.Now().Add(time.Since(began)/4)
	for _, req := range group {
		req.done <- err
	}
	if err == nil {
		c.signal()
	}
}

// keepInterval waits until the next commit may begin, unless the log closes.
func (c *Committer) keepInterval() {
	interval := time.Duration(c.interval.Load())
	if wait := time.Until(c.began.Add(interval)); interval > 0 && wait > 0 {
		select {
		case <-time.After(wait):
		case <-c.closing:
		}
	}
	c.began = time.Now()
}
