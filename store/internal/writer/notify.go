package writer

import (
	"context"
	"errors"
	"sync/atomic"

	"personasync/store/domain"
)

// notifier tells other goroutines that a transaction has ended. A caller that waits for records to be applied does
// not wait for a disk to be cleaned up: it is given the error of a full disk, or one that lasts.
type notifier struct {
	current atomic.Pointer[ending]          // of the transaction under way, or the next
	wake    [domain.Endpoints]chan struct{} // by Endpoint - 1; buffers of one
}

// ending is the end of one transaction, as the goroutines see it that wait for it.
type ending struct {
	reached  chan struct{} // closed when the transaction has ended
	fault    error         // why the transaction before it failed
	failures int           // how many that were to apply something have failed in a row
}

// maxFailures is how many transactions in a row fail before an error other than a full disk is one that lasts.
const maxFailures = 3

func newNotifier() *notifier {
	n := new(notifier)
	for i := range n.wake {
		n.wake[i] = make(chan struct{}, 1)
	}
	n.current.Store(&ending{reached: make(chan struct{})})
	return n
}

// ended wakes the callers of wait. apply says whether the transaction was to apply something.
func (n *notifier) ended(fault error, apply bool) {
	last, next := n.current.Load(), &ending{reached: make(chan struct{}), fault: fault}
	switch {
	case fault != nil:
		next.failures = last.failures + 1
	case !apply: // outcomes find room where a batch does not
		next.failures = last.failures
	}
	n.current.Store(next)
	close(last.reached)
}

// signal wakes the sender of an endpoint.
func (n *notifier) signal(endpoint domain.Endpoint) {
	select {
	case n.wake[endpoint-1] <- struct{}{}:
	default:
	}
}

// Await waits until done reports true. It asks after each transaction, and gives up when the disk turns out to be
// full, or transactions fail time and again. An ended writer answers ErrClosed. It ends the rest of an apply that no
// events came beside: that rest is for nobody while a caller waits.
func (w *Writer) Await(ctx context.Context, done func() (bool, error)) error {
	for {
		e := w.notify.current.Load()
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case w.awaited <- struct{}{}:
		default:
		}
		select {
		case <-e.reached:
		case <-w.mailbox.ended:
			return w.gone()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if e = w.notify.current.Load(); errors.Is(e.fault, domain.ErrFull) || e.fault != nil && e.failures >= maxFailures {
			if ok, _ := done(); !ok {
				return e.fault
			}
		}
	}
}

// AwaitApplied is Await until the record of that number is applied.
func (w *Writer) AwaitApplied(ctx context.Context, number uint64) error {
	return w.Await(ctx, func() (bool, error) { return w.applied.Load() >= number, nil })
}

// Applied is the number of the last record whose effect is on disk.
func (w *Writer) Applied() uint64 { return w.applied.Load() }

// Wake returns a channel that receives after a commit that made something newly due on an endpoint. It has a buffer
// of one: a slow reader misses repetitions, never the last.
func (w *Writer) Wake(endpoint domain.Endpoint) <-chan struct{} { return w.notify.wake[endpoint-1] }
