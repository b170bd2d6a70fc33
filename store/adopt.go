package store

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"personasync/store/domain"
)

// An audience that was deleted in Segment and made again has its old key and a new id. That makes it
// another computation, whose changes are held: two that speak under one name would overwrite each other
// for ever. Adopted, the new id continues the old computation:
//
//	first   the two trade ids, in one record: what Segment delivers from now on belongs to the old one
//	then    what the new one has learnt so far is said to the old one, user by user, and what was held of
//	        it is cancelled. MoEngage is told what remains of that: the difference
//
// The new one's field stays behind under the old id, as a former computation, and late news of it are
// ignored. Whoever was a member and was not named under the new id stays one: Segment sends no exits
// for an audience that is gone. A full list tells who that is (Import).

// ErrNoSuccessor says that there is no computation of the key and the id that are to continue another.
var ErrNoSuccessor = errors.New("no event has named a computation of that key with that id")

// Marks in field.heard.
const (
	formerMark = 1 << 7 // another field continues the computation
	goneMark   = 1 << 6 // an operator removed it: nothing finds it any more
)

// former reports whether the computation that f was is no more, or is another field's.
func (f *field) former() bool { return f.heard&(formerMark|goneMark) != 0 }

func (f *field) gone() bool { return f.heard&goneMark != 0 }

// Adopt has the computation id continue the audience key. Cut short, it is simply given again.
func (s *Store) Adopt(ctx context.Context, key, id string, dryRun bool, progress func(done, total int64)) (r MembershipReport, err error) {
	if err := s.CaughtUp(ctx); err != nil {
		return r, err
	}
	c := &membershipJob{s: s, o: &order{verb: orderAdopt, received: time.Now()}, dry: dryRun}
	var others []uint32
	traded := false
	err = s.read(func(b *batch) error {
		into, from, err := b.st.registry.adoption(key, id)
		if err != nil {
			return err
		}
		c.o.field, c.key, c.class = into.number, into.key, into.class
		c.most = b.st.registry.perRecord(orderWords)
		c.done.ID, c.created = id, b.st.ledger.changes.Created
		traded = len(from) == 0 || from[0].former()
		for _, f := range from {
			others, c.members = append(others, f.number), c.members+f.members
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
		trade.other = others[0]
		if err := c.order(ctx, appendOrder(nil, &trade)); err != nil {
			return r, err
		}
		if err := c.applied(ctx); err != nil {
			return r, err
		}
	}
	for _, c.o.other = range others {
		if err := c.inherit(ctx, progress); err != nil {
			return c.report(ctx, err)
		}
	}
	c.done.Already = traded && c.done.Listed == 0
	return c.report(ctx, nil)
}

// adoption finds the audience that key names, and who continues it under id. That may be a second
// computation of the same id, as there are from before an event without a space was known by its id. If it
// came about before, from are the former computations of the key, of which something may be left.
func (r *registry) adoption(key, id string) (into *field, from []*field, err error) {
	known := r.computations(key)
	if len(known) == 0 {
		return nil, nil, domain.ErrNotFound
	}
	into = known[0]
	for _, f := range r.byID[id] {
		if f != into && f.key == into.key && !f.former() {
			return into, []*field{f}, nil
		}
	}
	if into.id != id {
		return nil, nil, ErrNoSuccessor
	}
	for _, f := range r.fields {
		if f.column == "" && f.key == into.key && f.former() && !f.gone() {
			from = append(from, f)
		}
	}
	return into, from, nil
}

// inherit says everybody whom the other computation has heard of.
func (c *membershipJob) inherit(ctx context.Context, progress func(done, total int64)) error {
	for from, more := []byte(nil), true; more; {
		page, next, err := c.s.r.userRows([]uint32{c.o.other}, 0, from)
		if err != nil {
			return err
		}
		for i := range page {
			c.done.Listed++
			if err := c.say(ctx, page[i].key, page[i].in); err != nil {
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

func (b *batch) applyAdoption(into *field, p *domain.Policy, c *cause, o *order) {
	from := b.fieldOf(o.other)
	if from == nil || from == into {
		return // only damage brings this about
	}
	if len(o.words) == 0 {
		b.trade(into, from)
		return
	}
	for i := range o.words {
		b.takeOver(b.user(o.words[i].user), into, from, p, c, o)
	}
}

// trade gives the id of a computation to another, and that one's to it.
func (b *batch) trade(into, from *field) {
	if from.former() {
		return
	}
	r := b.st.registry
	ours, theirs := r.family(into), r.family(from)
	space, id, theirSpace, theirID := into.space, into.id, from.space, from.id
	for _, x := range ours {
		b.rename(x, theirSpace, theirID)
	}
	for _, x := range theirs {
		b.rename(x, space, id)
	}
	r.unname(from)
	from.heard |= formerMark
	r.enter(from)
	r.settleOwners(&b.st.rules)
}

// family returns the fields of a computation: its own, its columns and its targets.
func (r *registry) family(f *field) (fields []*field) {
	if f.forwarded() {
		return []*field{f}
	}
	for _, x := range r.fields {
		if x.space == f.space && x.key == f.key && x.id == f.id && !x.gone() {
			fields = append(fields, x)
		}
	}
	return fields
}

// takeOver has into hear what from knows of a user, and ends what is held of from. What has left, or is in
// a request under way, stays as it is.
func (b *batch) takeOver(u *user, into, from *field, p *domain.Policy, c *cause, o *order) {
	for _, x := range b.st.registry.targetFields(from) {
		if e := b.entry(u, x.number); !e.waiting.pending() || !b.st.isInFlight(x.endpoint(), u.id, e.waiting.id) {
			b.cancelWaiting(u, x, e)
			b.write(u, x.number)
		}
	}
	b.cancelHeldEvents(u, from)
	e := b.entry(u, from.number)
	if e.newest().IsIn() {
		from.leave()
		b.touch(from)
	}
	kept := e.kept
	e.kept, e.left = [3]*domain.Assertion{}, 0
	b.write(u, from.number)
	for sort, s := range kept {
		if s == nil {
			continue
		}
		if !p.Send.Has(domain.SendAsReceived) {
			sort = keptOne
		}
		c.event = &domain.Event{Received: o.received, Time: time.Unix(0, s.Time).UTC(), Class: into.class, MessageID: orderAdopt.String(), Flag: domain.FlagOut}
		if s.IsIn() {
			c.event.Flag = domain.FlagIn
		}
		b.member(u, into, p, c, sort, true)
	}
}

// cancelHeldEvents closes the events of a field that are held for a user.
func (b *batch) cancelHeldEvents(u *user, f *field) {
	prefix := binary.BigEndian.AppendUint32(slices.Clone(u.key), laneHeld)
	for _, key := range keysWithPrefix(b.queue, prefix) {
		ch := b.fetch(b.held, key[len(prefix):])
		if ch == nil || ch.field != f.number {
			continue
		}
		b.withdraw(ch)
		b.remove(b.queue, key)
		b.close(u, ch, domain.StateCancelled, b.now)
	}
}
