package store

import (
	"context"
	"errors"
	"fmt"

	"personasync/store/domain"
	"personasync/store/internal/wal"
)

// A caller that waits for records to be applied is woken by the end of each transaction of the writer. An order of
// an operator does not wait for a disk to be cleaned up: it says what of it is on disk, and ends.

// round is a transaction of the writer, as callers see it that wait for its end.
type round struct {
	over  chan struct{} // closed when it has ended
	fault error         // why the one before it failed
	fails int           // how many that were to apply something have failed in a row
}

// mostFails is how many transactions in a row fail before a fault other than a full disk is one that lasts.
const mostFails = 3

func newRound(fault error) *round { return &round{over: make(chan struct{}), fault: fault} }

// endRound wakes the callers of await. apply says whether the transaction was to apply something.
func (s *Store) endRound(fault error, apply bool) {
	if fault == nil && apply && s.starved {
		fault = errStarved
	}
	next, last := newRound(fault), s.round.Load()
	switch {
	case fault != nil:
		next.fails = last.fails + 1
	case !apply: // outcomes find room where a batch does not
		next.fails = last.fails
	}
	s.round.Store(next)
	close(last.over)
}

var errStarved = errors.New("records that were received cannot be read from the inbox")

// await waits until done reports true. It looks again whenever the writer has ended a transaction, and gives up
// when the disk turns out to be full, or the writer fails time and again.
func (s *Store) await(ctx context.Context, done func() (bool, error)) error {
	for {
		r := s.round.Load()
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-r.over:
		case <-s.gone:
			return domain.ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if r = s.round.Load(); errors.Is(r.fault, domain.ErrFull) || r.fault != nil && r.fails >= mostFails {
			if ok, _ := done(); !ok {
				return r.fault
			}
		}
	}
}

// Applied waits until everything appended before the call has been applied. It gives up when the disk is full: that
// lasts until somebody makes room.
func (s *Store) Applied(ctx context.Context) error { return s.appliedUpTo(ctx, s.inbox.Last()) }

func (s *Store) appliedUpTo(ctx context.Context, target uint64) error {
	return s.await(ctx, func() (bool, error) { return s.applied.Load() >= target, nil })
}

// extent is how much of an order is on disk.
type extent uint8

const (
	orderAbsent extent = iota
	orderInDoubt
	orderInPart
	orderWhole
)

// cutShort says of an order that met err what becomes of it; nil when it met none.
func (s *Store) cutShort(onDisk extent, err error) error {
	if err == nil {
		return nil
	}
	room := ""
	if errors.Is(err, domain.ErrFull) {
		room = "make room on the disk of " + s.dir + ", then "
	}
	switch max(onDisk, doubt(err)) {
	case orderInDoubt:
		return fmt.Errorf("%w: it is not known whether the order is on disk; if it is, it takes effect by itself: see whether it did before you give it again", err)
	case orderInPart:
		return fmt.Errorf("%w: a part of the order is on disk and takes effect by itself as soon as it can be applied; %sgive the order again, which does the rest", err, room)
	case orderWhole:
		return fmt.Errorf("%w: the order is on disk; %sit takes effect by itself and need not be given again", err, room)
	}
	return fmt.Errorf("%w: nothing was done; %sgive the order again", err, room)
}

// doubt returns orderInDoubt when an append that met err may be on disk all the same.
func doubt(err error) extent {
	var e *wal.DoubtError
	if errors.As(err, &e) {
		return orderInDoubt
	}
	return orderAbsent
}

// CaughtUp is Applied for an order that is still to be begun: its error says that nothing was done, and what to do.
func (s *Store) CaughtUp(ctx context.Context) error { return s.cutShort(orderAbsent, s.Applied(ctx)) }

// carriedOut waits for an order that is on disk.
func (s *Store) carriedOut(ctx context.Context) error { return s.cutShort(orderWhole, s.Applied(ctx)) }
