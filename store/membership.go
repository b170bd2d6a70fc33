package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ErrNoMembers says that a computation is a trait, which nobody is a member of.
var ErrNoMembers = errors.New("a computed trait has values and no members")

// MembershipReport says what an operator's order on a computation comes to. A rehearsal of an import
// counts what the import would.
type MembershipReport struct {
	Key       string `json:"key"`
	ID        string `json:"id"`
	DryRun    bool   `json:"dry_run"`
	Listed    uint64 `json:"listed"`   // users of the list
	Repeated  uint64 `json:"repeated"` // lines that named a user again
	Skipped   uint64 `json:"skipped"`  // lines with an id that MoEngage ignores
	Enters    uint64 `json:"enters"`
	Exits     uint64 `json:"exits"`
	Unchanged uint64 `json:"unchanged"`
	Newer     uint64 `json:"newer"`   // left alone: something newer than the list is known
	Again     uint64 `json:"again"`   // users of whom MoEngage is told again
	Decided   uint64 `json:"decided"` // held exits that were released or discarded
	Created   uint64 `json:"created"` // changes that came of it, or of events meanwhile
	Held      uint64 `json:"held"`    // of the computation, afterwards
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
	verb := orderImport
	if o.Baseline {
		verb = orderBaseline
	}
	c := &commission{s: s, o: &order{verb: verb, time: o.AsOf, events: o.Events}, dry: o.DryRun}
	if err := s.meet(c, o.Key); err != nil && !(o.Create && errors.Is(err, ErrNotFound)) {
		return r, err
	}
	if c.class == ClassTrait {
		return r, ErrNoMembers
	}
	list := newRoster(s.dir)
	defer list.close()
	for user, err := range o.Users {
		if err == nil {
			err = list.add(user)
		}
		if err != nil {
			return r, err
		}
	}
	if err := s.Applied(ctx); err != nil {
		return r, err
	}
	if c, err = s.commission(ctx, o.Key, c.o, o.Create, o.DryRun); err != nil {
		return r, err
	}
	return c.report(ctx, c.compare(ctx, list, o.AsOf.UnixNano(), o.Progress))
}

// Reconcile has MoEngage told again what it should know of every member and ex-member of a
// computation, or of every user's value.
func (s *Store) Reconcile(ctx context.Context, key string, events, dryRun bool, progress func(done, total int64)) (r MembershipReport, err error) {
	c, err := s.commission(ctx, key, &order{verb: orderReconcile, events: events}, false, dryRun)
	if err != nil {
		return r, err
	}
	for _, c.o.field = range c.fields {
		err := c.everybody(ctx, progress, func(a *acquaintance) error {
			if a.in || a.told || c.class == ClassTrait {
				c.done.Again++
				return c.say(ctx, a.key, a.in)
			}
			return nil
		})
		if err == nil {
			err = c.flush(ctx)
		}
		if err != nil {
			return r, err
		}
	}
	return c.report(ctx, nil)
}

// CloseAudience makes every member an ex-member as of now. The guard does not ask: the operator has
// decided.
func (s *Store) CloseAudience(ctx context.Context, key string, events, dryRun bool, progress func(done, total int64)) (r MembershipReport, err error) {
	now := time.Now()
	c, err := s.commission(ctx, key, &order{verb: orderClose, time: now, events: events}, false, dryRun)
	if err != nil {
		return r, err
	}
	if c.class == ClassTrait {
		return r, ErrNoMembers
	}
	return c.report(ctx, c.everybody(ctx, progress, func(a *acquaintance) error {
		if !a.in {
			return nil
		}
		c.done.Exits++
		return c.say(ctx, a.key, false)
	}))
}

// Decide ends what the guard holds of an audience: its exits leave, or, discarded, never happened. A
// new window begins.
func (s *Store) Decide(ctx context.Context, key string, discard, dryRun bool, progress func(done, total int64)) (r MembershipReport, err error) {
	o := &order{verb: orderRelease, received: time.Now()}
	if discard {
		o.verb = orderDiscard
	}
	if err := s.Applied(ctx); err != nil {
		return r, err
	}
	c, err := s.commission(ctx, key, o, false, dryRun)
	if err != nil {
		return r, err
	}
	until := s.inbox.last()
	if !dryRun {
		if err := s.order(ctx, appendOrder(nil, o)); err != nil {
			return r, err
		}
		until = s.inbox.last()
	}
	for from, more := []byte(nil), true; more; {
		var page []ID
		if page, from, err = s.heldExits(c.voices, until, from); err != nil {
			return r, err
		}
		c.done.Decided += uint64(len(page))
		more = from != nil
		if len(page) == 0 || dryRun {
			continue
		}
		part := *o
		part.ids = page
		if err := s.order(ctx, appendOrder(nil, &part)); err != nil {
			return r, err
		}
		if err := s.Applied(ctx); err != nil {
			return r, err
		}
		if progress != nil {
			progress(int64(c.done.Decided), int64(max(c.done.Held, c.done.Decided)))
		}
	}
	return c.report(ctx, nil)
}

// heldExits reads a page of the exits that the guard holds of some fields and a record up to until
// caused, and where to go on.
func (v *View) heldExits(numbers []uint32, until uint64, from []byte) (page []ID, next []byte, err error) {
	err = v.look(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketHeld).Cursor()
		k, frame := c.Seek(from)
		for n := 0; k != nil && binary.BigEndian.Uint64(k) <= until; k, frame = c.Next() {
			if n++; n > pageScan {
				next = bytes.Clone(k)
				return nil
			}
			ch, err := decodeChange(frame, v.inbox.epoch)
			if err == nil && slices.Contains(numbers, ch.field) && ch.Reason == reasonMassExit {
				page = append(page, ch.ID)
			}
		}
		return nil
	})
	return page, next, err
}

// commission is an order being carried out: users are gathered, written to the inbox some at a time,
// and applied before more follow, so that no event waits for more than two batches of them.
type commission struct {
	s       *Store
	o       *order
	key     string
	class   Class
	fields  []uint32 // the computation's own, and those of its columns
	voices  []uint32 // its own, and its channels
	members uint64
	created uint64 // changes before it began
	dry     bool
	done    MembershipReport

	words []mention
	ahead uint64 // number of the last record of the batch before this one
}

// commissionBatch is how many users are appended at once. Twice as many wait to be applied at most.
const commissionBatch = 4096

// commission finds the computation that key names and prepares an order on it.
func (s *Store) commission(ctx context.Context, key string, o *order, create, dry bool) (*commission, error) {
	c := &commission{s: s, o: o, dry: dry}
	err := s.meet(c, key)
	if errors.Is(err, ErrNotFound) && create {
		if dry { // nothing is known of it, and nothing shall be
			c.key, c.o.field = key, fieldNone
			return c, nil
		}
		frame := appendOrder(nil, &order{verb: orderName, received: time.Now(), key: key})
		if err := s.order(ctx, frame); err != nil {
			return nil, err
		}
		if err := s.Applied(ctx); err != nil {
			return nil, err
		}
		err = s.meet(c, key)
	}
	return c, err
}

func (s *Store) meet(c *commission, key string) error {
	return s.read(func(b *batch) error {
		f, err := b.st.registry.one(key)
		if err != nil {
			return err
		}
		c.o.field, c.key, c.class, c.members = f.number, f.key, f.class, f.members
		c.done.Held = b.heldOf(f)
		c.done.ID, c.created = f.id, b.st.ledger.changes.Created
		for _, x := range b.st.registry.fields {
			if x == f || x.space == f.space && x.key == f.key && x.id == f.id && x.sqlColumn() != "" {
				c.fields = append(c.fields, x.number)
			}
		}
		for _, x := range b.st.registry.voices(f) {
			c.voices = append(c.voices, x.number)
		}
		return nil
	})
}

// order appends records of orders.
func (s *Store) order(ctx context.Context, frames ...[]byte) error {
	if err := s.room.refusal(); err != nil {
		return err
	}
	s.inbox.ordered.Add(uint64(len(frames)))
	return translate(s.inbox.appendOther(ctx, frames...))
}

// say has a user be mention of.
func (c *commission) say(ctx context.Context, key []byte, in bool) error {
	if c.dry {
		return ctx.Err()
	}
	user, _, _ := userOf(key)
	if c.words = append(c.words, mention{user, in}); len(c.words) < commissionBatch {
		return nil
	}
	return c.flush(ctx)
}

func (c *commission) flush(ctx context.Context) error {
	if len(c.words) == 0 {
		return ctx.Err()
	}
	c.o.received = time.Now()
	var frames [][]byte
	for from := 0; from < len(c.words); from += orderWords {
		part := *c.o
		part.words = c.words[from:min(from+orderWords, len(c.words))]
		frames = append(frames, appendOrder(nil, &part))
	}
	if err := c.s.order(ctx, frames...); err != nil {
		return err
	}
	c.words = c.words[:0]
	before := c.ahead
	c.ahead = c.s.inbox.last()
	return c.s.appliedUpTo(ctx, before)
}

// report ends a commission.
func (c *commission) report(ctx context.Context, err error) (MembershipReport, error) {
	if err == nil && !c.dry {
		if err = c.flush(ctx); err == nil {
			err = c.s.Applied(ctx)
		}
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

// acquaintance is what the rows know of a user and a computation.
type acquaintance struct {
	key  []byte
	in   bool
	told bool  // MoEngage was told something, or may have been, by whatever channel
	time int64 // of the newest word, ns
	old  bool  // a state that is kept is from before the time asked about
}

// acquaintances reads a page of those that the rows know of a computation, in the order of their keys,
// and where to go on: nil at the end. voices are the numbers of its own field and of its channels.
func (v *View) acquaintances(voices []uint32, before int64, from []byte) (page []acquaintance, next []byte, err error) {
	err = v.look(func(tx *bolt.Tx) error {
		var m meeting
		c := tx.Bucket(bucketRows).Cursor()
		k, frame := c.Seek(from)
		for n := 0; k != nil; k, frame = c.Next() {
			n++
			end := len(k) - 2
			if end < 3 {
				continue
			}
			if !bytes.Equal(k[:end], m.key) { // the rows of a user stand together
				page = m.appendTo(page, before)
				if m = (meeting{key: k[:end]}); n > pageScan {
					next = bytes.Clone(k)
					return nil
				}
			}
			m.read(k, frame, voices, v.inbox.epoch)
		}
		page = m.appendTo(page, before)
		return nil
	})
	return page, next, err
}

// meeting is what the rows of one user say of a computation and its channels.
type meeting struct {
	key  []byte
	own  *entry
	told bool
}

func (m *meeting) read(k, frame []byte, voices []uint32, epoch uint32) {
	number := binary.BigEndian.Uint16(k[len(k)-2:])
	if !slices.ContainsFunc(voices, func(n uint32) bool { return uint16(n/blockSize) == number }) {
		return
	}
	row, err := decodeBlock(k, frame, epoch)
	if err != nil {
		return // set aside when next written; doctor counts it
	}
	for i, n := range voices {
		if uint16(n/blockSize) != number {
			continue
		}
		e := row.find(uint8(n % blockSize))
		m.told = m.told || e != nil && e.told.kind != toldNever
		if i == 0 {
			m.own = e
		}
	}
}

func (m *meeting) appendTo(page []acquaintance, before int64) []acquaintance {
	if m.own == nil || m.own.newest() == nil {
		return page
	}
	a := m.own.acquaint(bytes.Clone(m.key), before)
	a.told = m.told
	return append(page, a)
}

func (e *entry) acquaint(key []byte, before int64) acquaintance {
	a := acquaintance{key: key, in: e.newest().in(), time: e.newest().time}
	for _, s := range e.kept {
		a.old = a.old || s != nil && s.time < before
	}
	return a
}

// everybody visits all that the rows know of the computation.
func (c *commission) everybody(ctx context.Context, progress func(done, total int64), visit func(*acquaintance) error) error {
	if err := c.s.Applied(ctx); err != nil {
		return err
	}
	for a, err := range c.known(ctx, 0) {
		if err == nil {
			err = visit(a)
		}
		if err != nil {
			return err
		}
		if progress != nil {
			progress(int64(min(c.done.Again+c.done.Exits, c.members)), int64(c.members))
		}
	}
	return nil
}

// known walks all that the rows know of the computation.
func (c *commission) known(ctx context.Context, before int64) iter.Seq2[*acquaintance, error] {
	return func(yield func(*acquaintance, error) bool) {
		if c.o.field == fieldNone {
			return
		}
		voices := []uint32{c.o.field} // or a column
		if c.o.field == c.voices[0] {
			voices = c.voices
		}
		for from, more := []byte(nil), true; more; {
			page, next, err := c.s.acquaintances(voices, before, from)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range page {
				if !yield(&page[i], nil) {
					return
				}
			}
			from, more = next, next != nil
		}
	}
}

// compare walks the list and the rows side by side, and says what differs.
func (c *commission) compare(ctx context.Context, list *roster, asOf int64, progress func(done, total int64)) error {
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
		for some && bytes.Compare(met.key, key) < 0 {
			if err := pass(false); err != nil {
				return err
			}
		}
		if some && bytes.Equal(met.key, key) {
			if err := pass(true); err != nil {
				return err
			}
		} else if err := c.judge(ctx, &acquaintance{key: key, time: -1 << 63, old: true}, true, asOf); err != nil {
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

// judge says what the list makes of one user. Whoever stays what he was is mention of, too, if only to
// move the fence: news from before the list that come late must not undo it.
func (c *commission) judge(ctx context.Context, a *acquaintance, listed bool, asOf int64) error {
	d := &c.done
	switch {
	case a.time > asOf, a.time == asOf && listed && !a.in: // at one moment an exit beats an enter
		d.Newer++
		if !a.old {
			return nil
		}
	case a.in == listed:
		d.Unchanged++
		if !a.old && c.o.verb != orderBaseline { // MoEngage may know no more of it than before
			return nil
		}
	case listed:
		d.Enters++
	default:
		d.Exits++
	}
	return c.say(ctx, a.key, listed)
}
