package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"personasync/store/domain"
	"personasync/store/internal/apply"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// ErrNoMembers says that a computation is a trait, which nobody is a member of.
var ErrNoMembers = errors.New("a computed trait has values and no members")

// MembershipReport says what an operator's order on a computation comes to. A rehearsal of an import
// counts what the import would.
type MembershipReport struct {
	Key       string `json:"key"`
	ID        string `json:"id"`
	DryRun    bool   `json:"dry_run"`
	Listed    uint64 `json:"listed"`           // users of the list
	Repeated  uint64 `json:"repeated"`         // lines that named a user again
	Skipped   uint64 `json:"skipped"`          // lines without an id, or with one that MoEngage ignores
	Column    string `json:"column,omitempty"` // that the ids were read from
	Enters    uint64 `json:"enters"`
	Exits     uint64 `json:"exits"`
	Unchanged uint64 `json:"unchanged"`
	Newer     uint64 `json:"newer"`   // left alone: something newer than the list is known
	Again     uint64 `json:"again"`   // users of whom MoEngage is told again
	Decided   uint64 `json:"decided"` // held exits that were released or discarded
	Created   uint64 `json:"created"` // changes that came of it, or of events meanwhile
	Held      uint64 `json:"held"`    // of the computation, afterwards
	Removed   uint64 `json:"removed"` // names of a computation that is forgotten: its own, its columns, cohort and list
	Exited    uint64 `json:"exited"`  // exits of a computation that is forgotten: their times are, too
	Already   bool   `json:"already"` // of an adoption: it came about before, and nothing of it is left to do
	Tripped   bool   `json:"tripped"` // of a release or a discard: the guard was holding exits until then
}

// Import is a full list of an audience's members.
type Import struct {
	Key      string    // of the computation, or its id
	AsOf     time.Time // what is known of a later time is left alone
	Events   bool      // queue events, too
	Baseline bool      // MoEngage knows this already: nothing is queued
	DryRun   bool
	Create   bool // a key never seen is the configuration's: it becomes a computation

	// Users are those of the list, in any order. An error ends the import before anything was changed.
	Users iter.Seq2[string, error]

	// Progress may be nil; it counts users done and those to do.
	Progress func(done, total int64)
}

// Import compares the list with the memberships that are kept, and says of everybody known or listed
// who is a member at its time. An import that was interrupted is simply given again: what it has done
// bears its time, and is not done twice.
func (s *Store) Import(ctx context.Context, o Import) (r MembershipReport, err error) {
	if o.AsOf.After(time.Now()) {
		return r, fmt.Errorf("the list is from %s, which is to come", o.AsOf.UTC().Format(time.RFC3339))
	}
	verb := record.OrderImport
	if o.Baseline {
		verb = record.OrderBaseline
	}
	c := &membershipJob{s: s, o: &record.Order{Verb: verb, Time: o.AsOf, Events: o.Events}, dry: o.DryRun}
	if err := s.meet(ctx, c, o.Key); err != nil && !(o.Create && errors.Is(err, domain.ErrNotFound)) {
		return r, err
	}
	if c.class == domain.ClassTrait {
		return r, ErrNoMembers
	}
	list := newExternalSort(s.dir)
	defer list.close()
	for user, err := range o.Users {
		if err == nil {
			err = list.add(user)
		}
		if err != nil {
			return r, err
		}
	}
	if c, err = s.newMembershipJob(ctx, o.Key, c.o, o.Create, o.DryRun); err != nil {
		return r, err
	}
	return c.report(ctx, c.compare(ctx, list, o.AsOf.UnixNano(), o.Progress))
}

// Reconcile has MoEngage told again what it should know of every member and ex-member of a
// computation, or of every user's value.
func (s *Store) Reconcile(ctx context.Context, key string, events, dryRun bool, progress func(done, total int64)) (r MembershipReport, err error) {
	c, err := s.newMembershipJob(ctx, key, &record.Order{Verb: record.OrderReconcile, Events: events}, false, dryRun)
	if err != nil {
		return r, err
	}
	for _, c.o.Field = range c.fields {
		err := c.everybody(ctx, progress, func(a *query.UserRow) error {
			if a.Some || a.Told || c.class == domain.ClassTrait {
				c.done.Again++
				return c.say(ctx, a.Key, a.In)
			}
			return nil
		})
		if err == nil {
			err = c.flush(ctx)
		}
		if err != nil {
			return c.report(ctx, err)
		}
	}
	return c.report(ctx, nil)
}

// CloseAudience makes every member an ex-member as of now. The guard does not ask: the operator has
// decided.
func (s *Store) CloseAudience(ctx context.Context, key string, events, dryRun bool, progress func(done, total int64)) (r MembershipReport, err error) {
	now := time.Now()
	c, err := s.newMembershipJob(ctx, key, &record.Order{Verb: record.OrderClose, Time: now, Events: events}, false, dryRun)
	if err != nil {
		return r, err
	}
	if c.class == domain.ClassTrait {
		return r, ErrNoMembers
	}
	return c.report(ctx, c.everybody(ctx, progress, func(a *query.UserRow) error {
		if !a.In {
			return nil
		}
		c.done.Exits++
		return c.say(ctx, a.Key, false)
	}))
}

// Decide ends what the guard holds of an audience: its exits leave, or, discarded, all who left in the
// window are members again. A new window begins. A discard that was cut short is finished first.
func (s *Store) Decide(ctx context.Context, key string, discard, dryRun bool, progress func(done, total int64)) (r MembershipReport, err error) {
	o := &record.Order{Verb: record.OrderRelease, Received: time.Now()}
	if discard {
		o.Verb = record.OrderDiscard
	} else if !dryRun { // a release would let go of what the discard had not come to
		if err := s.finishDiscard(ctx, key, progress); err != nil {
			return r, err
		}
	}
	c, err := s.newMembershipJob(ctx, key, o, false, dryRun)
	if err != nil {
		return r, err
	}
	if err := s.read(func(tx *state.Tx) error {
		c.done.Tripped = !tx.FieldOf(c.o.Field).Watch.Tripped.IsZero()
		return nil
	}); err != nil {
		return r, err
	}
	if discard {
		return c.report(ctx, c.discard(ctx, progress))
	}
	if !dryRun {
		if err := c.order(ctx, record.AppendOrder(nil, o)); err != nil {
			return r, err
		}
	}
	return c.report(ctx, c.decideHeld(ctx, s.inbox.Last(), progress))
}

// decideHeld gives the order about every exit that the guard holds, of records up to until.
func (c *membershipJob) decideHeld(ctx context.Context, until uint64, progress func(done, total int64)) error {
	for from, more := []byte(nil), true; more; {
		page, next, err := c.s.r.HeldExits(c.targetFields, until, from)
		if err != nil {
			return err
		}
		from, more = next, next != nil
		c.done.Decided += uint64(len(page))
		if len(page) == 0 || c.dry {
			continue
		}
		var frames [][]byte
		for ids := range slices.Chunk(page, c.most) {
			part := *c.o
			part.IDs = ids
			frames = append(frames, record.AppendOrder(nil, &part))
		}
		if err := c.order(ctx, frames...); err != nil {
			return err
		}
		if err := c.applied(ctx); err != nil {
			return err
		}
		if progress != nil {
			progress(int64(c.done.Decided), int64(max(c.done.Held, c.done.Decided)))
		}
	}
	return nil
}

// discard makes everybody a member again who left in the window.
func (c *membershipJob) discard(ctx context.Context, progress func(done, total int64)) error {
	if c.dry {
		w, err := c.watch(ctx)
		if err != nil {
			return err
		}
		if !w.Tripped.IsZero() {
			w.Undone = state.RecordRange{From: w.Seq, Until: c.s.inbox.Last() + 1}
		}
		return c.readmit(ctx, w.Undone, progress)
	}
	if err := c.finish(ctx, progress); err != nil {
		return err
	}
	if err := c.order(ctx, record.AppendOrder(nil, c.o)); err != nil {
		return err
	}
	if err := c.applied(ctx); err != nil {
		return err
	}
	w, err := c.watch(ctx)
	if err != nil {
		return err
	}
	return c.readmit(ctx, w.Undone, progress)
}

// finish readmits the users whom a discard that was cut short had not come to.
func (c *membershipJob) finish(ctx context.Context, progress func(done, total int64)) error {
	w, err := c.watch(ctx)
	if err != nil || w.Undone == (state.RecordRange{}) {
		return err
	}
	return c.readmit(ctx, w.Undone, progress)
}

// finishDiscard is finish for an order of another kind on the same audience.
func (s *Store) finishDiscard(ctx context.Context, key string, progress func(done, total int64)) error {
	c, err := s.newMembershipJob(ctx, key, &record.Order{Verb: record.OrderDiscard, Received: time.Now()}, false, false)
	if err != nil {
		return err
	}
	return c.finish(ctx, progress)
}

// watch reads what the guard keeps of the audience, once it holds all that it will hold.
func (c *membershipJob) watch(ctx context.Context) (w state.ExitWindow, err error) {
	err = c.s.writer.Await(ctx, func() (bool, error) {
		err := c.s.read(func(tx *state.Tx) error {
			w = tx.FieldOf(c.o.Field).Watch
			return nil
		})
		return w.Swept == nil, err
	})
	return w, c.s.cutShort(c.onDisk, err)
}

// readmit has everybody be a member again who left in a discarded window: first those of whom the rows
// say so, then the few of whom an exit is held that ended no membership.
func (c *membershipJob) readmit(ctx context.Context, window state.RecordRange, progress func(done, total int64)) error {
	held := *c
	held.dry = true
	until := max(window.Until, 1) - 1
	if window == (state.RecordRange{}) { // an older program stopped in the middle
		until = c.s.inbox.Last()
	}
	if err := held.decideHeld(ctx, until, nil); err != nil {
		return err
	}
	c.done.Decided = held.done.Decided
	if window != (state.RecordRange{}) {
		if err := c.readmitLeft(ctx, window, progress); err != nil {
			return err
		}
	}
	if c.dry {
		return nil
	}
	if err := c.decideHeld(ctx, until, nil); err != nil {
		return err
	}
	c.done.Decided = held.done.Decided
	end := record.Order{Verb: record.OrderDiscarded, Received: time.Now(), Field: c.o.Field}
	return c.order(ctx, record.AppendOrder(nil, &end))
}

func (c *membershipJob) readmitLeft(ctx context.Context, window state.RecordRange, progress func(done, total int64)) error {
	for a, err := range c.known(ctx, 0) {
		if err == nil && window.Has(a.Left) {
			c.done.Enters++
			err = c.say(ctx, a.Key, true)
		}
		if err != nil {
			return err
		}
		if progress != nil {
			progress(int64(c.done.Enters), int64(max(c.done.Enters, c.done.Decided)))
		}
	}
	if c.dry {
		return nil
	}
	if err := c.flush(ctx); err != nil {
		return err
	}
	return c.applied(ctx)
}

// compare walks the list and the rows side by side, and says what differs.
func (c *membershipJob) compare(ctx context.Context, list *externalSort, asOf int64, progress func(done, total int64)) error {
	next, stop := iter.Pull2(c.known(ctx, asOf))
	defer stop()
	met, err, some := next()
	pass := func(listed bool) error {
		if err := c.judge(ctx, met, listed, asOf); err != nil {
			return err
		}
		met, err, some = next()
		return err
	}
	var last []byte
	for key, failed := range list.sorted() {
		if failed != nil || err != nil {
			return errors.Join(failed, err)
		}
		if bytes.Equal(key, last) {
			c.done.Repeated++
			continue
		}
		last = append(last[:0], key...)
		c.done.Listed++
		for some && bytes.Compare(met.Key, key) < 0 {
			if err := pass(false); err != nil {
				return err
			}
		}
		if some && bytes.Equal(met.Key, key) {
			if err := pass(true); err != nil {
				return err
			}
		} else if err := c.judgeStranger(ctx, key, asOf); err != nil {
			return err
		}
		if progress != nil {
			progress(int64(c.done.Listed+c.done.Repeated), list.count)
		}
	}
	for some && err == nil {
		if err := pass(false); err != nil {
			return err
		}
	}
	return err
}

// judgeStranger is judge for a user on the list of whom nothing is known. One who was forgotten since is left alone:
// applying the order passes over them, too.
func (c *membershipJob) judgeStranger(ctx context.Context, key []byte, asOf int64) error {
	forgotten := false
	if user, _, ok := state.UserOf(key); ok && c.salt != nil {
		believable := max(asOf, time.Now().UnixNano()) + int64(domain.MaxAhead)
		err := c.s.look(func(tx *bolt.Tx) error {
			forgotten = apply.BuriedBy(tx.Bucket(state.BucketTombstones).Get(apply.Tombstone(c.salt, user)), asOf, believable)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if forgotten {
		c.done.Newer++
		return nil
	}
	return c.judge(ctx, &query.UserRow{Key: key, Time: -1 << 63, Old: true}, true, asOf)
}

// judge says what the list makes of one user. Whoever stays what he was is mention of, too, if only to
// move the fence: news from before the list that come late must not undo it, and a time that is not believed must
// not keep away what happens next.
func (c *membershipJob) judge(ctx context.Context, a *query.UserRow, listed bool, asOf int64) error {
	d := &c.done
	believable := max(asOf, time.Now().UnixNano()) + int64(domain.MaxAhead)
	switch {
	case a.Time > asOf && a.Time <= believable, a.Time == asOf && listed && !a.In: // at one moment an exit beats an enter
		d.Newer++
		if !a.Old {
			return nil
		}
	case a.In == listed:
		d.Unchanged++
		if !a.Old && a.Time <= believable && c.o.Verb != record.OrderBaseline { // MoEngage may know no more of it than before
			return nil
		}
	case listed:
		d.Enters++
	default:
		d.Exits++
	}
	return c.say(ctx, a.Key, listed)
}
