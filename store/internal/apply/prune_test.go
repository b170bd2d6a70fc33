package apply

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
	"personasync/store/internal/wire"
)

// closed is a room with a delivered value of each user, closed one minute after the other.
func closed(t *testing.T, users ...string) *room {
	t.Helper()
	r := sending(t, domain.SendAttribute)
	for i, u := range users {
		r.event(trait(u, "score", i, "score", fmt.Sprint(i)))
		f := r.take()
		o := domain.Settlement{Lease: f.ID, At: receipt.Add(time.Duration(i) * time.Minute), Results: []domain.UserResult{{Attributes: domain.Result{Verdict: domain.Delivered}}}}
		r.Do(func(tx *state.Tx) { outbox.Settle(tx, o) })
	}
	return r
}

func (r *room) pruneHistory(now time.Time, keep time.Duration) (more bool) {
	r.Helper()
	r.Do(func(tx *state.Tx) { more = PruneHistory(tx, now, keep) })
	return more
}

func TestHistoryIsPrunedByItsAge(t *testing.T) {
	for _, tc := range []struct {
		name string
		now  time.Time
		keep time.Duration
		want string
	}{
		{"for ever", receipt.Add(1000 * time.Hour), 0, "ann.score=0(delivered) bob.score=1(delivered) cid.score=2(delivered)"},
		{"not yet", receipt.Add(time.Hour - 1), time.Hour, "ann.score=0(delivered) bob.score=1(delivered) cid.score=2(delivered)"},
		{"the first of just that age", receipt.Add(time.Hour), time.Hour, "bob.score=1(delivered) cid.score=2(delivered)"},
		{"two", receipt.Add(time.Hour + time.Minute), time.Hour, "cid.score=2(delivered)"},
		{"all", receipt.Add(2 * time.Hour), time.Hour, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := closed(t, "ann", "bob", "cid")
			if r.pruneHistory(tc.now, tc.keep) {
				t.Error("there is more")
			}
			r.wantTold(tc.want)
			if n, left := len(r.Keys(state.BucketLocator)), len(r.Keys(state.BucketHistory)); n != left {
				t.Errorf("%d places are left of %d changes", n, left)
			}
			if l := r.State.Ledger.Changes; l.Delivered != 3 {
				t.Errorf("the ledger forgot %d", 3-l.Delivered)
			}
		})
	}
}

func TestAUsersChainEndsWhereItWasPruned(t *testing.T) {
	r := closed(t, "ann", "ann")
	first := r.State.Closed - 1
	r.pruneHistory(receipt.Add(time.Hour), time.Hour)
	r.Read(func(tx *state.Tx) {
		if h := tx.User("ann").Index.History; h != first+1 {
			t.Errorf("the chain begins at %d", h)
		}
	})
	r.pruneHistory(receipt.Add(3*time.Hour), time.Hour)
	r.Read(func(tx *state.Tx) {
		if h := tx.User("ann").Index.History; h != 0 {
			t.Errorf("the chain still begins at %d", h)
		}
	})
}

// TestHistoryOfAClockAheadCountsAsClosedNow: else it would keep what is behind it for as long as the clock was ahead.
func TestHistoryOfAClockAheadCountsAsClosedNow(t *testing.T) {
	r := closed(t, "ann", "bob")
	now := receipt.Add(-time.Hour) // the clock was set back
	if r.pruneHistory(now, time.Minute) {
		t.Error("there is more")
	}
	r.wantTold("ann.score=0(delivered) bob.score=1(delivered)")
	for _, ch := range r.changes() {
		if !ch.Closed.Equal(now) {
			t.Errorf("closed at %s, want %s", ch.Closed, now)
		}
	}
	r.pruneHistory(now.Add(time.Minute), time.Minute)
	r.wantTold("")
}

func TestACorruptEntryOfTheHistoryIsRemoved(t *testing.T) {
	r := closed(t, "ann", "bob")
	r.Put(state.BucketHistory, state.NumberKey(1), []byte("rubbish"))
	r.pruneHistory(receipt.Add(time.Minute), time.Hour)
	if n := len(r.Keys(state.BucketHistory)); n != 1 || r.Logged() == "" {
		t.Errorf("%d entries are left", n)
	}
}

func TestHistoryIsPrunedInSlices(t *testing.T) {
	r := sending(t, domain.SendNone)
	const all = state.PruneSlice + 3
	r.Do(func(tx *state.Tx) {
		for i := range all {
			ch := &state.Stored{Change: domain.Change{ID: domain.ID{Epoch: statetest.Epoch, Seq: uint64(i + 1)}, Kind: domain.KindEvent, User: "ann"}}
			tx.State.Ledger.Changes.Created++
			tx.Close(tx.User("ann"), ch, domain.StateDelivered, receipt)
		}
	})
	if !r.pruneHistory(receipt.Add(time.Hour), time.Hour) || len(r.Keys(state.BucketHistory)) != 3 {
		t.Errorf("%d are left after the first slice", len(r.Keys(state.BucketHistory)))
	}
	if r.pruneHistory(receipt.Add(time.Hour), time.Hour) || len(r.Keys(state.BucketHistory)) != 0 {
		t.Errorf("%d are left after the second", len(r.Keys(state.BucketHistory)))
	}
}

func TestMessageIDsExpireByTheDay(t *testing.T) {
	r := sending(t, domain.SendEvent, func(r *domain.Rules) { r.MessageIDs = 48 * time.Hour })
	day := func(n int) time.Time { return receipt.Add(time.Duration(n) * state.Day) }
	for n := range 3 {
		for m := range 2 {
			at := day(n)
			r.event(enter("ann", "vip", 1, step("Step", fmt.Sprintf("m-%d-%d", n, m)), func(e *domain.Event) { e.Received, e.Time = at, at }))
		}
	}
	prune := func(now time.Time) (more bool) {
		r.Do(func(tx *state.Tx) { more = PruneMessages(tx, now) })
		return more
	}
	days := func() int { return len(r.Keys(state.BucketMessages)) }
	if prune(day(2)) || days() != 3 {
		t.Errorf("after two days %d are kept", days())
	}
	if prune(day(3)) || days() != 2 {
		t.Errorf("after three days %d are kept", days())
	}
	if !prune(day(9)) || days() != 1 {
		t.Errorf("one call took more than one day: %d are kept", days())
	}
	if prune(day(9)) || days() != 0 || prune(day(9)) {
		t.Errorf("at last %d are kept", days())
	}
	rules := statetest.Rules(domain.SendEvent)
	rules.MessageIDs = 0
	r.SetRules(rules)
	r.event(enter("bob", "vip", 1, step("Step", "m-9")))
	if prune(day(1000)) || days() != 1 {
		t.Error("ids that are kept for ever were removed")
	}
}

func TestADayOfMessageIDsGoesInSlices(t *testing.T) {
	r := sending(t, domain.SendEvent)
	r.Do(func(tx *state.Tx) {
		ids, err := tx.Bucket(state.BucketMessages).MakeInner(DayKey(receipt))
		r.Must(err)
		for i := range state.PruneSlice + 1 {
			tx.Put(ids, state.NumberKey(uint64(i)), []byte{})
		}
	})
	for i, want := range []bool{true, false} {
		var more bool
		r.Do(func(tx *state.Tx) { more = PruneMessages(tx, receipt.Add(1000*time.Hour)) })
		if more != want || len(r.Keys(state.BucketMessages)) != map[bool]int{true: 1, false: 0}[want] {
			t.Errorf("call %d: more is %v, %d days are left", i+1, more, len(r.Keys(state.BucketMessages)))
		}
	}
}

func TestADayHasAKeyOfItsOwn(t *testing.T) {
	day := time.Date(2026, 3, 14, 0, 0, 0, 0, time.UTC)
	if !slices.Equal(DayKey(day), DayKey(day.Add(24*time.Hour-1))) || slices.Equal(DayKey(day), DayKey(day.Add(-1))) || state.Number(DayKey(day)) != 20526 {
		t.Errorf("the day is %d", state.Number(DayKey(day)))
	}
	if state.Number(DayKey(time.Unix(-1, 0))) != 0 {
		t.Error("a time before 1970 has no day")
	}
}

func TestAnExitIsForgottenOnceItIsOldAndTold(t *testing.T) {
	forget := func(r *room, user string, before time.Time) (n uint64) {
		r.Helper()
		r.Do(func(tx *state.Tx) { n = ForgetExitsOf(tx, tx.User(user), before.UnixNano()) })
		return n
	}
	for _, tc := range []struct {
		name    string
		send    domain.SendMethods
		rules   func(*domain.Rules)
		prepare func(r *room)
		before  time.Time
		want    uint64
	}{
		{"an exit of a stranger", domain.SendBoth, nil, func(r *room) { r.event(exit("ann", "vip", 1)) }, at(2), 1},
		{"of just that time", domain.SendBoth, nil, func(r *room) { r.event(exit("ann", "vip", 2)) }, at(2), 0},
		{"a member", domain.SendBoth, nil, func(r *room) { r.event(enter("ann", "vip", 1)) }, at(2), 0},
		{"not told yet", domain.SendBoth, nil, func(r *room) {
			r.event(enter("ann", "vip", 1))
			r.deliver()
			r.event(exit("ann", "vip", 2))
		}, at(9), 0},
		{"told", domain.SendBoth, nil, func(r *room) {
			r.event(enter("ann", "vip", 1))
			r.deliver()
			r.event(exit("ann", "vip", 2))
			r.deliver()
		}, at(9), 1},
		{"a cohort not told yet", domain.SendAttribute | domain.SendCohort, func(r *domain.Rules) { r.Defaults.UnknownExit = true }, func(r *room) {
			r.event(exit("ann", "vip", 1))
			r.deliver()
		}, at(9), 0},
		{"an open window of the guard", domain.SendBoth, guarded, func(r *room) {
			r.events(enter("ann", "vip", 1), enter("bob", "vip", 1), enter("cid", "vip", 1))
			r.deliver()
			r.event(exit("ann", "vip", 2))
			r.deliver()
		}, at(9), 0},
		{"a trait", domain.SendBoth, nil, func(r *room) { r.event(trait("ann", "vip", 1, "vip", "false")) }, at(9), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := sending(t, tc.send)
			if tc.rules != nil {
				rules := statetest.Rules(tc.send)
				tc.rules(&rules)
				r.SetRules(rules)
			}
			tc.prepare(r)
			was := r.membership("ann", "vip")
			if got := forget(r, "ann", tc.before); got != tc.want {
				t.Errorf("%d are forgotten, want %d", got, tc.want)
			}
			if is := r.membership("ann", "vip"); tc.want > 0 && is != "nothing" || tc.want == 0 && is != was {
				t.Errorf("ann was %s and is %s", was, is)
			}
			r.Balance()
		})
	}
}

func TestNothingIsLeftOfAnErasedUser(t *testing.T) {
	r := sending(t, domain.SendBoth|domain.SendCohort, guarded)
	r.events(enter("ann", "vip", 1), enter("bob", "vip", 1), trait("ann", "score", 1, "score", "5"))
	r.deliver()
	r.events(enter("ann", "new", 1))
	r.park()
	r.events(enter("ann", "vip", 1, in("spa_2", "aud_2")), exit("ann", "vip", 3), exit("bob", "vip", 3), enter("ann", "gone", 1, faulty("undetermined")), enter("ann", "last", 1), enter("ann", "", 1, of(domain.ClassNone)))
	r.Put(state.BucketDamaged, []byte("rows\x00"+string(state.UserKey("ann"))+"xx"), []byte("rubbish"))
	r.Put(state.BucketDamaged, []byte("parked\x00unreadable"), wire.AppendString([]byte{9}, "ann"))
	r.Put(state.BucketDamaged, []byte("rows\x00other"), wire.AppendString([]byte{9}, "annabel"))
	if r.State.Ledger.Changes.Held == 0 || r.State.Ledger.Changes.Parked == 0 {
		t.Fatalf("the ledger is %+v", r.State.Ledger)
	}
	r.Do(func(tx *state.Tx) { Forget(tx, tx.User("ann"), receipt) })
	r.Balance()
	for _, ch := range r.changes() {
		if ch.User == "ann" {
			t.Errorf("a change is left: %+v", ch)
		}
	}
	key := string(state.UserKey("ann"))
	for _, bucket := range [][]byte{state.BucketRows, state.BucketQueue, state.BucketDue} {
		for _, k := range r.Keys(bucket) {
			if len(k) >= len(key) && (string(k[:len(key)]) == key || len(k) >= 9+len(key) && string(k[9:9+len(key)]) == key) {
				t.Errorf("%s still has the key %x", bucket, k)
			}
		}
	}
	if n := len(r.Keys(state.BucketDamaged)); n != 1 {
		t.Errorf("%d quarantined rows are left", n)
	}
	for _, f := range r.State.Registry.Fields {
		if f.Members > 1 || f.Key != "vip" && f.Members != 0 {
			t.Errorf("%s has %d members", f.Key, f.Members)
		}
	}
	if r.State.Ledger.Users != 1 {
		t.Errorf("%d users are counted", r.State.Ledger.Users)
	}
	r.Read(func(tx *state.Tx) {
		v := tx.Bucket(state.BucketMeta).Get(outbox.MetaErase)
		if len(v) != 16 || state.Number(v[:8]) != uint64(receipt.UnixNano()) || state.Number(v[8:]) != 1 {
			t.Errorf("what is to be erased from the files is noted as %x", v)
		}
	})
	r.Do(func(tx *state.Tx) { Forget(tx, tx.User("bob"), receipt.Add(time.Hour)) })
	r.Read(func(tx *state.Tx) {
		v := tx.Bucket(state.BucketMeta).Get(outbox.MetaErase)
		if state.Number(v[:8]) != uint64(receipt.UnixNano()) || state.Number(v[8:]) != 2 {
			t.Errorf("after a second one it is noted as %x", v)
		}
	})
	if r.State.Ledger.Users != 0 || r.State.Ledger.Backlog != (domain.Backlog{}) {
		t.Errorf("%+v", r.State.Ledger)
	}
}

func TestATombstoneKeepsTheTimesThatMayBeWrong(t *testing.T) {
	for _, tc := range []struct {
		at     int64
		others []int64
		want   []int64
	}{
		{5, nil, []int64{5}},
		{5, []int64{0, 5}, []int64{5}},
		{5, []int64{7}, []int64{5, 7}},
		{5, []int64{9, 7, 7}, []int64{5, 7, 9}},
		{5, []int64{9, 8, 7}, []int64{5, 7, 9}},
		{8, []int64{9, 8, 7}, []int64{8, 9}},
	} {
		stone := setStone(tc.at, slices.Clone(tc.others))
		if got := StoneTimes(stone); !slices.Equal(got, tc.want) || !IsStone(stone) {
			t.Errorf("erased at %d with %v: %v", tc.at, tc.others, got)
		}
	}
	for _, bad := range [][]byte{nil, {1}, make([]byte, 9), make([]byte, 32)} {
		if IsStone(bad) {
			t.Errorf("%d bytes are taken for a tombstone", len(bad))
		}
	}
	stone := setStone(5, []int64{7})
	for _, tc := range []struct {
		at, believable int64
		want           bool
	}{{5, 100, true}, {7, 100, true}, {8, 100, false}, {6, 6, false}, {5, 5, true}, {5, 4, false}, {7, 7, true}} {
		if got := BuriedBy(stone, tc.at, tc.believable); got != tc.want {
			t.Errorf("an event of %d, believing up to %d: %v", tc.at, tc.believable, got)
		}
	}
}

func TestATombstoneGivesTheUserNotAway(t *testing.T) {
	a, b := state.Tombstone([]byte("salt"), "ann"), state.Tombstone([]byte("tlas"), "ann")
	if len(a) != 16 || slices.Equal(a, b) || slices.Equal(a, state.Tombstone([]byte("salt"), "bob")) || !slices.Equal(a, state.Tombstone([]byte("salt"), "ann")) {
		t.Errorf("%x and %x", a, b)
	}
}

// TestAnErasureUnderAClockThatIsBehindLetsNoOlderEventIn: the latest time known of the user counts as well.
func TestAnErasureUnderAClockThatIsBehindLetsNoOlderEventIn(t *testing.T) {
	r := sending(t, domain.SendAttribute)
	r.event(enter("ann", "vip", 20))
	r.Do(func(tx *state.Tx) { Forget(tx, tx.User("ann"), at(10)) })
	if got := r.events(enter("ann", "vip", 15), enter("ann", "vip", 31)); got != "ignored transition" {
		t.Errorf("they come to %s", got)
	}
	if r.State.Ledger.Tombstones != 1 {
		t.Errorf("%d tombstones", r.State.Ledger.Tombstones)
	}
	r.Do(func(tx *state.Tx) { Forget(tx, tx.User("ann"), at(40)) })
	if r.State.Ledger.Tombstones != 1 || len(r.Keys(state.BucketTombstones)) != 1 {
		t.Errorf("%d tombstones of one user", r.State.Ledger.Tombstones)
	}
}

func TestTheRowsOfAUserAreListedOnce(t *testing.T) {
	r := sending(t, domain.SendAttribute)
	for i := range 130 {
		r.event(enter("ann", fmt.Sprintf("a%d", i), 1))
	}
	r.event(enter("bob", "a0", 1))
	r.Do(func(tx *state.Tx) {
		u := tx.User("ann")
		tx.Block(u, 1)
		tx.Block(u, 9)
		if got := state.BlockNumbers(tx, u); !slices.Equal(got, []uint16{0, 1, 2, 9}) {
			t.Errorf("they are %v", got)
		}
	})
}

// TestAForgottenUserKeepsADeletionThatIsOpen: it is the request of the user, and MoEngage has not got it yet.
func TestAForgottenUserKeepsADeletionThatIsOpen(t *testing.T) {
	for perDay, want := range map[uint64]domain.State{1: domain.StatePending, 0: domain.StateHeld} {
		r := sending(t, domain.SendBoth, func(r *domain.Rules) { r.Deletes = domain.Deletes{Send: true, PerDay: perDay} })
		e := enter("ann", "", 5)
		e.Call, e.Class, e.MessageID, e.Flag = domain.CallDelete, domain.ClassNone, "d-1", domain.FlagSilent
		r.events(enter("ann", "vip", 1), e, enter("ann", "vip", 31), exit("ann", "vip", 32))
		r.Do(func(tx *state.Tx) { Forget(tx, tx.User("ann"), receipt) })
		list := r.changes()
		if len(list) != 1 || list[0].Kind != domain.KindDelete || list[0].State != want {
			t.Errorf("with %d a day there are %s", perDay, r.told())
		}
		if n := len(r.Keys(state.BucketQueue)); n != 1 {
			t.Errorf("with %d a day the queue has %d keys, and not that of the deletion alone", perDay, n)
		}
		r.Balance()
	}
}
