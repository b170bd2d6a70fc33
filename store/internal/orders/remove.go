package orders

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/apply"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Names of computations come with events, and their number is bounded (MaxFields). A name that came by mistake, or from
// a sender that made names up, is removed once nothing refers to it. Its field stays where it is, because rows and the
// history refer to it by its number. Nothing finds it by its names any more, so that an event that names the
// computation again begins a new one.

// ErrReferredTo says that something still refers to a computation that is to be removed.
var ErrReferredTo = errors.New("only what nothing refers to can be removed")

// errNamedMeanwhile says that an event named a computation while it was to be removed.
var errNamedMeanwhile = errors.New("an event named it meanwhile, so it stays")

// Remove is Store.Remove.
func (rn *Runner) Remove(ctx context.Context, key string, dryRun bool) (r Report, err error) {
	if err := rn.CaughtUp(ctx); err != nil {
		return r, err
	}
	o := &record.Order{Verb: record.OrderForget, Received: time.Now()}
	r.Key, r.DryRun = key, dryRun
	fields := make(map[uint32]bool)
	var members uint64
	err = rn.Reader.Read(func(tx *state.Tx) error {
		f, err := apply.Removable(tx.State.Registry, key)
		if err != nil {
			return err
		}
		for _, x := range tx.State.Registry.Family(f) {
			fields[x.Number] = true
			members += x.Members
		}
		o.Field, o.Time = f.Number, f.LastEvent
		r.Key, r.ID, r.Removed, r.Exited = cmp.Or(f.Key, f.Column), f.ID, uint64(len(fields)), f.Exited
		return nil
	})
	if err != nil {
		return r, err
	}
	if err := rn.unreferred(ctx, &r, key, members, fields); err != nil || dryRun {
		return r, err
	}
	if err := rn.append(ctx, record.AppendOrder(nil, o)); err != nil {
		return r, rn.cutShort(orderAbsent, err)
	}
	if err := rn.carriedOut(ctx); err != nil {
		return r, err
	}
	return r, rn.Reader.Read(func(tx *state.Tx) error {
		if f := tx.FieldOf(o.Field); f != nil && !f.Gone() {
			return fmt.Errorf("%s: %w", r.Key, errNamedMeanwhile)
		}
		return nil
	})
}

// unreferred returns an error if something refers to one of the fields. named is what the operator called the computation.
func (rn *Runner) unreferred(ctx context.Context, r *Report, named string, members uint64, fields map[uint32]bool) error {
	if members > 0 {
		return fmt.Errorf("%w: %s has members (%d); `personasync audience close %s` queues their exits", ErrReferredTo, r.Key, members, state.Arguments(named))
	}
	for state := domain.StatePending; state <= domain.StateParked; state++ {
		l := &query.Listing{Filter: domain.OutboxFilter{State: state, Limit: 1}, Fields: fields}
		var err error
		for err == nil && !l.Done() && len(l.Lines) == 0 {
			if err = l.Read(rn.Reader); err == nil {
				err = ctx.Err()
			}
		}
		if err != nil {
			return err
		}
		if len(l.Lines) > 0 {
			return fmt.Errorf("%w: %s has changes that are %s; `personasync outbox list --state %s --computation %s` shows them, and `personasync outbox drop ID` removes one that is not to be sent",
				ErrReferredTo, r.Key, state, state, domain.ShellWord(named))
		}
	}
	return nil
}
