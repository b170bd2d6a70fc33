package store

import (
	"context"
	"errors"
	"fmt"

	"personasync/store/domain"
	"personasync/store/internal/wal"
)

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
