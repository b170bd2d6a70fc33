package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/datadir"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// membershipJob is an order being carried out: users are gathered, written to the inbox some at a time,
// and applied before more follow, so that no event waits for more than two batches of them.
type membershipJob struct {
	s            *Store
	o            *record.Order
	key          string
	class        domain.Class
	fields       []uint32 // the computation's own, and those of its columns
	targetFields []uint32 // its own, and its targets
	members      uint64
	salt         []byte // of the tombstones; nil when there are none
	created      uint64 // changes before it began
	dry          bool
	done         MembershipReport

	words  []record.JobTarget
	most   int    // users of one record
	ahead  uint64 // number of the last record of the batch before this one
	onDisk extent
}

// membershipJobUsers is how many users are appended at once. Twice as many wait to be applied at most.
const membershipJobUsers = 4096

// commission finds the computation that key names and prepares an order on it.
func (s *Store) newMembershipJob(ctx context.Context, key string, o *record.Order, create, dry bool) (*membershipJob, error) {
	c := &membershipJob{s: s, o: o, dry: dry}
	err := s.meet(ctx, c, key)
	if errors.Is(err, domain.ErrNotFound) && create {
		if dry { // nothing is known of it, and nothing shall be
			c.key, c.o.Field = key, state.FieldNone
			return c, nil
		}
		frame := record.AppendOrder(nil, &record.Order{Verb: record.OrderName, Received: time.Now(), Key: key})
		if err := s.order(ctx, frame); err != nil {
			return nil, s.cutShort(orderAbsent, err)
		}
		c.onDisk = orderInPart
		err = s.meet(ctx, c, key)
	}
	return c, err
}

// meet finds what is known of a computation once all is applied that was acknowledged: an event may be the
// first that is heard of it.
func (s *Store) meet(ctx context.Context, c *membershipJob, key string) error {
	if err := s.cutShort(c.onDisk, s.Applied(ctx)); err != nil {
		return err
	}
	return s.read(func(tx *state.Tx) error {
		f, err := tx.State.Registry.One(key)
		if err != nil {
			return err
		}
		c.o.Field, c.key, c.class, c.members = f.Number, f.Key, f.Class, f.Members
		c.most = outbox.PerRecord(tx.State.Registry, record.OrderWords)
		c.done.Held = tx.HeldOf(f)
		if c.salt = nil; tx.State.Ledger.Tombstones > 0 {
			c.salt = tx.State.Salt
		}
		c.done.ID, c.created = f.ID, tx.State.Ledger.Changes.Created
		for _, x := range tx.State.Registry.Fields {
			if x == f || !x.Gone() && x.Space == f.Space && x.Key == f.Key && x.ID == f.ID && x.SQLColumn() != "" {
				c.fields = append(c.fields, x.Number)
			}
		}
		for _, x := range tx.State.Registry.TargetFields(f) {
			c.targetFields = append(c.targetFields, x.Number)
		}
		return nil
	})
}

// order appends records of orders.
func (s *Store) order(ctx context.Context, frames ...[]byte) error {
	if err := s.budget.Refusal(); err != nil {
		return err
	}
	return datadir.Translate(s.inbox.AppendOther(ctx, frames...))
}

// order appends records of a commission.
func (c *membershipJob) order(ctx context.Context, frames ...[]byte) error {
	err := c.s.order(ctx, frames...)
	if c.onDisk = max(c.onDisk, doubt(err)); err == nil {
		c.onDisk = orderInPart
	}
	return c.s.cutShort(c.onDisk, err)
}

// applied waits for what the commission has appended.
func (c *membershipJob) applied(ctx context.Context) error {
	return c.s.cutShort(c.onDisk, c.s.Applied(ctx))
}

// say has a user be mention of.
func (c *membershipJob) say(ctx context.Context, key []byte, in bool) error {
	if c.dry {
		return ctx.Err()
	}
	user, _, _ := state.UserOf(key)
	if c.words = append(c.words, record.JobTarget{User: user, In: in}); len(c.words) < membershipJobUsers {
		return nil
	}
	return c.flush(ctx)
}

func (c *membershipJob) flush(ctx context.Context) error {
	if len(c.words) == 0 {
		return ctx.Err()
	}
	c.o.Received = time.Now()
	var frames [][]byte
	for words := range slices.Chunk(c.words, c.most) {
		part := *c.o
		part.Words = words
		frames = append(frames, record.AppendOrder(nil, &part))
	}
	if err := c.order(ctx, frames...); err != nil {
		return err
	}
	c.words = c.words[:0]
	before := c.ahead
	c.ahead = c.s.inbox.Last()
	return c.s.cutShort(c.onDisk, c.s.writer.AwaitApplied(ctx, before))
}

// report ends a commission.
func (c *membershipJob) report(ctx context.Context, err error) (MembershipReport, error) {
	if err == nil && !c.dry {
		if err = c.flush(ctx); err == nil {
			c.onDisk = max(c.onDisk, orderWhole)
			err = c.applied(ctx)
		}
	}
	if errors.Is(err, context.Canceled) {
		err = c.s.cutShort(c.onDisk, context.Cause(ctx))
	}
	if err != nil {
		return MembershipReport{}, err
	}
	c.done.Key, c.done.DryRun = c.key, c.dry
	if c.o.Field == state.FieldNone {
		return c.done, nil
	}
	return c.done, c.s.read(func(tx *state.Tx) error {
		c.done.Created, c.done.Held = tx.State.Ledger.Changes.Created-c.created, tx.HeldOf(tx.FieldOf(c.o.Field))
		return nil
	})
}
