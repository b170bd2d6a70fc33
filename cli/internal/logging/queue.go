package logging

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxQueued limits the bytes of log that wait for their reader. It is minutes of a busy log.
	maxQueued = 1 << 20

	// flushPatience is how long the end of the process waits for the reader of its log.
	flushPatience = 2 * time.Second
)

// Queue writes a log in the background, so that a reader that stops costs nothing but lines. Lines keep their order.
// Lines that find the queue full are dropped and counted, and the log reports the count when it continues.
type Queue struct {
	w       io.Writer
	dropped atomic.Uint64 // lines, since the start

	mu    sync.Mutex
	lines [][]byte
	size  int    // of lines, in bytes
	lost  uint64 // dropped after lines, and not reported yet

	// New sets these before run. tellLost writes to w that a number of lines was dropped. everySecond and atEnd may
	// write further lines.
	tellLost    func(n uint64)
	everySecond func(now time.Time)
	atEnd       func()

	more  chan struct{} // has a token when there are lines
	end   chan struct{} // closed by close
	ended chan struct{}
}

// NewQueue starts a queue, which Close ends.
func NewQueue(w io.Writer) *Queue {
	return &Queue{w: w, more: make(chan struct{}, 1), end: make(chan struct{}), ended: make(chan struct{})}
}

// Dropped counts the lines that were dropped since the start.
func (q *Queue) Dropped() uint64 { return q.dropped.Load() }

// Write implements io.Writer for whole lines. It never waits and never fails.
func (q *Queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	if q.size+len(line) > maxQueued {
		q.lost++
		q.dropped.Add(1)
	} else {
		q.lines = append(q.lines, append([]byte(nil), line...))
		q.size += len(line)
	}
	q.mu.Unlock()
	select {
	case q.more <- struct{}{}:
	default:
	}
	return len(line), nil
}

// run writes lines as they come, until close.
func (q *Queue) run() {
	defer close(q.ended)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-q.more:
			q.drain()
		case now := <-tick.C:
			q.everySecond(now)
		case <-q.end:
			q.atEnd()
			q.drain()
			return
		}
	}
}

// drain writes the queued lines. A line that w does not take counts as dropped. So the log continues when a full disk
// has space again.
func (q *Queue) drain() {
	for {
		q.mu.Lock()
		lines, lost := q.lines, q.lost
		q.lines, q.size, q.lost = nil, 0, 0
		q.mu.Unlock()
		if len(lines) == 0 && lost == 0 {
			return
		}
		failed := uint64(0)
		for _, line := range lines {
			if _, err := q.w.Write(line); err != nil {
				failed++
			}
		}
		if failed > 0 {
			q.dropped.Add(failed)
			q.mu.Lock()
			q.lost += lost + failed // reported when a later line can be written
			q.mu.Unlock()
			return
		}
		if lost > 0 {
			q.tellLost(lost)
		}
	}
}

// Close writes the remaining lines, at most for flushPatience. Lines that come afterwards are lost.
func (q *Queue) Close() {
	close(q.end)
	late := time.NewTimer(flushPatience)
	defer late.Stop()
	select {
	case <-q.ended:
	case <-late.C:
	}
}
