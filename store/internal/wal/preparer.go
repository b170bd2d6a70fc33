package wal

import (
	"sync"
	"sync/atomic"
)

// A preparer makes the next segment in the background, so that a rotation costs no fsync.
type preparer struct {
	ready  chan *Segment // buffer of one; nil in a log that is read only
	busy   atomic.Bool   // one is being made
	making sync.WaitGroup
}

// start makes a segment, unless one is ready or being made.
func (p *preparer) start(create func() (*Segment, error)) {
	if len(p.ready) > 0 || p.busy.Swap(true) {
		return
	}
	p.making.Go(func() {
		if s, err := create(); err == nil {
			p.ready <- s
		}
		p.busy.Store(false)
	})
}

// take returns the segment that is ready, after the one that is being made. It returns nil if there is none.
func (p *preparer) take() *Segment {
	p.making.Wait()
	select {
	case s := <-p.ready:
		return s
	default:
		return nil
	}
}
