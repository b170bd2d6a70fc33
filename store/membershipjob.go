package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"personasync/store/domain"
)

// membershipJob is an order being carried out: users are gathered, written to the inbox some at a time,
// and applied before more follow, so that no event waits for more than two batches of them.
type membershipJob struct {
	s            *Store
	o            *order
	key          string
	class        domain.Class
	fields       []uint32 // the computation's own, and those of its columns
	targetFields []uint32 // its own, and its targets
	members      uint64
	salt         []byte // of the tombstones; nil when there are none
	created      uint64 // changes before it began
	dry          bool
	done         MembershipReport

	words  []jobTarget
	most   int    // users of one record
	ahead  uint64 // number of the last record of the batch before this one
	onDisk extent
}

// membershipJobUsers is how many users are appended at once. Twice as many wait to be applied at most.
const membershipJobUsers = 4096

// commission finds the computation that key names and prepares an order on it.
func (s *Store) newMembershipJob(ctx context.Context, key string, o *order, create, dry bool) (*membershipJob, error) {
	c := &membershipJob{s: s, o: o, dry: dry}
	err := s.meet(ctx, c, key)
	if errors.Is(err, domain.ErrNotFound) && create {
		if dry { // nothing is known of it, and nothing shall be
			c.key, c.o.field = key, fieldNone
			return c, nil
		}
		frame := appendOrder(nil, &order{verb: orderName, received: time.Now(), key: key})
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
	return s.read(func(b *batch) error {
		f, err := b.st.registry.one(key)
		if err != nil {
			return err
		}
		c.o.field, c.key, c.class, c.members = f.number, f.key, f.class, f.members
		c.most = b.st.registry.perRecord(orderWords)
		c.done.Held = b.heldOf(f)
		if c.salt = nil; b.st.ledger.tombstones > 0 {
			c.salt = b.st.salt
		}
		c.done.ID, c.created = f.id, b.st.ledger.changes.Created
		for _, x := range b.st.registry.fields {
			if x == f || !x.gone() && x.space == f.space && x.key == f.key && x.id == f.id && x.sqlColumn() != "" {
				c.fields = append(c.fields, x.number)
			}
		}
		for _, x := range b.st.registry.targetFields(f) {
			c.targetFields = append(c.targetFields, x.number)
		}
		return nil
	})
}

// order appends records of orders.
func (s *Store) order(ctx context.Context, frames ...[]byte) error {
	if err := s.budget.refusal(); err != nil {
		return err
	}
	s.inbox.Ordered.Add(uint64(len(frames)))
	return translate(s.inbox.AppendOther(ctx, frames...))
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
	user, _, _ := userOf(key)
	if c.words = append(c.words, jobTarget{user, in}); len(c.words) < membershipJobUsers {
		return nil
	}
	return c.flush(ctx)
}

func (c *membershipJob) flush(ctx context.Context) error {
	if len(c.words) == 0 {
		return ctx.Err()
	}
	c.o.received = time.Now()
	var frames [][]byte
	for words := range slices.Chunk(c.words, c.most) {
		part := *c.o
		part.words = words
		frames = append(frames, appendOrder(nil, &part))
	}
	if err := c.order(ctx, frames...); err != nil {
		return err
	}
	c.words = c.words[:0]
	before := c.ahead
	c.ahead = c.s.inbox.Last()
	return c.s.cutShort(c.onDisk, c.s.appliedUpTo(ctx, before))
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
	if c.o.field == fieldNone {
		return c.done, nil
	}
	return c.done, c.s.read(func(b *batch) error {
		c.done.Created, c.done.Held = b.st.ledger.changes.Created-c.created, b.heldOf(b.fieldOf(c.o.field))
		return nil
	})
}
