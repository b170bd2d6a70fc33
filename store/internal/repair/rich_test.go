package repair

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/apply"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/dirtest"
	"personasync/store/internal/outbox"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
	"personasync/store/internal/wal"
)

var later = statetest.Receipt.Add(time.Hour)

// leased leases what is due at an endpoint of at most so many users.
func leased(tx *state.Tx, at domain.Endpoint, users int) *domain.Lease {
	f, _ := outbox.Take(tx, domain.TakeOptions{
		Endpoint: at, Now: later, MaxUsers: users, MaxEvents: 1000,
		Due: func(string) time.Time { return later }, Fit: func(domain.UserChanges) bool { return true },
	})
	return f
}

func settled(tx *state.Tx, f *domain.Lease, one domain.Result) {
	o := domain.Settlement{Lease: f.ID, At: statetest.Noon} // long enough ago that no cohort waits for it
	for range f.Users {
		o.Results = append(o.Results, domain.UserResult{Attributes: one, Event: one})
	}
	outbox.Settle(tx, o)
}

// rich is a store with changes in every state and on every target, a request under way, an erased user, and entries in
// every other bucket.
func rich(t *testing.T) *dirtest.Dir {
	t.Helper()
	d := dirtest.New(t, domain.SendBoth|domain.SendCohort|domain.SendList)
	receive := func(list ...*domain.Event) {
		t.Helper()
		d.Receive(list...)
		d.Apply()
	}
	silent := func(e *domain.Event) { e.Flag = domain.FlagSilent } // gil has a history and no membership
	receive(statetest.Enter("gil", "vip", 1, statetest.AsStep("Step", "step-0"), silent), statetest.Enter("ann", "vip", 1), statetest.Enter("gone", "vip", 1))
	for _, at := range []domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort} {
		d.Write(func(tx *state.Tx) { settled(tx, leased(tx, at, 9), domain.Result{Verdict: domain.Delivered}) })
	}
	receive(statetest.Enter("bob", "vip", 2))
	d.Write(func(tx *state.Tx) {
		settled(tx, leased(tx, domain.EndpointTransition, 9), domain.Result{Verdict: domain.Parked, Reason: "no", Sentence: "No."})
	})
	receive(statetest.Enter("cid", "vip", 3))
	d.Write(func(tx *state.Tx) { leased(tx, domain.EndpointTransition, 1) })
	elsewhere := func(e *domain.Event) { e.Space, e.ComputationID = "spa_2", "aud_2" }
	faulty := func(e *domain.Event) { e.Fault = "undetermined" }
	receive(statetest.Exit("cid", "vip", 4), statetest.Enter("zoe", "vip", 4, elsewhere), statetest.Enter("dan", "top", 4, faulty), statetest.Trait("eve", "score", 4, "score", "7"),
		statetest.Enter("fay", "vip", 5, statetest.AsStep("Step", "step-1")), statetest.Enter("hal", "top", 6), statetest.Exit("hal", "vip", 7))
	d.Write(func(tx *state.Tx) { // a list of a rollout, and an enter that it does not reach; a paused audience, and an enter into it
		rules := tx.State.Rules
		own := rules.Defaults
		own.Rollout = &domain.Rollout{Share: 1, List: "pilot"}
		rules.Sections = []domain.Section{{Key: "pilot_only", Policy: own}}
		rules.Lists = map[string]domain.UserList{"pilot": domain.NewUserList([]string{"ann"})}
		rules.Paused = []domain.Pause{{Computation: "frozen", Why: "freeze"}}
		apply.Record(tx, record.Record{Seq: tx.State.Applied, Rules: &rules}, nil)
	})
	receive(statetest.Enter("ida", "pilot_only", 8), statetest.Enter("ida", "frozen", 9))
	sample := (&query.Sample{}).Encode(nil)
	d.Write(func(tx *state.Tx) {
		apply.Forget(tx, tx.User("gone"), later)
		tx.State.Rules.Deletes = domain.Deletes{Send: true, PerDay: 9}
		c := &outbox.Cause{Seq: tx.State.Applied, Slots: 100, Event: &domain.Event{Received: statetest.Receipt, MessageID: "delete-1"}}
		outbox.Delete(tx, tx.User("vera"), c, domain.BySegment)
	})
	d.Edit(func(kv engine.Tx) error {
		return errors.Join(kv.Bucket(state.BucketRuns).Put([]byte("job:nightly"), []byte(`{}`)), kv.Bucket(state.BucketSamples).Put(state.NumberKey(7), sample),
			kv.Bucket(state.BucketSent).Put(state.NumberKey(8), make([]byte, 8)), kv.Bucket(state.BucketJobs).Put(state.FieldKey(1), []byte("weekly")))
	})
	return d
}

// contents is every entry of the state, by bucket.
func contents(d *dirtest.Dir) map[string]string {
	all := make(map[string]string)
	d.Edit(func(kv engine.Tx) error {
		for _, name := range state.StateBuckets {
			var b strings.Builder
			err := kv.Bucket(name).ForEach(func(k, v []byte) error {
				for _, user := range []string{"ann", "gil"} {
					if bytes.Equal(k, binary.BigEndian.AppendUint16(state.UserKey(user), state.BlockIndex)) {
						return nil // it also says when MoEngage accepted something of them, which nothing else does
					}
				}
				if v != nil || !bytes.Equal(name, state.BucketMessages) {
					_, err := fmt.Fprintf(&b, "%x=%x\n", k, v)
					return err
				}
				return kv.Bucket(name).Inner(k).ForEach(func(id, _ []byte) error { _, err := fmt.Fprintf(&b, "%x/%x\n", k, id); return err })
			})
			if all[string(name)] = b.String(); err != nil {
				return err
			}
		}
		return nil
	})
	return all
}

// TestASalvageMakesEveryEntryAnewThatFollowsFromOthers: the locator, the due index, the pointers and the users' heads are
// what they were. Where pages were lost, MoEngage is told once more, so the rows differ.
func TestASalvageMakesEveryEntryAnewThatFollowsFromOthers(t *testing.T) {
	whole := rich(t)
	wantSound(t, whole)
	before, ledger := contents(whole), whole.Load().Ledger
	for _, name := range state.StateBuckets {
		if before[string(name)] == "" && !bytes.Equal(name, state.BucketDamaged) {
			t.Errorf("nothing is in %s", name)
		}
	}
	if l := ledger.Changes; l.Pending == 0 || l.Parked == 0 || l.Held == 0 || l.Delivered == 0 || ledger.Events.Parked != 1 {
		t.Fatalf("the ledger is %+v", ledger)
	}
	for name, page := range map[string]func(d *dirtest.Dir) uint64{
		"nothing":             nil,
		"the freelist":        func(d *dirtest.Dir) uint64 { return newest(d).Freelist },
		"the older meta page": func(d *dirtest.Dir) uint64 { return 1 - newest(d).Txid%2 },
		"the locator":         func(d *dirtest.Dir) uint64 { return rootOf(d, state.BucketLocator) },
		"the due index":       func(d *dirtest.Dir) uint64 { return rootOf(d, state.BucketDue) },
	} {
		t.Run(name, func(t *testing.T) {
			d := whole.Clone(t)
			if page != nil {
				at := page(d)
				if at == 0 {
					t.Skip("it has no page of its own")
				}
				d.Spoil(d.StatePath(), at)
			}
			s, err := salvage(d)
			must(t, err)
			wantSound(t, d)
			if s.Lost != (Stock{}) {
				t.Errorf("lost: %+v", s.Lost)
			}
			after := contents(d)
			for bucket, want := range before {
				if bucket == string(state.BucketRows) && !s.Whole() {
					continue
				}
				if after[bucket] != want {
					t.Errorf("%s was\n%sand is\n%s", bucket, want, after[bucket])
				}
			}
			if l := d.Load().Ledger; l.Changes != ledger.Changes || l.Events != ledger.Events || l.Users != ledger.Users || l.Tombstones != ledger.Tombstones || l.Backlog != ledger.Backlog {
				t.Errorf("the ledger was %+v and is %+v", ledger, l)
			}
		})
	}
}

// TestASalvageWithoutNamesLosesNoChange: entries are known by their shape. A request of which nothing is known may have
// arrived, so its changes are sent again.
func TestASalvageWithoutNamesLosesNoChange(t *testing.T) {
	d := rich(t)
	ledger, before := d.Load().Ledger, contents(d)
	d.Spoil(d.StatePath(), newest(d).Root)
	s, err := salvage(d)
	must(t, err)
	wantSound(t, d)
	after := contents(d)
	for _, name := range [][]byte{state.BucketFields, state.BucketRuns, state.BucketTombstones, state.BucketSent, state.BucketParked, state.BucketHeld} {
		if after[string(name)] != before[string(name)] {
			t.Errorf("%s was\n%sand is\n%s", name, before[string(name)], after[string(name)])
		}
	}
	if s.Saved.Users != ledger.Users || s.Saved.Pending < ledger.Changes.Pending || s.Saved.Held != ledger.Changes.Held || s.Saved.Parked != ledger.Changes.Parked+ledger.Events.Parked {
		t.Errorf("of %+v it saved %+v", ledger, s.Saved)
	}
}

func TestACheckCountsChangesInEveryState(t *testing.T) {
	d := rich(t)
	l := d.Load().Ledger
	r, err := Check(t.Context(), d.Path, nil)
	must(t, err)
	closed := l.Changes.Delivered + l.Changes.Superseded + l.Changes.Cancelled
	if !r.OK() || r.Users != l.Users || r.Pending != l.Changes.Pending || r.Held != l.Changes.Held || r.Parked != l.Changes.Parked+l.Events.Parked || r.History == 0 || r.History > closed || r.Due == 0 || r.Queued == 0 {
		t.Errorf("the ledger is %+v, the check counts %+v", l, r)
	}
}

func TestACheckFindsWhatNothingPointsAt(t *testing.T) {
	whole := rich(t)
	first := func(b engine.Bucket) (k, v []byte) { k, v = b.Cursor().First(); return bytes.Clone(k), bytes.Clone(v) }
	drop := func(name []byte) func(kv engine.Tx) error {
		return func(kv engine.Tx) error { k, _ := first(kv.Bucket(name)); return kv.Bucket(name).Delete(k) }
	}
	ledger := func(change func(l *state.Ledger)) func(kv engine.Tx) error {
		return func(kv engine.Tx) error {
			b := kv.Bucket(state.BucketMeta)
			l, err := state.DecodeLedger(b.Get(state.MetaLedger))
			change(&l)
			return errors.Join(err, b.Put(state.MetaLedger, l.Encode()))
		}
	}
	field := func(change func(f *state.Field)) func(kv engine.Tx) error {
		return func(kv engine.Tx) error {
			k, v := first(kv.Bucket(state.BucketFields))
			f, err := state.DecodeField(binary.BigEndian.Uint32(k), v)
			change(f)
			return errors.Join(err, kv.Bucket(state.BucketFields).Put(k, f.Encode(nil)))
		}
	}
	head := func(kv engine.Tx) (key []byte) { // of the first user with one
		_ = kv.Bucket(state.BucketRows).ForEach(func(k, _ []byte) error {
			if key == nil && binary.BigEndian.Uint16(k[len(k)-2:]) == state.BlockIndex {
				key = bytes.Clone(k)
			}
			return nil
		})
		return key
	}
	queued := func(change func(v []byte)) func(kv engine.Tx) error { // of a pending change
		return func(kv engine.Tx) error {
			b, c := kv.Bucket(state.BucketQueue), kv.Bucket(state.BucketQueue).Cursor()
			k, v := c.First()
			for len(v) <= 5 {
				k, v = c.Next()
			}
			k, v = bytes.Clone(k), bytes.Clone(v)
			change(v)
			return b.Put(k, v)
		}
	}
	move := func(from, to []byte) func(kv engine.Tx) error {
		return func(kv engine.Tx) error {
			k, v := first(kv.Bucket(from))
			return errors.Join(kv.Bucket(from).Delete(k), kv.Bucket(to).Put(k, v))
		}
	}
	for _, tc := range []struct {
		name, code, words string
		harm              func(kv engine.Tx) error
	}{
		{"a lost parked change", "pointer", "is not among the parked", func(kv engine.Tx) error {
			c := kv.Bucket(state.BucketParked).Cursor()
			k, _ := c.First()
			return kv.Bucket(state.BucketParked).Delete(bytes.Clone(k))
		}},
		{"a lost held change", "pointer", "is not among the held", drop(state.BucketHeld)},
		{"a change that is queued as one that was tried", "frame", "it is not due when its change says", queued(func(v []byte) { v[4] ^= 1 })},
		{"a change that is queued for another second", "frame", "it is not due when its change says", queued(func(v []byte) { v[3]++ })},
		{"a parked change among the held", "pointer", "stands among the held", move(state.BucketParked, state.BucketHeld)},
		{"a held change among the parked", "pointer", "stands among the parked", move(state.BucketHeld, state.BucketParked)},
		{"a parked change in the history", "pointer", "stands in the history", func(kv engine.Tx) error {
			k, _ := first(kv.Bucket(state.BucketHistory))
			_, v := first(kv.Bucket(state.BucketParked))
			return kv.Bucket(state.BucketHistory).Put(k, v)
		}},
		{"a change under another number", "pointer", "stands among the parked", func(kv engine.Tx) error {
			k, v := first(kv.Bucket(state.BucketParked))
			k[len(k)-1]++
			return kv.Bucket(state.BucketParked).Put(k, v)
		}},
		{"the history is longer than it says", "pointer", "lies behind its end at 0", func(kv engine.Tx) error {
			return kv.Bucket(state.BucketMeta).Put(state.MetaClosed, state.NumberKey(0))
		}},
		{"a lost history", "pointer", "which is not there", func(kv engine.Tx) error {
			var keys [][]byte
			err := kv.Bucket(state.BucketHistory).ForEach(func(k, _ []byte) error { keys = append(keys, bytes.Clone(k)); return nil })
			for _, k := range keys {
				err = errors.Join(err, kv.Bucket(state.BucketHistory).Delete(k))
			}
			return err
		}},
		{"a lost lease", "pointer", "is said to be in a request under way, and is in none", drop(state.BucketLeases)},
		{"a lost head", "pointer", "who has no pending index", func(kv engine.Tx) error {
			var last []byte
			_ = kv.Bucket(state.BucketQueue).ForEach(func(k, v []byte) error {
				if len(v) > 0 {
					last = bytes.Clone(k[:len(k)-14])
				}
				return nil
			})
			return kv.Bucket(state.BucketRows).Delete(binary.BigEndian.AppendUint16(last, state.BlockIndex))
		}},
		{"a damaged head", "frame", "rows", func(kv engine.Tx) error { return kv.Bucket(state.BucketRows).Put(head(kv), []byte("x")) }},
		{"a lost field", "members", "which does not exist", func(kv engine.Tx) error {
			k, _ := kv.Bucket(state.BucketFields).Cursor().Last()
			return kv.Bucket(state.BucketFields).Delete(bytes.Clone(k))
		}},
		{"members", "members", "members by its counter", field(func(f *state.Field) { f.Members++ })},
		{"held of a field", "members", "held changes by its counter", field(func(f *state.Field) { f.Held++ })},
		{"withheld of a field", "members", "withheld by its counter", field(func(f *state.Field) { f.Withheld++ })},
		{"users with pending changes", "ledger", "users with pending changes", ledger(func(l *state.Ledger) { l.Backlog.Users++ })},
		{"pending events", "ledger", "pending events", ledger(func(l *state.Ledger) { l.Backlog.Events++ })},
		{"pending members", "ledger", "pending cohort members", ledger(func(l *state.Ledger) { l.Backlog.Members++ })},
		{"consent", "frame", "rows", func(kv engine.Tx) error {
			return kv.Bucket(state.BucketRows).Put(binary.BigEndian.AppendUint16(state.UserKey("ann"), state.BlockConsent), []byte("x"))
		}},
		{"a due entry too many", "due", "the pending indexes ask for", func(kv engine.Tx) error {
			k, v := first(kv.Bucket(state.BucketDue))
			return kv.Bucket(state.BucketDue).Put(append(k, 0), v)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := whole.Clone(t)
			d.Edit(tc.harm)
			r, err := Check(t.Context(), d.Path, nil)
			must(t, err)
			for _, f := range r.Findings {
				if f.Code == tc.code && f.File == datadir.StateFile && strings.Contains(f.Message, tc.words) {
					return
				}
			}
			t.Errorf("%+v", r.Findings)
		})
	}
}

// TestACheckOfALiveStoreCountsTheSame as one of its files, but for the pages, and ends when it is told to.
func TestACheckOfALiveStoreCountsTheSame(t *testing.T) {
	d := crowded(t)
	want, err := Check(t.Context(), d.Path, nil)
	must(t, err)
	live := func(d *dirtest.Dir, ctx context.Context, progress func(done, total int64), halt func() error) (r *CheckReport, err error) {
		t.Helper()
		d.Open(true, func(db *bolt.State) error {
			inbox, failed := wal.OpenReadOnly(d.Path, 0, record.InboxRecords)
			must(t, failed)
			defer inbox.CloseFiles()
			r, err = CheckLive(ctx, &query.Reader{State: db, Inbox: inbox}, db, inbox, progress, halt)
			return nil
		})
		return r, err
	}
	last, whole, steps := int64(0), int64(0), 0
	r, err := live(d, t.Context(), func(done, total int64) {
		if done < last || done > total {
			t.Errorf("%d of %d after %d", done, total, last)
		}
		last, whole, steps = done, total, steps+1
	}, func() error { return nil })
	must(t, err)
	if last != whole || whole == 0 || whole >= 2*want.Bytes || steps < 2 {
		t.Errorf("%d of %d bytes in %d steps", last, whole, steps)
	}
	if !r.OK() || r.Pages || r.Users != want.Users || r.Pending != want.Pending || r.Rows != want.Rows || r.Queued != want.Queued || r.Due != want.Due || r.Records != want.Records || r.Bytes <= boltfile.Size(wal.Path(d.Path, 1)) || r.Bytes > want.Bytes {
		t.Errorf("%+v, want what a check of the files finds: %+v", r, want)
	}
	full, gone := errors.New("the disk is full"), errors.New("the caller went away")
	if _, err := live(d, t.Context(), nil, func() error { return full }); !errors.Is(err, full) {
		t.Errorf("halted: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if _, err := live(d, ctx, nil, func() error { return nil }); !errors.Is(err, gone) {
		t.Errorf("cancelled: %v", err)
	}
	harmed := rich(t)
	harmed.Edit(func(kv engine.Tx) error {
		k, _ := kv.Bucket(state.BucketHeld).Cursor().First()
		return kv.Bucket(state.BucketHeld).Delete(bytes.Clone(k))
	})
	if r, err = live(harmed, t.Context(), nil, func() error { return nil }); err != nil || r.OK() || r.Findings[0].File != datadir.StateFile {
		t.Errorf("of a harmed store: %v, %+v", err, r)
	}
}
