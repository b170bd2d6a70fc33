package orders

import (
	"context"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/apply"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Adopt is Store.Adopt.
func (rn *Runner) Adopt(ctx context.Context, key, id string, dryRun bool, progress Progress) (r Report, err error) {
	if err := rn.CaughtUp(ctx); err != nil {
		return r, err
	}
	j := &membershipJob{Runner: rn, order: &record.Order{Verb: record.OrderAdopt, Received: time.Now()}, dry: dryRun}
	var others []uint32
	traded := false
	err = rn.Reader.Read(func(tx *state.Tx) error {
		into, from, err := apply.Adoption(tx.State.Registry, key, id)
		if err != nil {
			return err
		}
		j.order.Field, j.key, j.class = into.Number, into.Key, into.Class
		j.most = outbox.PerRecord(tx.State.Registry, record.OrderTargets)
		j.done.ID, j.created = id, tx.State.Ledger.Changes.Created
		traded = len(from) == 0 || from[0].Former()
		for _, f := range from {
			others, j.members = append(others, f.Number), j.members+f.Members
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	if j.class == domain.ClassTrait {
		return r, ErrNoMembers
	}
	if !dryRun && !traded {
		trade := *j.order
		trade.Other = others[0]
		if err := j.append(ctx, record.AppendOrder(nil, &trade)); err != nil {
			return r, err
		}
		if err := j.applied(ctx); err != nil {
			return r, err
		}
	}
	for _, j.order.Other = range others {
		if err := j.inherit(ctx, progress); err != nil {
			return j.report(ctx, err)
		}
	}
	j.done.Already = traded && j.done.Listed == 0
	return j.report(ctx, nil)
}

// inherit adds every user with a row of the other computation.
func (j *membershipJob) inherit(ctx context.Context, progress Progress) error {
	for from, more := []byte(nil), true; more; {
		page, next, err := j.Reader.UserRows([]uint32{j.order.Other}, 0, from)
		if err != nil {
			return err
		}
		for i := range page {
			j.done.Listed++
			if err := j.add(ctx, page[i].Key, page[i].In); err != nil {
				return err
			}
		}
		progress.tell(int64(min(j.done.Listed, j.members)), int64(j.members))
		from, more = next, next != nil
	}
	if j.dry {
		return nil
	}
	return j.flush(ctx)
}
