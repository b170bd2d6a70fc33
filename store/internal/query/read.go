package query

import (
	"cmp"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/refusal"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// Reader answers questions about the state: the methods of View. Every method is a few short read
// transactions, so that the writer waits for no reader; a page of a listing is consistent in itself. All
// methods may be called concurrently.
type Reader struct {
	State    engine.State
	Inbox    engine.Log
	Parkings *state.Parkings // parked lately by this process; nil: none
	Refused  *refusal.Counts // refusals counted by this process; nil: read from the file
	Damaged  func(err error) // is told of damage; nil: nobody is
}

// LastRecord returns the number of the last record received, which costs next to nothing: it grows with
// every event that comes in.
func (v *Reader) LastRecord() uint64 { return v.Inbox.Last() }

// Look runs one read transaction. A damaged page is an error like any other; a store that was closed is
// ErrClosed.
func (v *Reader) Look(f func(tx engine.Tx) error) error {
	return v.Observe(v.State.View(f))
}

// Observe passes on the error of a read, and tells of damage.
func (v *Reader) Observe(err error) error {
	if errors.Is(err, wire.ErrDamaged) && v.Damaged != nil {
		v.Damaged(err)
	}
	return err
}

// Idle reports whether no user has anything pending on an endpoint.
func (v *Reader) Idle(endpoint domain.Endpoint) (idle bool, err error) {
	err = v.Look(func(tx engine.Tx) error {
		k, _ := tx.Bucket(state.BucketDue).Cursor().Seek([]byte{byte(endpoint)})
		idle = k == nil || domain.Endpoint(k[0]) != endpoint
		return nil
	})
	return idle, err
}

// Counts returns the ledgers and gauges.
func (v *Reader) Counts() (c domain.Counts, err error) {
	last, others := v.Inbox.Last(), v.Inbox.Others()
	err = v.Read(func(tx *state.Tx) error {
		l := &tx.State.Ledger
		refusals, received, err := v.refusals(tx)
		if err != nil {
			return err
		}
		c = domain.Counts{Rejected: refusal.Sum(refusals), Refusals: refusals, LastReceived: received, Users: l.Users, Journal: tx.State.Journal.Bytes, Events: l.Events, Changes: l.Changes, Backlog: l.Backlog}
		if last > tx.State.Applied {
			c.Unapplied = last - tx.State.Applied
		}
		c.Received = l.Events.Accepted + c.Unapplied - min(c.Unapplied, uint64(max(others, 0)))
		c.OldestPending, c.OldestOfJobs = oldest(tx), oldestOfJobs(tx)
		if at, under := state.ReadComparing(tx.Bucket(state.BucketMeta).Get(state.MetaConsent)); under {
			c.Comparing = &domain.Comparing{Done: at.Done, Users: max(l.Users, at.Done)}
		}
		c.Deletions = deletionCounts(tx)
		for _, f := range tx.State.Registry.Fields {
			c.Rollout, c.Paused = c.Rollout+f.Rollout, c.Paused+f.Paused
			if f.Audience() {
				c.Audiences++
			}
		}
		return nil
	})
	return c, err
}

// Comparing returns how far the comparison of users with a change of consent in the configuration is, and whether there
// is one.
func (v *Reader) Comparing() (c state.Comparing, under bool, err error) {
	err = v.Look(func(tx engine.Tx) error {
		c, under = state.ReadComparing(tx.Bucket(state.BucketMeta).Get(state.MetaConsent))
		return nil
	})
	return c, under, err
}

// refusals lists the refused requests. A running store knows more of them than its file.
func (v *Reader) refusals(tx *state.Tx) (list []domain.Refusal, received domain.LastReceived, err error) {
	if v.Refused != nil {
		list, received = v.Refused.List()
		return list, received, nil
	}
	list, received, err = refusal.Read(tx, tx.State.Ledger.Rejected)
	refusal.Sort(list)
	return list, received, err
}

// retryScan bounds how many users in retry are looked at for the oldest pending change. Each of them took
// an attempt, so there are hardly more than fit the requests of a few minutes.
const retryScan = 10_000

// oldest returns the receipt of the oldest pending change, to the second.
func oldest(tx *state.Tx) (first time.Time) {
	for _, at := range oldestOfJobs(tx) {
		first = domain.Sooner(first, at)
	}
	return first.UTC()
}

// oldestOfJobs returns the receipt of the oldest pending change of each job that has one, to the second: the
// lanes are in order of receipt, and users who wait for a retry say it in the head.
func oldestOfJobs(tx *state.Tx) map[string]time.Time {
	jobs := make(map[string]time.Time)
	for _, endpoint := range []domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort} {
		for lane, l := range state.Lanes(tx, endpoint) {
			if lane == state.LaneBarred {
				continue // MoEngage is given its time
			}
			if !state.IsRetry(lane) && l.First != state.NotYet {
				outbox.Earliest(jobs, tx.State.Job(lane), l.First)
			}
			if !state.IsRetry(lane) {
				continue
			}
			for h := range state.Indexes(tx, endpoint, lane, retryScan) {
				for _, l := range h.Endpoint(endpoint).Lanes {
					outbox.Earliest(jobs, tx.State.Job(l.Number), l.Due)
				}
			}
		}
	}
	return jobs
}

// Change returns one change, wherever it is, and the raw event that caused it while that is kept.
func (v *Reader) Change(id domain.ID) (c *domain.Change, raw []byte, err error) {
	err = v.Read(func(tx *state.Tx) error {
		if tx.State.Epochs.Of(id.Seq) != id.Epoch {
			return domain.ErrNotFound
		}
		ch := state.Find(tx, id)
		if ch == nil {
			return domain.ErrNotFound
		}
		c = &ch.Change
		if ch.Kind == domain.KindReceived {
			if rec, err := record.DecodeRecord(id.Seq, ch.Raw); err == nil && rec.Event != nil {
				raw, c.TimeSource = rec.Event.Raw, rec.Event.TimeSource
			}
		}
		return nil
	})
	if err != nil || raw != nil {
		return c, raw, err
	}
	rec := v.record(id.Seq)
	c.OrderedBy = rec.OrderedBy()
	if e := rec.Told(); e != nil {
		raw, c.TimeSource, c.LeftOut = e.Raw, e.TimeSource, e.LeftOutNames()
	}
	return c, raw, nil
}

// Read runs one read transaction with everything a decision needs.
func (v *Reader) Read(f func(tx *state.Tx) error) error {
	return v.Look(func(tx engine.Tx) error {
		st, err := state.LoadState(tx)
		if err != nil {
			return err
		}
		return f(state.NewTx(tx, st, Discard))
	})
}

// Discard is the log of a reader. The writer reports a corrupt row.
var Discard = slog.New(slog.DiscardHandler)

// record returns a record of the inbox; it is empty when it is gone.
func (v *Reader) record(seq uint64) record.Record {
	records, err := v.Inbox.Read(seq, 1)
	if err != nil || len(records) == 0 || records[0].Seq != seq {
		return record.Record{}
	}
	rec, err := record.DecodeRecord(seq, records[0].Frame)
	if err != nil {
		return record.Record{}
	}
	return rec
}

// Computations lists every computation seen, by key, without SentUpTo.
func (v *Reader) Computations() (list []domain.ComputationInfo, err error) {
	return v.computations(func(*state.Tx, *state.Field) string { return "" })
}

// Watermarked is Computations with SentUpTo, for which it reads up to about 12,000 rows.
func (v *Reader) Watermarked() (list []domain.ComputationInfo, err error) {
	var sent *watermarks
	return v.computations(func(tx *state.Tx, f *state.Field) string {
		if sent == nil {
			sent = newWatermarks(tx, v.applied(tx))
		}
		return domain.Timestamp(sent.of(f))
	})
}

func (v *Reader) computations(sentUpTo func(*state.Tx, *state.Field) string) (list []domain.ComputationInfo, err error) {
	err = v.Read(func(tx *state.Tx) error {
		columns := tx.State.Registry.HeldColumns()
		sql := tx.State.Registry.Columns(func(x *state.Field) bool { return x.Withheld > 0 })
		for _, f := range tx.State.Registry.Fields {
			if f.Column == "" && !f.Former() {
				p := tx.State.Rules.For(f.Key, f.ID)
				list = append(list, domain.ComputationInfo{
					Pause: p.Paused, HeldPaused: pausedOf(tx, f, columns[f]),
					Conflict: conflictOf(tx, append(tx.State.Registry.TargetFields(f), columns[f]...)), Key: f.Key, ID: f.ID, Space: f.Space, Class: f.Class.String(),
					Members: f.Members, Entered: f.Entered, Exited: f.Exited, Held: state.HeldOf(tx, f) + state.SumHeld(columns[f]), Withheld: withheldOf(f, sql[f]), LastEvent: domain.Timestamp(f.LastEvent),
					ExitsHeldSince: domain.Timestamp(f.Exits.Tripped), SentUpTo: sentUpTo(tx, f), Rollout: rolloutOf(tx, f, columns[f]),
				})
			}
		}
		return nil
	})
	slices.SortStableFunc(list, func(a, b domain.ComputationInfo) int { return strings.Compare(a.Key, b.Key) })
	return list, err
}

// rolloutOf returns whom computation f is told of, nil if everybody is and nothing is held of that.
func rolloutOf(tx *state.Tx, f *state.Field, columns []*state.Field) *domain.RolloutInfo {
	info, p := domain.RolloutInfo{Share: 1}, tx.State.Rules.For(f.Key, f.ID)
	for _, x := range append(tx.State.Registry.TargetFields(f), columns...) {
		info.Held += x.Rollout
	}
	switch r := p.Rollout; {
	case r == nil && info.Held == 0:
		return nil
	case r != nil:
		info.Share, info.Holdout = r.Share, r.Holdout
		if r.List != "" {
			listed := p.Listed.Len()
			info.Listed = &listed
		}
	}
	return &info
}

// pausedOf returns how many changes of computation f a pause of it holds.
func pausedOf(tx *state.Tx, f *state.Field, columns []*state.Field) (n uint64) {
	for _, x := range append(tx.State.Registry.TargetFields(f), columns...) {
		n += x.Paused
	}
	return n
}

// conflictOf names the computation that the fields of another would overwrite, and what under; nil where nothing
// is held for it.
func conflictOf(tx *state.Tx, fields []*state.Field) *domain.Conflict {
	for _, x := range fields {
		if x.Held == 0 {
			continue
		}
		p := tx.State.Rules.For(x.Key, x.ID)
		if rival := tx.State.Registry.Rival(x, &p, &tx.State.Rules); rival != nil && rival != x {
			return &domain.Conflict{Key: cmp.Or(rival.Key, rival.Column), ID: rival.ID, Name: domain.SentName(x.Kind(), x.Attribute(&p))}
		}
	}
	return nil
}

// Preview returns the lease that Take would commit, and changes nothing.
func (v *Reader) Preview(o domain.TakeOptions) (f *domain.Lease, err error) {
	err = v.Read(func(tx *state.Tx) error {
		f, _ = outbox.Take(tx, o)
		return nil
	})
	return f, err
}

// Sent returns the users and events that left in each second since the given time, for meters that
// must survive a restart. It reaches back two minutes.
func (v *Reader) Sent(since time.Time) (list []domain.SentSecond, err error) {
	err = v.Look(func(tx engine.Tx) error {
		c := tx.Bucket(state.BucketSent).Cursor()
		for k, val := c.Seek(state.NumberKey(uint64(max(since.Unix(), 0)))); k != nil; k, val = c.Next() {
			s := outbox.SentIn(val)
			s.At = time.Unix(int64(state.Number(k)), 0)
			list = append(list, s)
		}
		return nil
	})
	return list, err
}
