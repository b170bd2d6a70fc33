package store

import (
	"context"
	"fmt"
	"sync/atomic"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// Liveness returns nil once the two goroutines that write, the inbox's and the state's, have each finished
// a transaction since the last Liveness that returned nil. Whichever had nothing to do is given one that
// changes nothing: it writes and syncs two pages. A transaction that failed is finished, too: a full
// disk says no, a dead one says nothing. One caller at a time.
//
// Any error but ErrClosed says that commits do not come to an end within the patience of ctx.
func (s *Store) Liveness(ctx context.Context) error {
	if err := pulse(ctx, &s.inbox.Finished, &s.beat.inbox, s.inbox.Probe); err != nil {
		return fmt.Errorf("the inbox does not finish what it writes: %w", err)
	}
	if err := pulse(ctx, &s.finished, &s.beat.state, s.probe); err != nil {
		return fmt.Errorf("the state does not finish what it writes: %w", err)
	}
	return nil
}

// beat is how many transactions had finished at the last pulse.
type beat struct{ inbox, state uint64 }

func pulse(ctx context.Context, finished *atomic.Uint64, last *uint64, probe func(context.Context) error) error {
	if finished.Load() == *last {
		if err := probe(ctx); err != nil {
			return err
		}
	}
	*last = finished.Load()
	return nil
}

// probe has the writer make an empty transaction. Other than run it does not wait for one that has
// begun and does not end.
func (s *Store) probe(ctx context.Context) error {
	c := &command{do: func(*state.Tx) error { return nil }, done: make(chan error, 1)}
	select {
	case s.commands <- c:
	case <-s.gone:
		return domain.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
