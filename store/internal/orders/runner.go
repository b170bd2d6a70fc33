package orders

import (
	"context"
	"errors"
	"fmt"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/writer"
)

// Runner carries out orders on a running store. Its methods may be called concurrently.
type Runner struct {
	Dir    string // the data directory: a long list is sorted there, and errors name it
	Reader *query.Reader
	Inbox  engine.Log
	Budget *datadir.DiskBudget
	Writer *writer.Writer
}

// Progress is told how much of an order is done. It may be nil.
type Progress func(done, total int64)

func (p Progress) tell(done, total int64) {
	if p != nil {
		p(done, total)
	}
}

// extent is how much of an order is on disk.
type extent uint8

const (
	orderAbsent extent = iota
	orderInDoubt
	orderInPart
	orderWhole
)

// cutShort says of an order that met err what becomes of it, and what to do; nil when it met none.
func (rn *Runner) cutShort(onDisk extent, err error) error {
	if err == nil || errors.Is(err, domain.ErrNotWriter) {
		return err // it says where to give the order
	}
	room := ""
	if errors.Is(err, domain.ErrFull) && !errors.Is(err, domain.ErrDatabase) {
		room = "make room on the disk of " + rn.Dir + ", then "
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
	var e *engine.DoubtError
	if errors.As(err, &e) {
		return orderInDoubt
	}
	return orderAbsent
}

// CaughtUp waits until everything appended before the call is applied, for an order that is still to be begun: its
// error says that nothing was done, and what to do.
func (rn *Runner) CaughtUp(ctx context.Context) error {
	return rn.cutShort(orderAbsent, rn.applied(ctx))
}

// carriedOut waits for an order that is on disk.
func (rn *Runner) carriedOut(ctx context.Context) error {
	return rn.cutShort(orderWhole, rn.applied(ctx))
}

// applied waits until everything appended before the call is applied.
func (rn *Runner) applied(ctx context.Context) error {
	return rn.Writer.AwaitApplied(ctx, rn.Inbox.Last())
}

// append puts records of membership orders into the inbox.
func (rn *Runner) append(ctx context.Context, frames ...[]byte) error {
	if err := rn.Budget.Refusal(); err != nil {
		return err
	}
	return datadir.Translate(rn.Inbox.AppendOther(ctx, frames...))
}
