package store

import (
	"context"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/apply"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Adopt has the computation id continue the audience key. Cut short, it is simply given again.
func (s *Store) Adopt(ctx context.Context, key, id string, dryRun bool, progress func(done, total int64)) (r MembershipReport, err error) {
	if err := s.CaughtUp(ctx); err != nil {
		return r, err
	}
	c := &membershipJob{s: s, o: &record.Order{Verb: record.OrderAdopt, Received: time.Now()}, dry: dryRun}
	var others []uint32
	traded := false
	err = s.read(func(tx *state.Tx) error {
		into, from, err := apply.Adoption(tx.State.Registry, key, id)
		if err != nil {
			return err
		}
		c.o.Field, c.key, c.class = into.Number, into.Key, into.Class
		c.most = outbox.PerRecord(tx.State.Registry, record.OrderWords)
		c.done.ID, c.created = id, tx.State.Ledger.Changes.Created
		traded = len(from) == 0 || from[0].Former()
		for _, f := range from {
			others, c.members = append(others, f.Number), c.members+f.Members
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	if c.class == domain.ClassTrait {
		return r, ErrNoMembers
	}
	if !dryRun && !traded {
		trade := *c.o
		trade.Other = others[0]
		if err := c.order(ctx, record.AppendOrder(nil, &trade)); err != nil {
			return r, err
		}
		if err := c.applied(ctx); err != nil {
			return r, err
		}
	}
	for _, c.o.Other = range others {
		if err := c.inherit(ctx, progress); err != nil {
			return c.report(ctx, err)
		}
	}
	c.done.Already = traded && c.done.Listed == 0
	return c.report(ctx, nil)
}

// inherit says everybody whom the other computation has heard of.
func (c *membershipJob) inherit(ctx context.Context, progress func(done, total int64)) error {
	for from, more := []byte(nil), true; more; {
		page, next, err := c.s.r.UserRows([]uint32{c.o.Other}, 0, from)
		if err != nil {
			return err
		}
		for i := range page {
			c.done.Listed++
			if err := c.say(ctx, page[i].Key, page[i].In); err != nil {
				return err
			}
		}
		if progress != nil {
			progress(int64(min(c.done.Listed, c.members)), int64(c.members))
		}
		from, more = next, next != nil
	}
	if c.dry {
		return nil
	}
	return c.flush(ctx)
}
