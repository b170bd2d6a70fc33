package inspect

import (
	"context"
	"sync"
	"time"
)

// pacer has listings give way to events that come in. Somebody who lists on and on, a script or an
// export, would else have half the machine: the reading, the JSON, and their own side of the socket.
// It is shared by everybody who lists, and may be used concurrently.
type pacer struct {
	received func() uint64 // number of the last event

	mu   sync.Mutex
	seen uint64    // that number when somebody last asked
	free time.Time // when the next part may be read, if events come in
}

const (
	// paceShare is how many times as long as reading took it rests, and pacePart the longest that is
	// counted: under load a part waits far longer for its turn than it reads. 500 lines are read in 1.4 ms
	// and cost 4 to 9 ms in all, as machines differ, so that this leaves them less than a tenth of one core,
	// and some 5,000 lines a second. With 40 they had two and a half times as much, and events beside them
	// came to between 0.67 and 0.95 of those without.
	paceShare = 100
	pacePart  = time.Millisecond

	// pacePatience bounds the rests within one question: a search through everything must not outlast
	// the patience of who asked.
	pacePatience = 5 * time.Second
)

// begin waits until the next part may be read, and no longer than patience; it returns how much of
// that is left. Without events it never waits.
func (p *pacer) begin(ctx context.Context, patience time.Duration) (time.Duration, error) {
	wait := min(p.wait(time.Now()), patience)
	if wait <= 0 {
		return patience, ctx.Err()
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(wait):
		return patience - wait, nil
	}
}

func (p *pacer) wait(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.seen
	if p.seen = p.received(); p.seen == seen {
		p.free = now
	}
	return p.free.Sub(now)
}

// end takes note of how long a part took to read.
func (p *pacer) end(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(paceShare * min(took, pacePart))
}
