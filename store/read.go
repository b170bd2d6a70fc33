package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"time"

	"personasync/store/domain"

	bolt "go.etcd.io/bbolt"

	berrors "go.etcd.io/bbolt/errors"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// reader answers questions about the state: the methods of View. Every method is a few short read
// transactions, so that the writer waits for no reader; a page of a listing is consistent in itself. All
// methods may be called concurrently.
type reader struct {
	db       *stateDB
	inbox    *wal.Log
	parkings *parkings       // parked lately by this process; nil: none
	refused  *refusals       // refusals counted by this process; nil: read from the file
	damaged  func(err error) // is told of damage; nil: nobody is
}

// LastRecord returns the number of the last record received, which costs next to nothing: it grows with
// every event that comes in.
func (v *reader) LastRecord() uint64 { return v.inbox.Last() }

// look runs one read transaction. A damaged page is an error like any other; a store that was closed is
// ErrClosed.
func (v *reader) look(f func(tx *bolt.Tx) error) error {
	err := boltfile.Guard(func() error { return v.db.View(f) })
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return domain.ErrClosed
	}
	if errors.Is(err, wire.ErrDamaged) && v.damaged != nil {
		v.damaged(err)
	}
	return err
}

// Counts returns the ledgers and gauges.
func (v *reader) Counts() (c domain.Counts, err error) {
	last, others := v.inbox.Last(), v.inbox.Others.Load()
	err = v.read(func(b *batch) error {
		l := &b.st.ledger
		refusals, heard, err := v.refusals(b)
		if err != nil {
			return err
		}
		c = domain.Counts{Rejected: sumRefusals(refusals), Refusals: refusals, Heard: heard, Users: l.users, Events: l.events, Changes: l.changes, Backlog: l.backlog}
		if last > b.st.applied {
			c.Unapplied = last - b.st.applied
		}
		c.Received = l.events.Accepted + c.Unapplied - min(c.Unapplied, uint64(max(others, 0)))
		c.OldestPending, c.OldestOfJobs = oldest(b), oldestOfJobs(b)
		for _, f := range b.st.registry.fields {
			if f.audience() {
				c.Audiences++
			}
		}
		return nil
	})
	return c, err
}

// refusals lists what was refused at the door: a running store knows more than its file.
func (v *reader) refusals(b *batch) (list []domain.Refusal, heard domain.Heard, err error) {
	if v.refused != nil {
		list, heard = v.refused.list()
		return list, heard, nil
	}
	list, heard, err = readRefusals(b.tx, b.st.ledger.rejected)
	sortRefusals(list)
	return list, heard, err
}

// retryScan bounds how many users in retry are looked at for the oldest pending change. Each of them took
// an attempt, so there are hardly more than fit the requests of a few minutes.
const retryScan = 10_000

// oldest returns the receipt of the oldest pending change, to the second.
func oldest(b *batch) (first time.Time) {
	for _, at := range oldestOfJobs(b) {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first.UTC()
}

// oldestOfJobs returns the receipt of the oldest pending change of each job that has one, to the second: the
// lanes are in order of receipt, and users who wait for a retry say it in the head.
func oldestOfJobs(b *batch) map[string]time.Time {
	jobs := make(map[string]time.Time)
	for _, endpoint := range []domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort} {
		for lane, l := range b.lanes(endpoint) {
			if !isRetry(lane) && l.first != notYet {
				earliest(jobs, b.st.job(lane), l.first)
			}
			if !isRetry(lane) {
				continue
			}
			for h := range b.heads(endpoint, lane, retryScan) {
				for _, l := range h.endpoint(endpoint).lanes {
					earliest(jobs, b.st.job(l.number), l.due)
				}
			}
		}
	}
	return jobs
}

// heads reads the heads of the first users of a lane, at most so many.
func (b *batch) heads(endpoint domain.Endpoint, lane uint32, most int) iter.Seq[*head] {
	return func(yield func(*head) bool) {
		c := b.due.Cursor()
		k, _ := c.Seek(dueKey(endpoint, lane, 0, nil))
		for n := 0; len(k) > 9 && domain.Endpoint(k[0]) == endpoint && n < most; k, _ = c.Next() {
			l, _, user := dueParts(k)
			if n++; l != lane {
				return
			}
			key := rowKey(user, blockHead)
			if h, err := decodeHead(key, b.rows.Get(key)); err == nil && !yield(h) {
				return
			}
		}
	}
}

// Change returns one change, wherever it is, and the raw event that caused it while that is kept.
func (v *reader) Change(id domain.ID) (c *domain.Change, raw []byte, err error) {
	err = v.read(func(b *batch) error {
		if b.st.epochs.of(id.Seq) != id.Epoch {
			return domain.ErrNotFound
		}
		ch := b.find(id)
		if ch == nil {
			return domain.ErrNotFound
		}
		c = &ch.Change
		if ch.Kind == domain.KindReceived {
			if rec, err := decodeRecord(id.Seq, ch.raw); err == nil && rec.event != nil {
				raw, c.TimeSource = rec.event.Raw, rec.event.TimeSource
			}
		}
		return nil
	})
	if err != nil || raw != nil {
		return c, raw, err
	}
	rec := v.record(id.Seq)
	c.OrderedBy = rec.orderedBy()
	if e := rec.told(); e != nil {
		raw, c.TimeSource, c.LeftOut = e.Raw, e.TimeSource, e.LeftOutNames()
	}
	return c, raw, nil
}

// read runs one read transaction with everything a decision needs.
func (v *reader) read(f func(b *batch) error) error {
	return v.look(func(tx *bolt.Tx) error {
		st, err := loadState(tx)
		if err != nil {
			return err
		}
		return f(newBatch(tx, st, discard))
	})
}

// discard is the log of a reader: a damaged row is reported by whoever writes.
var discard = slog.New(slog.DiscardHandler)

// find returns a change by its id: parked, held, waiting with its user, or in the user's history.
func (b *batch) find(id domain.ID) *stored {
	for _, kept := range []*bolt.Bucket{b.parked, b.held} {
		if ch := b.fetch(kept, idKey(id)); ch != nil {
			return ch
		}
	}
	at := b.locator.Get(idKey(id))
	if len(at) < 5 {
		return nil
	}
	u, number := b.user(string(at[5:])), binary.BigEndian.Uint32(at[1:])
	if at[0] == locatedInQueue {
		if ch := b.fetchQueued(queueKey(u.key, number, id)); ch != nil {
			return ch
		}
	} else if f := b.fieldOf(number); f != nil {
		for e, i := b.entry(u, number), 0; i < 2; i++ {
			if t := [2]*ticket{&e.waiting, &e.inFlight}[i]; t.id == id && t.pending() {
				return b.change(u, f, t)
			}
		}
	}
	for n := u.head.history; n != 0; {
		ch := b.fetch(b.history, numberKey(n))
		if ch == nil || ch.ID == id {
			return ch
		}
		n = ch.prev
	}
	return nil
}

// record returns a record of the inbox; it is empty when it is gone.
func (v *reader) record(seq uint64) record {
	records, err := v.inbox.Read(seq, 1)
	if err != nil || len(records) == 0 || records[0].Seq != seq {
		return record{}
	}
	rec, err := decodeRecord(seq, records[0].Frame)
	if err != nil {
		return record{}
	}
	return rec
}

// Computations lists every computation seen, by key.
func (v *reader) Computations() (list []domain.ComputationInfo, err error) {
	err = v.read(func(b *batch) error {
		columns := b.st.registry.heldColumns()
		for _, f := range b.st.registry.fields {
			if f.column == "" && !f.former() {
				list = append(list, domain.ComputationInfo{
					Conflict: b.conflictOf(append(b.st.registry.targetFields(f), columns[f]...)), Key: f.key, ID: f.id, Space: f.space, Class: f.class.String(),
					Members: f.members, Entered: f.entered, Exited: f.exited, Held: b.heldOf(f) + sumHeld(columns[f]), LastEvent: domain.Timestamp(f.lastEvent),
					ExitsHeldSince: domain.Timestamp(f.watch.tripped),
				})
			}
		}
		return nil
	})
	slices.SortStableFunc(list, func(a, b domain.ComputationInfo) int { return strings.Compare(a.Key, b.Key) })
	return list, err
}

// conflictOf names the computation that the fields of another would overwrite, and what under; nil where nothing
// is held for it.
func (b *batch) conflictOf(fields []*field) *domain.Conflict {
	for _, x := range fields {
		if x.held == 0 {
			continue
		}
		p := b.st.rules.For(x.key, x.id)
		if rival := b.st.registry.rival(x, &p, &b.st.rules); rival != nil && rival != x {
			return &domain.Conflict{Key: cmp.Or(rival.key, rival.column), ID: rival.id, Name: domain.SentName(x.kind(), x.attribute(&p))}
		}
	}
	return nil
}

// heldOf counts what is held of a computation, on all targets.
func (b *batch) heldOf(f *field) uint64 { return sumHeld(b.st.registry.targetFields(f)) }

func sumHeld(fields []*field) (held uint64) {
	for _, x := range fields {
		held += x.held
	}
	return held
}

// heldColumns returns the columns of which something is held, by their computation.
func (r *registry) heldColumns() map[*field][]*field {
	columns := make(map[*field][]*field)
	for _, x := range r.fields {
		if x.held > 0 && x.sqlColumn() != "" && !x.forwarded() {
			f := r.beside(x, "")
			columns[f] = append(columns[f], x)
		}
	}
	return columns
}

// one returns the only computation that key names.
func (r *registry) one(key string) (*field, error) {
	switch known := r.computations(key); len(known) {
	case 0:
		return nil, domain.ErrNotFound
	case 1:
		return known[0], nil
	default:
		e := &AmbiguousError{Key: key}
		for _, f := range known {
			e.IDs = append(e.IDs, f.id)
		}
		return nil, e
	}
}

// Preview returns the lease that Take would commit, and changes nothing.
func (v *reader) Preview(o domain.TakeOptions) (f *domain.Lease, err error) {
	err = v.read(func(b *batch) error {
		f, _ = b.take(o)
		return nil
	})
	return f, err
}

// Sent returns the users and events that left in each second since the given time, for meters that
// must survive a restart. It reaches back two minutes.
func (v *reader) Sent(since time.Time) (list []domain.SentSecond, err error) {
	err = v.look(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketSent).Cursor()
		for k, val := c.Seek(numberKey(uint64(max(since.Unix(), 0)))); k != nil; k, val = c.Next() {
			s := sentIn(val)
			s.At = time.Unix(int64(number(k)), 0)
			list = append(list, s)
		}
		return nil
	})
	return list, err
}
