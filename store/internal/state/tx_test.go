package state_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
	"personasync/store/internal/wire"
)

var noon, receipt = statetest.Noon, statetest.Receipt

func newDB(t testing.TB) *statetest.DB { return statetest.New(t, statetest.Rules(domain.SendBoth)) }

// says is an assertion of a value at a second.
func says(value string, second int64) *domain.Assertion {
	return &domain.Assertion{Value: []byte(value), Time: second * 1e9, Since: second * 1e9, Message: "m", Seq: uint64(second)}
}

// keep has a user say a value of a field.
func keep(tx *state.Tx, user string, field uint32, s *domain.Assertion) {
	u := tx.User(user)
	tx.Entry(u, field).Kept = [3]*domain.Assertion{s}
	tx.Write(u, field)
}

func TestAUserIsReadOnceAndWrittenByFlush(t *testing.T) {
	d := newDB(t)
	d.Do(func(tx *state.Tx) {
		u := tx.User("ann")
		if tx.User("ann") != u || u.ID != "ann" || !u.Index.Empty() {
			t.Error("a user is read twice, or not as one without rows")
		}
		keep(tx, "ann", 3, says("true", 5))
		tx.Entry(tx.User("bob"), 3).Kept[0] = says("true", 6) // not said to be written
	})
	d.Read(func(tx *state.Tx) {
		if e := tx.Entry(tx.User("ann"), 3); e.Newest() == nil || !e.Newest().IsIn() || e.Newest().Seq != 5 || e.Newest().Message != "m" {
			t.Errorf("ann is kept as %+v", e)
		}
		if tx.Entry(tx.User("bob"), 3).Newest() != nil || tx.Entry(tx.User("ann"), 4).Newest() != nil {
			t.Error("something is kept that was not written")
		}
	})
}

// TestUsersAreCounted: one who has a membership row, however many, and nobody who has none.
func TestUsersAreCounted(t *testing.T) {
	far := []uint32{0, 70, 140, 210, 280, 350} // a row each, and more than are read at once
	for n := 1; n <= len(far); n++ {
		d := newDB(t)
		want := func(users uint64) {
			t.Helper()
			if d.State.Ledger.Users != users {
				t.Errorf("with %d rows %d users are counted, want %d", n, d.State.Ledger.Users, users)
			}
		}
		d.Do(func(tx *state.Tx) {
			for _, f := range far[:n] {
				keep(tx, "ann", f, says("true", 1))
			}
		})
		want(1)
		d.Do(func(tx *state.Tx) { keep(tx, "bob", 0, says("true", 1)) })
		want(2)
		d.Do(func(tx *state.Tx) { keep(tx, "ann", far[0], says("false", 2)) }) // again
		want(2)
		for i, f := range far[:n] {
			d.Do(func(tx *state.Tx) {
				u := tx.User("ann")
				*tx.Entry(u, f) = state.Entry{Column: uint8(f % state.BlockSize)}
				tx.Write(u, f)
			})
			want(map[bool]uint64{true: 1, false: 2}[i == n-1])
		}
		if rows := len(d.Keys(state.BucketRows)); rows != 1 {
			t.Errorf("%d rows are left", rows)
		}
	}
}

func TestAllRowsOfAUserAreRead(t *testing.T) {
	d := newDB(t)
	d.Do(func(tx *state.Tx) {
		for f := uint32(0); f < 600; f += 50 {
			keep(tx, "ann", f, says("true", int64(f+1)))
		}
		keep(tx, "an", 0, says("false", 1)) // a prefix of another's id
		keep(tx, "anna", 0, says("false", 1))
		u := tx.User("ann")
		u.Index.History, u.Dirty = 4, true
	})
	d.Read(func(tx *state.Tx) {
		u := tx.User("ann")
		for f := uint32(0); f < 600; f += 50 {
			if s := tx.Entry(u, f).Newest(); s == nil || s.Seq != uint64(f+1) {
				t.Errorf("field %d has %+v", f, s)
			}
		}
		if u.Index.History != 4 {
			t.Errorf("the history is %d", u.Index.History)
		}
	})
}

func TestAnEmptyIndexHasNoRow(t *testing.T) {
	d := newDB(t)
	set := func(h uint64) {
		d.Do(func(tx *state.Tx) { u := tx.User("ann"); u.Index.History, u.Dirty = h, true })
	}
	set(1)
	if n := len(d.Keys(state.BucketRows)); n != 1 {
		t.Errorf("%d rows", n)
	}
	if set(0); len(d.Keys(state.BucketRows)) != 0 {
		t.Error("the row of an empty index stays")
	}
}

// TestTheDueIndexFollowsTheUsersRow, and so does the backlog.
func TestTheDueIndexFollowsTheUsersRow(t *testing.T) {
	d := newDB(t)
	change := func(f func(h *state.PendingIndex)) (woke [domain.Endpoints]bool) {
		d.Do(func(tx *state.Tx) {
			u := tx.User("ann")
			f(u.Index)
			u.Dirty = true
			d.Must(tx.Flush())
			woke = tx.Woke
		})
		return woke
	}
	places := func(want ...string) {
		t.Helper()
		var got []string
		for _, k := range d.Keys(state.BucketDue) {
			lane, second, user := state.DueParts(k)
			id, _, _ := state.UserOf(user)
			got = append(got, fmt.Sprintf("%d/%d/%d/%s", k[0], lane, second, id))
		}
		if !slices.Equal(got, want) {
			t.Errorf("the due index has %v, want %v", got, want)
		}
	}
	woke := change(func(h *state.PendingIndex) {
		h.Endpoint(domain.EndpointTransition).Add(state.LaneDefault, 10)
		h.SetPending(3, true)
	})
	places("1/0/10/ann")
	if woke != [domain.Endpoints]bool{true, false} || d.State.Ledger.Backlog != (domain.Backlog{Users: 1}) {
		t.Errorf("woke %v, backlog %+v", woke, d.State.Ledger.Backlog)
	}
	woke = change(func(h *state.PendingIndex) { h.Endpoint(domain.EndpointTransition).Add(state.LaneDefault, 11) })
	places("1/0/10/ann")
	if woke != [domain.Endpoints]bool{} || d.State.Ledger.Backlog != (domain.Backlog{Users: 1, Events: 1}) {
		t.Errorf("woke %v, backlog %+v", woke, d.State.Ledger.Backlog)
	}
	woke = change(func(h *state.PendingIndex) {
		h.Endpoint(domain.EndpointTransition).Retry = 20
		h.Endpoint(domain.EndpointCohort).Add(5, 9)
	})
	places("1/4294967295/20/ann", "2/5/9/ann")
	if woke != [domain.Endpoints]bool{true, true} || d.State.Ledger.Backlog != (domain.Backlog{Events: 2, Members: 1}) {
		t.Errorf("woke %v, backlog %+v", woke, d.State.Ledger.Backlog)
	}
	change(func(h *state.PendingIndex) { *h = state.PendingIndex{} })
	places()
	if d.State.Ledger.Backlog != (domain.Backlog{}) {
		t.Errorf("backlog %+v", d.State.Ledger.Backlog)
	}
	d.Read(func(tx *state.Tx) {
		if !state.NobodyIsDue(tx) {
			t.Error("somebody is due")
		}
	})
}

// TestACorruptRowIsSetAside: it is counted, kept, and stops nothing else.
func TestACorruptRowIsSetAside(t *testing.T) {
	for name, number := range map[string]uint16{"a membership": 0, "the index": state.BlockIndex} {
		d := newDB(t)
		key := state.RowKey(state.UserKey("ann"), number)
		d.Do(func(tx *state.Tx) { keep(tx, "ann", 0, says("true", 1)); keep(tx, "bob", 0, says("true", 1)) })
		d.Put(state.BucketRows, key, []byte("rubbish"))
		d.Read(func(tx *state.Tx) {
			tx.Entry(tx.User("ann"), 0)
			if len(d.Logged()) == 0 || tx.State.Ledger.Damaged != 1 || tx.Err != nil || !tx.Aside {
				t.Errorf("%s: a reader finds %+v, %v", name, tx.State.Ledger, tx.Err)
			}
		})
		if n := len(d.Keys(state.BucketDamaged)); n != 0 {
			t.Errorf("%s: a reader moved %d rows", name, n)
		}
		d.Do(func(tx *state.Tx) { tx.Entry(tx.User("ann"), 0); tx.Entry(tx.User("bob"), 0) })
		if d.State.Ledger.Damaged != 1 {
			t.Errorf("%s: %d are counted", name, d.State.Ledger.Damaged)
		}
		if k := d.Keys(state.BucketDamaged); len(k) != 1 || string(k[0]) != "rows\x00"+string(key) {
			t.Errorf("%s: set aside are %q", name, k)
		}
		if slices.ContainsFunc(d.Keys(state.BucketRows), func(k []byte) bool { return string(k) == string(key) }) {
			t.Errorf("%s: the row is still there", name)
		}
		if log := d.Logged(); !strings.Contains(log, "quarantined") || !strings.Contains(log, "bucket=rows") || strings.Contains(log, "ann") {
			t.Errorf("%s: the log says %s", name, log)
		}
	}
}

// TestARowOfANewerVersionFailsTheTransaction: a downgrade must not lose it.
func TestARowOfANewerVersionFailsTheTransaction(t *testing.T) {
	for name, number := range map[string]uint16{"a membership": 0, "the index": state.BlockIndex} {
		d := newDB(t)
		key := state.RowKey(state.UserKey("ann"), number)
		newer := wire.SealKeyed([]byte{99, 1, 2}, 0, key)
		d.Put(state.BucketRows, key, newer)
		err := d.Try(func(tx *state.Tx) { tx.Entry(tx.User("ann"), 0); keep(tx, "bob", 0, says("true", 1)) })
		if !errors.Is(err, wire.ErrNewer) || !strings.Contains(err.Error(), "install the newer version again") {
			t.Errorf("%s: %v", name, err)
		}
		if k := d.Keys(state.BucketRows); len(k) != 1 || len(d.Keys(state.BucketDamaged)) != 0 {
			t.Errorf("%s: the rows are %q", name, k)
		}
	}
}

func TestAKeyThatIsNotOfAUserIsAContradiction(t *testing.T) {
	d := newDB(t)
	d.Do(func(tx *state.Tx) { keep(tx, "ann", 0, says("true", 1)) })
	d.Put(state.BucketRows, append(state.UserKey("ann"), 0, 0, 0), []byte("x"))
	d.Do(func(tx *state.Tx) {
		if !tx.Entry(tx.User("ann"), 0).Newest().IsIn() {
			t.Error("the row beside it is not read")
		}
		if !tx.Aside {
			t.Error("it is not noted")
		}
	})
	if log := d.Logged(); !strings.Contains(log, "contradict") {
		t.Errorf("the log says %q", log)
	}
	d.Do(func(tx *state.Tx) { tx.Entry(tx.User("ann"), 0) })
	if log := d.Logged(); log != "" {
		t.Errorf("it is said again: %s", log)
	}
}

func TestTheFirstFailedWriteFailsTheTransaction(t *testing.T) {
	d := newDB(t)
	err := d.Try(func(tx *state.Tx) {
		tx.Put(tx.Rows, nil, []byte("x")) // a key that no bucket takes
		tx.Put(tx.Rows, []byte("k"), []byte("x"))
		tx.Remove(tx.Rows, []byte("k"))
		tx.Contradiction("nothing")
	})
	if err == nil || len(d.Keys(state.BucketRows)) != 0 || d.Logged() != "" {
		t.Errorf("it ended with %v", err)
	}
}

func TestAReaderDecidesAndWritesNothing(t *testing.T) {
	d := newDB(t)
	d.Read(func(tx *state.Tx) {
		if !tx.Dry {
			t.Fatal("a reader is not told from a writer")
		}
		keep(tx, "ann", 0, says("true", 1))
		tx.NewField(&state.Field{Key: "vip"})
		tx.Put(tx.Rows, []byte("k"), []byte("v"))
		tx.Remove(tx.Rows, []byte("k"))
		tx.Verdict(1, domain.OutcomeParked)
		tx.Contradiction("nothing")
		d.Must(tx.Flush())
	})
	if len(d.Keys(state.BucketRows))+len(d.Keys(state.BucketFields))+len(d.Keys(state.BucketVerdicts)) != 0 || d.Logged() != "" {
		t.Error("a reader wrote")
	}
}

func TestThePositionAndTheLedgerAreWrittenTogether(t *testing.T) {
	d := newDB(t)
	d.Do(func(tx *state.Tx) {
		tx.State.Applied, tx.State.Closed = 17, 5
		tx.State.Ledger = state.Ledger{Users: 2, Rejected: 3, Tombstones: 4, Damaged: 5, Events: domain.EventLedger{Accepted: 9, Lost: 9}, Backlog: domain.Backlog{Users: 1, Events: 2, Members: 3}}
	})
	before := d.State.Ledger
	d.Reopen()
	if d.State.Applied != 17 || d.State.Closed != 5 || d.State.Ledger != before || len(d.State.Salt) != 16 {
		t.Errorf("the file has %d, %d, %+v", d.State.Applied, d.State.Closed, d.State.Ledger)
	}
}

func TestALongFrameHasMemoryOfItsOwn(t *testing.T) {
	d := newDB(t)
	d.Do(func(tx *state.Tx) {
		var frames [][]byte
		for i := range 100 {
			frames = append(frames, tx.Frame(func(buf []byte) []byte { return append(buf, strings.Repeat(string(rune('a'+i%26)), 10_000)...) }))
		}
		for i, f := range frames {
			if len(f) != 10_000 || cap(f) != len(f) || f[0] != byte('a'+i%26) || f[9999] != f[0] {
				t.Fatalf("frame %d became %d bytes of %q", i, len(f), f[:1])
			}
		}
	})
}

func TestFieldsAreNumberedInOrder(t *testing.T) {
	d := newDB(t)
	var vip, row *state.Field
	d.Do(func(tx *state.Tx) {
		vip = tx.NewField(&state.Field{Key: "vip", Space: "spa_1", ID: "aud_1", Class: domain.ClassAudience})
		row = tx.NewField(&state.Field{Key: "row", Class: domain.ClassTrait})
		col := state.FieldBeside(tx, row, "a", domain.ClassTrait)
		if vip.Number != 0 || row.Number != 1 || col.Number != 2 || state.FieldBeside(tx, row, "a", domain.ClassTrait) != col || tx.FieldOf(2) != col || tx.FieldOf(3) != nil || tx.FieldOf(^uint32(0)) != nil {
			t.Errorf("they are %d, %d, %d", vip.Number, row.Number, col.Number)
		}
		if col.Key != "row" || col.Column != "a" || col.SQLColumn() != "a" {
			t.Errorf("the column is %+v", col)
		}
		p := statetest.Policy(domain.SendAttribute | domain.SendCohort | domain.SendList)
		targets := state.Targets(tx, vip, &p)
		if len(targets) != 2 || targets[0].Kind() != domain.KindCohort || targets[1].Kind() != domain.KindList || targets[0].Space != "spa_1" || targets[0].ID != "aud_1" {
			t.Errorf("the targets are %+v", targets)
		}
		none := statetest.Policy(domain.SendBoth)
		if len(state.Targets(tx, vip, &none)) != 0 {
			t.Error("an attribute is a target of its own")
		}
		vip.Held, targets[1].Held = 2, 3
		if state.HeldOf(tx, vip) != 5 {
			t.Errorf("%d are held", state.HeldOf(tx, vip))
		}
		vip.Members = 8
		tx.Touch(vip)
	})
	d.Reopen()
	if f := d.State.Registry.Fields; len(f) != 5 || f[0].Members != 8 || f[0].Held != 2 || f[2].Column != "a" {
		t.Errorf("the file has %d fields", len(f))
	}
}

func TestAFieldThatIsMissingIsDamage(t *testing.T) {
	d := newDB(t)
	d.Do(func(tx *state.Tx) {
		for _, k := range []string{"a", "b", "c"} {
			tx.NewField(&state.Field{Key: k})
		}
	})
	d.Do(func(tx *state.Tx) { tx.Remove(tx.Bucket(state.BucketFields), state.FieldKey(1)) })
	if err := d.Load(); !errors.Is(err, wire.ErrDamaged) {
		t.Errorf("rows refer to fields by number, and a gap is read: %v", err)
	}
}

func TestOutcomesAreKeptByRecord(t *testing.T) {
	d := newDB(t)
	note := func(from, to uint64, o domain.Outcome) {
		d.Do(func(tx *state.Tx) {
			for n := from; n <= to; n++ {
				tx.Verdict(n, o)
			}
			tx.State.Applied = to
		})
	}
	of := func(n uint64) (o domain.Outcome) {
		d.Read(func(tx *state.Tx) { o = state.ReadVerdicts(tx.Bucket(state.BucketVerdicts), tx.State.Applied).Of(n) })
		return o
	}
	note(1, 3, domain.OutcomeTransition)
	note(5, 5, domain.OutcomeParked) // 4 was no event
	note(1022, 1026, domain.OutcomeIgnored)
	for n, want := range map[uint64]domain.Outcome{
		0: domain.OutcomeUnknown, 1: domain.OutcomeTransition, 3: domain.OutcomeTransition, 4: domain.OutcomeUnknown, 5: domain.OutcomeParked,
		6: domain.OutcomeUnknown, 1021: domain.OutcomeUnknown, 1022: domain.OutcomeIgnored, 1023: domain.OutcomeIgnored, 1024: domain.OutcomeIgnored, 1026: domain.OutcomeIgnored, 1027: domain.OutcomeUnknown,
	} {
		if got := of(n); got != want {
			t.Errorf("record %d came to %q, want %q", n, got, want)
		}
	}
	d.Do(func(tx *state.Tx) { // the numbers jump, as after a restore
		tx.Verdict(1027, domain.OutcomeStale)
		tx.Verdict(1<<40, domain.OutcomeDuplicate)
		tx.State.Applied = 1 << 40
	})
	if got := of(1 << 40); got != domain.OutcomeDuplicate || len(d.Keys(state.BucketVerdicts)) != 3 {
		t.Errorf("behind a jump it is %q, in %d values", got, len(d.Keys(state.BucketVerdicts)))
	}
	if of(1027) != domain.OutcomeUnknown {
		t.Error("outcomes too far behind are read")
	}
	d.Do(func(tx *state.Tx) { state.PruneVerdicts(tx, 2*state.VerdictsOf-1) })
	if k := d.Keys(state.BucketVerdicts); len(k) != 2 || state.Number(k[0]) != 1 {
		t.Errorf("%d values are left, from %d", len(k), state.Number(k[0]))
	}
	d.Do(func(tx *state.Tx) { state.PruneVerdicts(tx, 2*state.VerdictsOf) })
	if k := d.Keys(state.BucketVerdicts); len(k) != 1 {
		t.Errorf("%d values are left", len(k))
	}
}

func TestJobsAreNumberedOnce(t *testing.T) {
	d := newDB(t)
	numbers := func(names ...string) (list []uint32) {
		d.Do(func(tx *state.Tx) {
			for _, n := range names {
				list = append(list, state.JobNumber(tx, n))
			}
		})
		return list
	}
	if got := numbers("", "nightly", "hourly", "nightly"); !slices.Equal(got, []uint32{0, 1, 2, 1}) {
		t.Errorf("they are %v", got)
	}
	d.Reopen()
	if got := numbers("hourly", "new", ""); !slices.Equal(got, []uint32{2, 3, 0}) {
		t.Errorf("after a start they are %v", got)
	}
	rules := statetest.Rules(domain.SendBoth)
	nightly := rules.Defaults
	nightly.Job = "nightly"
	rules.Sections = []domain.Section{{Key: "vip", Policy: nightly}}
	d.SetRules(rules)
	for lane, want := range map[uint32]string{0: "", 1: "nightly", 2: "", 3: "", 99: "", state.LaneRetry: ""} {
		if got := d.State.Job(lane); got != want {
			t.Errorf("lane %d follows %q, want %q", lane, got, want)
		}
	}
}

func TestEpochsBeginWhereAStartSaysSo(t *testing.T) {
	d := newDB(t)
	move := func(home string, first uint64, epoch uint32) {
		d.Do(func(tx *state.Tx) { state.MoveIn(tx, &state.Arrival{Home: []byte(home), First: first, Epoch: epoch}) })
		d.Reopen()
	}
	want := func(home string, list ...record.EpochFrom) {
		t.Helper()
		if got := d.State.Epochs; !slices.Equal(got, append(record.Epochs{{Epoch: statetest.Epoch}}, list...)) || string(d.State.Home) != home {
			t.Errorf("at %s the epochs are %v", d.State.Home, got)
		}
	}
	move("a", 1, 0)
	want("a")
	move("b", 10, 8)
	want("b", record.EpochFrom{First: 10, Epoch: 8})
	move("c", 10, 9) // the run before assigned no number
	want("c", record.EpochFrom{First: 10, Epoch: 9})
	move("d", 20, 11)
	want("d", record.EpochFrom{First: 10, Epoch: 9}, record.EpochFrom{First: 20, Epoch: 11})
	move("e", 20, 0)
	want("e", record.EpochFrom{First: 10, Epoch: 9}, record.EpochFrom{First: 20, Epoch: 11})
}

func TestLeasesAreReadBack(t *testing.T) {
	d := newDB(t)
	one := &state.Lease{Number: 3, Endpoint: domain.EndpointTransition, Second: 9, List: []state.LeasedUser{
		{User: "ann", Attributes: []state.LeasedChange{{Number: 1, ID: domain.ID{Epoch: 7, Seq: 4}}}, Queued: state.LeasedChange{Number: 2, ID: domain.ID{Epoch: 7, Seq: 5, Slot: 1}}},
		{User: "bob", Queued: state.LeasedChange{ID: domain.ID{Epoch: 7, Seq: 6}}, Loose: true},
	}}
	d.Put(state.BucketLeases, state.NumberKey(3), one.Encode())
	d.Put(state.BucketLeases, state.NumberKey(4), []byte("rubbish"))
	d.Reopen()
	if len(d.State.Leases) != 1 || !slices.Equal(d.State.CorruptLeases, []uint64{4}) || len(d.State.InFlight) != 2 {
		t.Fatalf("%d leases, corrupt are %v", len(d.State.Leases), d.State.CorruptLeases)
	}
	for _, tc := range []struct {
		endpoint        domain.Endpoint
		user            string
		seq             uint64
		slot            uint16
		inRow, anywhere bool
	}{
		{domain.EndpointTransition, "ann", 4, 0, true, true}, {domain.EndpointTransition, "ann", 5, 1, false, true}, {domain.EndpointTransition, "ann", 5, 0, false, false},
		{domain.EndpointTransition, "bob", 6, 0, false, true}, {domain.EndpointCohort, "ann", 4, 0, false, false}, {domain.EndpointTransition, "cid", 4, 0, false, false},
	} {
		id := domain.ID{Epoch: 7, Seq: tc.seq, Slot: tc.slot}
		if row, any := d.State.IsInFlight(tc.endpoint, tc.user, id), d.State.UnderWay(tc.endpoint, tc.user, id); row != tc.inRow || any != tc.anywhere {
			t.Errorf("%s of %s on %d is in flight: %v in its row, %v", id, tc.user, tc.endpoint, row, any)
		}
	}
	f := d.State.Leases[3]
	if got := f.Counts(); got != (domain.SentSecond{Users: 2, Events: 1}) {
		t.Errorf("it counts as %+v", got)
	}
	f.Endpoint = domain.EndpointCohort
	if got := f.Counts(); got != (domain.SentSecond{Cohorts: 1}) {
		t.Errorf("on cohorts it counts as %+v", got)
	}
	f.Endpoint = domain.EndpointTransition
	if d.State.EndLease(f); len(d.State.Leases)+len(d.State.InFlight) != 0 {
		t.Error("it is still there")
	}
}

// TestAFileThatDidNotCountItsBacklogIsCounted from the pending indexes.
func TestAFileThatDidNotCountItsBacklogIsCounted(t *testing.T) {
	d := newDB(t)
	d.Do(func(tx *state.Tx) {
		for i, u := range []string{"ann", "bob", "cid"} {
			user := tx.User(u)
			user.Index.Endpoint(domain.EndpointTransition).Add(state.LaneDefault, 10)
			user.Index.SetPending(3, i > 0)
			user.Dirty = true
			keep(tx, u, 3, says("true", 1))
		}
	})
	want := domain.Backlog{Users: 2, Events: 1}
	if d.State.Ledger.Backlog != want {
		t.Fatalf("it is %+v", d.State.Ledger.Backlog)
	}
	if d.Reopen(); d.State.Ledger.Backlog != want {
		t.Fatalf("one that is counted comes to %+v after a start", d.State.Ledger.Backlog)
	}
	old := []byte{1}
	for range 24 {
		old = wire.AppendUint(old, 6)
	}
	d.Do(func(*state.Tx) {})
	d.Put(state.BucketMeta, state.MetaLedger, wire.Seal(old, 0))
	d.Put(state.BucketRows, state.RowKey(state.UserKey("bob"), state.BlockIndex), []byte("rubbish"))
	d.Reopen()
	want.Users--
	if l := d.State.Ledger; l.Backlog != want || l.Uncounted || l.Users != 6 || l.Events.Lost != 6 || l.Changes.Lost != 6 {
		t.Errorf("it is %+v", l)
	}
}

func TestAQueueValueIsSplit(t *testing.T) {
	d := newDB(t)
	d.Do(func(tx *state.Tx) {
		ch := &state.Stored{Change: domain.Change{ID: domain.ID{Epoch: 7, Seq: 4}, User: "ann", Kind: domain.KindEvent, Attempts: 1}}
		v := tx.QueueValue(77, ch)
		due, tried, frame := state.ParseQueueValue(v)
		if got := tx.Decode(frame); due != 77 || !tried || got == nil || got.User != "ann" {
			t.Errorf("%d, %v, %+v", due, tried, got)
		}
		ch.Attempts = 0
		if _, tried, _ := state.ParseQueueValue(tx.QueueValue(77, ch)); tried {
			t.Error("it was tried")
		}
		for _, short := range [][]byte{nil, {1, 2, 3, 4}} {
			if _, _, frame := state.ParseQueueValue(short); frame != nil {
				t.Errorf("%x has a change", short)
			}
		}
		if tx.Decode(nil) != nil || tx.Aside {
			t.Error("nothing is a corrupt change")
		}
		if tx.Decode([]byte("rubbish")) != nil || !tx.Aside {
			t.Error("a corrupt change is read")
		}
	})
	err := d.Try(func(tx *state.Tx) { tx.Decode(wire.Seal([]byte{state.ChangeVersion + 1}, 0)) })
	if !errors.Is(err, wire.ErrNewer) {
		t.Errorf("a change of a newer version: %v", err)
	}
}

// TestAChangeIsFoundWhereverItIs by its id alone.
func TestAChangeIsFoundWhereverItIs(t *testing.T) {
	d := newDB(t)
	id := func(seq uint64) domain.ID { return domain.ID{Epoch: statetest.Epoch, Seq: seq} }
	change := func(seq uint64, kind domain.Kind, s domain.State) *state.Stored {
		return &state.Stored{Change: domain.Change{ID: id(seq), Kind: kind, User: "ann", State: s}, Lane: 5}
	}
	d.Do(func(tx *state.Tx) {
		f := tx.NewField(&state.Field{Key: "vip", Class: domain.ClassAudience, Held: 1})
		u := tx.User("ann")
		tx.State.Ledger.Changes = domain.ChangeLedger{Created: 6, Parked: 1, Held: 1, Pending: 3}
		parked, held, queued := change(1, domain.KindEvent, domain.StateParked), change(2, domain.KindEvent, domain.StateHeld), change(3, domain.KindEvent, domain.StatePending)
		tx.Put(tx.Parked, state.IDKey(parked.ID), parked.Encode(nil))
		tx.Put(tx.Held, state.IDKey(held.ID), held.Encode(nil))
		tx.Locate(queued)
		tx.Put(tx.Queue, state.QueueKey(u.Key, 5, queued.ID), tx.QueueValue(1, queued))
		e := tx.Entry(u, f.Number)
		e.Waiting = state.Ticket{ID: id(4), Value: []byte("true"), Name: "vip", Received: receipt.UnixNano(), Failures: &state.Failures{Attempts: 2, Alone: 1, Reason: "503", Next: noon}}
		e.InFlight = state.Ticket{ID: id(5), Value: []byte("false")}
		tx.Write(u, f.Number)
		for _, seq := range []uint64{4, 5} {
			tx.Locate(change(seq, domain.KindAttribute, domain.StatePending))
		}
		for _, seq := range []uint64{6, 7} {
			closed := change(seq, domain.KindAttribute, domain.StatePending)
			tx.Locate(closed)
			tx.Close(u, closed, domain.StateDelivered, receipt)
		}
	})
	for seq, want := range map[uint64]domain.State{1: domain.StateParked, 2: domain.StateHeld, 3: domain.StatePending, 4: domain.StatePending, 5: domain.StatePending, 6: domain.StateDelivered, 7: domain.StateDelivered, 8: 0} {
		d.Read(func(tx *state.Tx) {
			ch := state.Find(tx, id(seq))
			if want == 0 {
				if ch != nil {
					t.Errorf("%d is found as %+v", seq, ch)
				}
				return
			}
			if ch == nil || ch.ID != id(seq) || ch.State != want || ch.User != "ann" {
				t.Errorf("%d is found as %+v", seq, ch)
			}
			if seq == 4 && (ch.Attempts != 2 || ch.Alone != 1 || ch.Reason != "503" || !ch.NextAttempt.Equal(noon) || ch.Name != "vip" || ch.Computation != "vip" || ch.Endpoint != domain.EndpointTransition || !ch.Received.Equal(receipt)) {
				t.Errorf("its ticket stands for %+v", ch)
			}
		})
	}
	d.Do(func(tx *state.Tx) { // the oldest of the chain goes
		tx.Remove(tx.History, state.NumberKey(1))
		if ch := state.Find(tx, id(6)); ch != nil {
			t.Errorf("a pruned change is found: %+v", ch)
		}
		u, f := tx.User("ann"), tx.FieldOf(0)
		for place, want := range map[byte]uint64{state.PlaceParked: 1, state.PlaceHeld: 2} {
			if ch := tx.ChangeAt(u, f, &state.Ticket{ID: id(want), Place: place}); ch == nil || ch.ID.Seq != want {
				t.Errorf("a ticket at %d stands for %+v", place, ch)
			}
		}
		tx.Withdraw(state.Find(tx, id(1)))
		tx.Withdraw(state.Find(tx, id(2)))
		if l := tx.State.Ledger.Changes; l.Parked != 0 || l.Held != 0 || f.Held != 0 || state.Find(tx, id(1)) != nil || state.Find(tx, id(2)) != nil {
			t.Errorf("withdrawn, and the ledger is %+v", l)
		}
		event := &state.Stored{Change: domain.Change{ID: id(9), Kind: domain.KindReceived, State: domain.StateParked}}
		tx.State.Ledger.Events.Parked = 1
		if tx.Withdraw(event); tx.State.Ledger.Events.Parked != 0 || tx.State.Ledger.Changes.Parked != 0 {
			t.Errorf("a received event is counted as a change: %+v", tx.State.Ledger)
		}
		held := &state.Stored{Change: domain.Change{ID: id(9), State: domain.StateHeld}, Field: 0}
		tx.State.Ledger.Changes.Held = 1
		if tx.Withdraw(held); f.Held != 0 {
			t.Errorf("%d are held", f.Held)
		}
	})
}

func TestAClosedChangeIsTheNewestOfItsUsersChain(t *testing.T) {
	d := newDB(t)
	d.Do(func(tx *state.Tx) {
		for i, s := range []domain.State{domain.StateDelivered, domain.StateSuperseded, domain.StateCancelled, domain.StateDropped, domain.StateExpired} {
			ch := &state.Stored{Change: domain.Change{ID: domain.ID{Epoch: 7, Seq: uint64(i + 1)}, User: "ann", NextAttempt: noon}}
			tx.Close(tx.User("ann"), ch, s, receipt.Add(time.Duration(i)))
		}
	})
	if got := d.State.Ledger.Changes; got != (domain.ChangeLedger{Delivered: 1, Superseded: 1, Cancelled: 1, Dropped: 1, Expired: 1}) {
		t.Errorf("%+v", got)
	}
	d.Read(func(tx *state.Tx) {
		n := tx.User("ann").Index.History
		for want := uint64(5); want > 0; want-- {
			ch := tx.Fetch(tx.History, state.NumberKey(n))
			if ch == nil || ch.ID.Seq != want || !ch.NextAttempt.IsZero() || !ch.Closed.Equal(receipt.Add(time.Duration(want-1))) {
				t.Fatalf("entry %d is %+v", n, ch)
			}
			n = ch.Prev
		}
		if n != 0 {
			t.Errorf("the chain goes on at %d", n)
		}
	})
}

func TestKeysSortAsTheirValues(t *testing.T) {
	if got := state.Number(state.NumberKey(1 << 40)); got != 1<<40 || state.Number([]byte{1}) != 0 {
		t.Errorf("a number is read as %d", got)
	}
	less := func(a, b []byte) {
		t.Helper()
		if string(a) >= string(b) {
			t.Errorf("%x does not sort before %x", a, b)
		}
	}
	less(state.NumberKey(255), state.NumberKey(256))
	less(state.IDKey(domain.ID{Seq: 1, Slot: 9}), state.IDKey(domain.ID{Seq: 2}))
	less(state.IDKey(domain.ID{Seq: 1, Slot: 255}), state.IDKey(domain.ID{Seq: 1, Slot: 256}))
	u := state.UserKey("ann")
	less(state.QueueKey(u, 1, domain.ID{Seq: 9}), state.QueueKey(u, 2, domain.ID{Seq: 1}))
	less(state.DueKey(1, 5, 255, u), state.DueKey(1, 5, 256, u))
	less(state.DueKey(1, 5, 9, u), state.DueKey(1, 6, 0, u))
	less(state.DueKey(1, 5, 9, u), state.DueKey(2, 0, 0, u))
	less(state.RowKey(u, 9), state.RowKey(u, state.BlockIndex))
	if lane, second, user := state.DueParts(state.DuePlace{Endpoint: 2, Lane: 7, Second: 9}.Key(u)); lane != 7 || second != 9 || string(user) != string(u) {
		t.Errorf("a place is split into %d, %d, %x", lane, second, user)
	}
	for _, id := range []string{"", "a", "ann", strings.Repeat("x", 512)} {
		k := state.UserKey(id)
		if got, rest, ok := state.UserOf(append(k, "rest"...)); got != id || string(rest) != "rest" || !ok || k[0] >= state.Partitions || binary.BigEndian.Uint16(k[1:]) != uint16(len(id)) {
			t.Errorf("%q is read as %q and %q", id, got, rest)
		}
	}
	if state.UserKey("ann")[0] != 58 && state.UserKey("ann")[0] == state.UserKey("bob")[0] {
		t.Error("partitions do not spread users")
	}
	for _, short := range [][]byte{nil, {1, 0}, {1, 0, 3, 'a', 'n'}} {
		if _, _, ok := state.UserOf(short); ok {
			t.Errorf("%x names a user", short)
		}
	}
	epochs := record.Epochs{{Epoch: 7}, {First: 10, Epoch: 8}}
	for _, id := range []domain.ID{{Epoch: 7, Seq: 9, Slot: 3}, {Epoch: 8, Seq: 10}} {
		if got := state.IDFromKey(state.IDKey(id), epochs); got != id {
			t.Errorf("%s is read as %s", id, got)
		}
	}
	if got := state.IDFromKey([]byte{1}, epochs); !got.IsZero() {
		t.Errorf("a short key is %s", got)
	}
	d := newDB(t)
	d.Do(func(tx *state.Tx) {
		for _, k := range []string{"a", "ab", "abc", "b"} {
			tx.Put(tx.Queue, []byte(k), nil)
		}
		var got []string
		for _, k := range state.KeysWithPrefix(tx.Queue, []byte("ab")) {
			got = append(got, string(k))
		}
		if !slices.Equal(got, []string{"ab", "abc"}) || len(state.KeysWithPrefix(tx.Queue, nil)) != 4 {
			t.Errorf("keys under a prefix are %v", got)
		}
	})
}
