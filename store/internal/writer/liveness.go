package writer

import (
	"context"
	"fmt"
)

// Liveness tells whether the two goroutines that write still finish their transactions.
type Liveness struct {
	Writer *Writer

	inbox, state uint64 // how many transactions of each had finished at the last Check
}

// Check returns nil once the inbox's goroutine and the state's have each finished a transaction since the last Check
// that returned nil. A goroutine that had nothing to do is given a transaction that changes nothing: it writes and
// syncs two pages. Of an absent writer only the inbox is asked. A transaction that failed is finished, too: a full disk says no, a dead one says nothing. One
// caller at a time.
//
// Any error but ErrClosed says that commits do not come to an end within the patience of ctx.
func (l *Liveness) Check(ctx context.Context) error {
	w := l.Writer
	if err := advanced(ctx, w.inbox.Finished, &l.inbox, w.inbox.Probe); err != nil {
		return fmt.Errorf("a commit of the inbox does not end: %w", err)
	}
	if w.absent != nil {
		return nil
	}
	if err := advanced(ctx, w.finished.Load, &l.state, w.probe); err != nil {
		return fmt.Errorf("a transaction of the state does not end: %w", err)
	}
	return nil
}

// advanced returns nil once finished is beyond last, and probes if it is not.
func advanced(ctx context.Context, finished func() uint64, last *uint64, probe func(context.Context) error) error {
	if finished() == *last {
		if err := probe(ctx); err != nil {
			return err
		}
	}
	*last = finished()
	return nil
}
