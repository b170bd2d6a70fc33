package inspect

import (
	"context"
	"sync"
	"time"
)

// pacer makes listings give way to events. A script or an export that lists without pause would otherwise take half the
// machine: the reading, the JSON, and its own side of the socket. All listings share one pacer, concurrently.
type pacer struct {
	received func() uint64 // number of the last received event

	mu   sync.Mutex
	seen uint64    // that number when it was last read
	free time.Time // when the next part may be read while events come in
}

const (
	// paceShare is how many times the reading time of a part the pause after it is. pacePart is the longest reading time
	// that counts, because under load a part waits for the processor far longer than it reads. 500 lines are read in
	// 1.4 ms and cost 4 to 9 ms in all, depending on the machine. So listings get less than a tenth of one core, and some
	// 5,000 lines a second. With 40 instead of 100 they got two and a half times as much, and the events received beside
	// them fell to between 0.67 and 0.95 of those without.
	paceShare = 100
	pacePart  = time.Millisecond

	// pacePatience bounds the pauses within one question, so that a search through everything does not outlast its
	// caller's time limit.
	pacePatience = 5 * time.Second
)

// begin waits until the next part may be read, but no longer than patience, and returns the rest of patience. Without
// events it does not wait.
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

// end records how long a part took to read.
func (p *pacer) end(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(paceShare * min(took, pacePart))
}
