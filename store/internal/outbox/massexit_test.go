package outbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// guarded is rules under which three of eight may leave within an hour.
func guarded() domain.Rules {
	r := statetest.Rules(domain.SendAttribute)
	r.Guard = domain.Guard{Share: 0.4, Count: 2, Window: time.Hour}
	return r
}

// newAudience is an outbox with an audience of n members, of whom MoEngage knows.
func newAudience(t *testing.T, r domain.Rules, n int) *box {
	t.Helper()
	b := newBox(t, r)
	for i := range n {
		b.observe(fmt.Sprint("user", i), true, 0)
	}
	b.drain(1)
	return b
}

// drain delivers everything that is due, and returns it sorted: users of one second have no order.
func (b *box) drain(m int) string {
	b.Helper()
	all := ""
	for f := b.take(options(m)); f != nil; f = b.take(options(m)) {
		all += sent(f)
		b.settle(f, domain.Delivered, m)
	}
	list := strings.Fields(all)
	slices.Sort(list)
	return strings.Join(list, " ")
}

// observe applies a membership, as far as the guard and the attribute are concerned.
func (b *box) observe(user string, in bool, m int) (id domain.ID) {
	b.Helper()
	b.Do(func(tx *state.Tx) {
		u, f, c := tx.User(user), tx.FieldOf(0), b.cause(tx, m)
		p, en := policy(tx, f), tx.Entry(u, 0)
		ReadmitFirst(tx, u, f, p, c)
		OpenWindow(tx, f, c)
		if f.Exits.Swept != nil {
			HoldWaiting(tx, u, f, f.Exits.Seq)
		}
		t, v := value(in)
		was, at := en.Newest().IsIn(), tx.Now.UnixNano()
		en.Keep(state.KeptOne, &domain.Assertion{Value: v, Time: at, Since: at, Seq: c.Seq})
		tx.Write(u, 0)
		switch {
		case in:
			if !was {
				f.Members++
				countEnter(tx, f)
			}
			UncountLeft(tx, f, en)
			CancelHeld(tx, u, f, en, state.KeptOne)
		case was:
			f.Leave()
			CountLeft(tx, f, en, c)
		}
		if in != was {
			id = domain.ID{Epoch: statetest.Epoch, Seq: c.Seq}
			WantAttribute(tx, u, f, p, en, c, t, v)
		}
	})
	return id
}

// leave has users from number i to before j leave.
func (b *box) leave(i, j, m int) (ids []domain.ID) {
	b.Helper()
	for ; i < j; i++ {
		ids = append(ids, b.observe(fmt.Sprint("user", i), false, m))
	}
	return ids
}

func (b *box) sweep() {
	b.Helper()
	for len(b.State.Sweeping) > 0 {
		b.Do(Sweep)
	}
}

// decide gives the decision itself; readmit and letGo carry it out.
func (b *box) decide(discard bool, m int) {
	b.Helper()
	o := &record.Order{Verb: record.OrderRelease, Received: minute(m)}
	if discard {
		o.Verb = record.OrderDiscard
	}
	b.Do(func(tx *state.Tx) { Decide(tx, tx.FieldOf(0), b.cause(tx, m), o) })
}

func (b *box) letGo(discard bool, m int, ids ...domain.ID) {
	b.Helper()
	b.Do(func(tx *state.Tx) {
		f := tx.FieldOf(0)
		for _, id := range ids {
			LetGo(tx, f, policy(tx, f), b.cause(tx, m), id, discard)
		}
	})
}

func (b *box) readmit(m int, users ...string) {
	b.Helper()
	b.Do(func(tx *state.Tx) {
		f := tx.FieldOf(0)
		for _, user := range users {
			ReadmitFirst(tx, tx.User(user), f, policy(tx, f), b.cause(tx, m))
		}
	})
}

func (b *box) tripped() bool { return !b.field().Exits.Tripped.IsZero() }

// TestTheGuardTrips at the first exit that is more than the share, and at least the count.
func TestTheGuardTrips(t *testing.T) {
	for _, c := range []struct {
		share   float64
		count   uint64
		members int
		want    int // the exit that trips it, 0: none
	}{
		{0.4, 2, 8, 4}, {0.5, 2, 8, 5}, {0.01, 3, 8, 3}, {0.01, 1, 8, 1}, {0.4, 9, 8, 0}, {1, 1, 8, 0}, {0.99, 1, 8, 8},
	} {
		r := guarded()
		r.Guard.Share, r.Guard.Count = c.share, c.count
		b, by := newAudience(t, r, c.members), 0
		for i := range c.members {
			if b.leave(i, i+1, 5); by == 0 && b.tripped() {
				by = i + 1
			}
		}
		if by != c.want {
			t.Errorf("share %v, count %d: exit %d of %d members trips the guard, want %d", c.share, c.count, by, c.members, c.want)
		}
	}
}

// TestAWindowEnds an hour after it began, and where the clock was set back by more than an hour. It counts from the most
// members that it had.
func TestAWindowEnds(t *testing.T) {
	for name, c := range map[string]struct {
		at    int // of the next exits
		since int
		left  uint64
	}{
		"in it":              {59, 0, 5},
		"behind it":          {60, 60, 2},
		"three later":        {200, 180, 2},
		"clock set back":     {-61, -61, 2},
		"clock a bit behind": {-60, 0, 5},
	} {
		r := guarded()
		r.Guard.Count = 100
		b := newAudience(t, r, 8)
		b.leave(0, 3, 10)
		b.leave(3, 5, c.at)
		members := uint64(8)
		if c.left == 2 {
			members = 5
		}
		if w := b.field().Exits; !w.Since.Equal(minute(c.since)) || w.Left != c.left || w.Members != members {
			t.Errorf("%s: %+v, want since minute %d, %d of %d left", name, w, c.since, c.left, members)
		}
	}
}

// TestATrippedWindowLasts until an operator decides.
func TestATrippedWindowLasts(t *testing.T) {
	b := newAudience(t, guarded(), 8)
	b.leave(0, 4, 10)
	b.sweep()
	held := b.leave(4, 5, 500)
	b.wantState(held[0], domain.StateHeld)
	b.decide(false, 501)
	if w := b.field().Exits; b.tripped() || w.Left != 0 || w.Members != 3 || w.Undone != (state.RecordRange{}) {
		t.Errorf("after the release %+v", w)
	}
}

// TestASweepHoldsWhatIsPending when the guard trips. It leaves out what is in a request, and it may be cut off.
func TestASweepHoldsWhatIsPending(t *testing.T) {
	b := newAudience(t, guarded(), 8)
	first := b.leave(0, 1, 5)
	f := b.take(options(5))
	pending := b.leave(1, 4, 6)
	b.Reopen()
	b.wantSent(b.take(options(7)), "") // the exits of a user who is read are held first
	b.sweep()
	b.wantState(first[0], domain.StatePending)
	for _, id := range pending {
		b.wantState(id, domain.StateHeld)
	}
	b.settle(f, domain.Delivered, 8)
	b.decide(false, 15)
	b.letGo(false, 15, pending...)
	if got := b.drain(20); got != "user1=false user2=false user3=false" {
		t.Errorf("a release sends %q", got)
	}
}

// TestASweepHoldsTheExitEvents of the window. It leaves out those from before it, those behind which the user's return is
// pending, those by an operator, and those of another audience.
func TestASweepHoldsTheExitEvents(t *testing.T) {
	b := newAudience(t, guarded(), 8)
	old := b.enqueue("old", false, 59)
	first := b.leave(0, 1, 61) // its record begins the window
	left := b.enqueue("left", false, 62)
	back, enter := b.enqueue("back", false, 62), b.enqueue("back", true, 63)
	twice, again, last := b.enqueue("twice", false, 62), b.enqueue("twice", true, 63), b.enqueue("twice", false, 64)
	closed := b.enqueue("closed", false, 64)
	var other domain.ID
	b.Do(func(tx *state.Tx) {
		tx.Entry(tx.User("closed"), 0).Keep(state.KeptOne, &domain.Assertion{Value: domain.JSONFalse, Seq: closed.Seq, Message: domain.ByOperator})
		tx.Write(tx.User("closed"), 0)
		f, u := tx.NewField(&state.Field{Key: "gold", Class: domain.ClassAudience}), tx.User("left")
		ch := Draft(tx, u, f, policy(tx, f), b.cause(tx, 64), domain.KindEvent, domain.TransitionExit)
		tx.State.Ledger.Changes.Created++
		Enqueue(tx, u, ch)
		other = ch.ID
	})
	b.leave(1, 4, 65)
	b.sweep()
	for _, id := range []domain.ID{first[0], left, last} {
		b.wantState(id, domain.StateHeld)
	}
	for _, id := range []domain.ID{old, back, enter, twice, again, closed, other} {
		b.wantState(id, domain.StatePending)
	}
}

// TestTheFirstExitOfAWindowIsUncounted like the others, once the user is back.
func TestTheFirstExitOfAWindowIsUncounted(t *testing.T) {
	b := newAudience(t, guarded(), 8)
	b.leave(0, 1, 61)
	if w := b.field().Exits; w.Left != 1 || w.Seq != b.seq {
		t.Fatalf("%+v, want one who left, and a window from record %d on", w, b.seq)
	}
	b.observe("user0", true, 62)
	b.Do(func(tx *state.Tx) { UncountLeft(tx, tx.FieldOf(0), tx.Entry(tx.User("user0"), 0)) })
	if w := b.field().Exits; w.Left != 0 {
		t.Errorf("%d left, and they are back", w.Left)
	}
}

// TestAHeldExitIsCancelledByTheCallThatMadeIt: the attribute by identify, the event by track, and both where one membership
// is kept.
func TestAHeldExitIsCancelledByTheCallThatMadeIt(t *testing.T) {
	for sort, want := range map[int][2]domain.State{
		state.KeptOne:      {domain.StateCancelled, domain.StateCancelled},
		state.KeptIdentify: {domain.StateCancelled, domain.StateHeld},
		state.KeptTrack:    {domain.StateHeld, domain.StateCancelled},
	} {
		b := newAudience(t, guarded(), 8)
		event := b.enqueue("user0", false, 5)
		held := b.leave(0, 4, 5)
		b.sweep()
		b.Do(func(tx *state.Tx) {
			u, f := tx.User("user0"), tx.FieldOf(0)
			a, e := CancelHeld(tx, u, f, tx.Entry(u, 0), sort)
			if a != (want[0] == domain.StateCancelled) || e != (want[1] == domain.StateCancelled) {
				t.Errorf("sort %d: an attribute %v and an event %v", sort, a, e)
			}
		})
		b.wantState(held[0], want[0])
		b.wantState(event, want[1])
		b.wantState(held[1], domain.StateHeld) // of another user
	}
}

// TestADiscardDropsTheParkedExitEvents of the window: sent again, they would say that a member left.
func TestADiscardDropsTheParkedExitEvents(t *testing.T) {
	b := newAudience(t, guarded(), 8)
	old := b.enqueue("user0", false, 59)
	b.settle(b.take(options(60)), domain.Parked, 60)
	left := b.leave(0, 1, 61)
	exit := b.enqueue("user0", false, 61)
	b.settle(b.take(options(61)), domain.Parked, 61)
	enter := b.enqueue("user0", true, 61)
	b.settle(b.take(options(61)), domain.Parked, 61)
	b.leave(1, 4, 62)
	b.sweep()
	b.decide(true, 70)
	b.readmit(71, "user0", "user1", "user2", "user3")
	b.wantState(old, domain.StateParked)
	b.wantState(enter, domain.StateParked)
	b.wantState(exit, domain.StateDropped)
	b.wantState(left[0], domain.StateSuperseded) // by the value that the user is a member
	if f := b.field(); f.Members != 8 {
		t.Errorf("%d are members", f.Members)
	}
}

// TestADiscardLeavesWhatAnOperatorDecided about a user whose exit the guard held.
func TestADiscardLeavesWhatAnOperatorDecided(t *testing.T) {
	b := newAudience(t, guarded(), 8)
	held := b.leave(0, 4, 5)
	b.sweep()
	b.Do(func(tx *state.Tx) {
		tx.Entry(tx.User("user0"), 0).Kept[state.KeptOne].Message = domain.ByOperator
		tx.Write(tx.User("user0"), 0)
	})
	b.decide(true, 10)
	b.letGo(true, 11, held...)
	b.wantState(held[0], domain.StatePending)
	b.wantState(held[1], domain.StateDropped)
	if got := b.drain(20); got != "user0=false" {
		t.Errorf("MoEngage is sent %q", got)
	}
}

// TestASweepIsSliced: it goes on where it was after a restart.
func TestASweepIsSliced(t *testing.T) {
	b := newBox(t, guarded())
	var ids []domain.ID
	b.Do(func(tx *state.Tx) {
		f := tx.FieldOf(0)
		for i := range SweepSlice + 10 {
			u, c := tx.User(fmt.Sprint("user", i)), b.cause(tx, 5)
			en := tx.Entry(u, 0)
			en.LastSent = state.SentValue(domain.JSONTrue)
			WantAttribute(tx, u, f, policy(tx, f), en, c, domain.TransitionExit, domain.JSONFalse)
			tx.Write(u, 0)
			ids = append(ids, en.Waiting.ID)
		}
		f.Members = 1
		countEnter(tx, f)
		en, c := tx.Entry(tx.User("last"), 0), b.cause(tx, 5)
		CountLeft(tx, f, en, c)
		CountLeft(tx, f, en, c)
	})
	b.Do(Sweep)
	b.wantState(ids[SweepSlice-1], domain.StateHeld)
	b.wantState(ids[SweepSlice], domain.StatePending)
	b.Reopen()
	b.sweep()
	b.wantState(ids[SweepSlice+9], domain.StateHeld)
	if b.field().Exits.Swept != nil {
		t.Error("the sweep is over, and the field says that it goes on")
	}
}

// TestADiscardReadmits everyone who left in the window, whether their exits were held or had left.
func TestADiscardReadmits(t *testing.T) {
	b := newAudience(t, guarded(), 8)
	gone := b.leave(0, 1, 5)
	b.drain(5)
	held := b.leave(1, 5, 6)
	b.sweep()
	b.decide(true, 10)
	if w := b.field().Exits; w.Returning != 5 || w.Members != 8 {
		t.Errorf("%+v, want 5 to readmit and 8 members", w)
	}
	b.Reopen()
	b.readmit(11, "user0", "user1", "user7")
	if f := b.field(); f.Members != 5 || f.Exits.Returning != 3 || f.Exits.Members != 8 {
		t.Errorf("%d are members, and %+v: want 5, 3 to readmit, and 8", f.Members, f.Exits)
	}
	b.letGo(true, 11, held...)
	b.wantState(gone[0], domain.StateDelivered)
	for _, id := range held {
		b.wantState(id, domain.StateDropped)
	}
	if f := b.field(); f.Members != 8 || f.Exits.Returning != 0 || f.Held != 0 {
		t.Errorf("%+v", f)
	}
	if got := b.drain(20); got != "user0=true" {
		t.Errorf("MoEngage is sent %q, and only knows of user0's exit", got)
	}
	b.Do(func(tx *state.Tx) { EndDiscard(tx, tx.FieldOf(0)) })
	if b.field().Exits.Undone != (state.RecordRange{}) {
		t.Error("the discard is not over")
	}
}

// TestTheGuardTripsDuringADiscard: those to readmit are members until then, and the next decision is about the new
// window.
func TestTheGuardTripsDuringADiscard(t *testing.T) {
	b := newAudience(t, guarded(), 8)
	b.leave(0, 4, 5)
	b.sweep()
	b.decide(true, 10)
	b.observe("new", true, 11)
	b.leave(4, 7, 12)
	if b.tripped() {
		t.Error("three of nine left, and the guard tripped")
	}
	b.leave(7, 8, 13)
	b.Reopen()
	if w := b.field().Exits; !b.tripped() || w.Members != 9 || w.Left != 4 || w.Returning != 0 {
		t.Errorf("%+v, want four of nine, and that it tripped", w)
	}
	b.sweep()
	b.readmit(14, "user0", "user1", "user2", "user3")
	b.decide(true, 15)
	if w := b.field().Exits; w.Returning != 4 || w.Members != 9 {
		t.Errorf("%+v, want 4 to readmit and 9 members", w)
	}
}

// TestAHeldExitOfAUserWhoLeftAgain is dropped by a discard: it would leave behind the newer one.
func TestAHeldExitOfAUserWhoLeftAgain(t *testing.T) {
	b := newAudience(t, guarded(), 8)
	b.leave(1, 5, 5)
	b.sweep()
	id := b.repeatExit("user0", 6)
	b.decide(true, 10)
	b.leave(0, 1, 11)
	b.letGo(true, 12, id)
	b.wantState(id, domain.StateDropped)
	if got := b.drain(20); got != "user0=false" {
		t.Errorf("MoEngage is sent %q", got)
	}
}

// TestAReturnCancelsTheHeldExit: MoEngage never heard of it.
func TestAReturnCancelsTheHeldExit(t *testing.T) {
	b := newAudience(t, guarded(), 8)
	held := b.leave(0, 5, 5)
	b.sweep()
	b.observe("user0", true, 6)
	b.wantState(held[0], domain.StateCancelled)
	b.Read(func(tx *state.Tx) {
		if e := tx.Entry(tx.User("user0"), 0); !e.Waiting.ID.IsZero() {
			t.Errorf("the row still names the held exit: %+v", e.Waiting)
		}
	})
	if f := b.field(); f.Held != 4 || f.Exits.Left != 4 || f.Members != 4 {
		t.Errorf("%+v", f)
	}
	if got := b.drain(20); got != "" {
		t.Errorf("MoEngage is sent %q", got)
	}
}

// repeatExit has the guard hold an exit event that ends no membership, as that of a reconcile.
func (b *box) repeatExit(user string, m int) (id domain.ID) {
	b.Helper()
	b.Do(func(tx *state.Tx) {
		u, f := tx.User(user), tx.FieldOf(0)
		ch := Draft(tx, u, f, policy(tx, f), b.cause(tx, m), domain.KindEvent, domain.TransitionExit)
		tx.State.Ledger.Changes.Created++
		HoldExit(tx, u, f, ch, nil)
		id = ch.ID
	})
	return id
}

// heldEvent has the guard hold an exit event of a user, and notes the exit under a sort, as the call that made it, or as an
// older exit that it repeats.
func (b *box) heldEvent(user string, m, sort int, own bool) (id domain.ID) {
	b.Helper()
	id = b.repeatExit(user, m)
	b.Do(func(tx *state.Tx) {
		s := &domain.Assertion{Value: domain.JSONFalse, Time: minute(-10).UnixNano()}
		if own {
			s.Seq = id.Seq
		}
		tx.Entry(tx.User(user), 0).Kept[sort] = s
		tx.Write(tx.User(user), 0)
	})
	return id
}

// memberBy reports whether a user is a member by the calls of a sort.
func (b *box) memberBy(user string, sort int) (in bool) {
	b.Helper()
	b.Read(func(tx *state.Tx) { in = tx.Entry(tx.User(user), 0).Kept[sort].IsIn() })
	return in
}

// TestAUserComesBackByOneCall and is a member by the other too, if the guard held the exit that the other brought. An exit
// that MoEngage was sent before stays one.
func TestAUserComesBackByOneCall(t *testing.T) {
	for _, own := range []bool{true, false} {
		b := newAudience(t, guarded(), 8)
		id := b.heldEvent("user0", 5, state.KeptTrack, own)
		another := b.heldEvent("user1", 5, state.KeptTrack, own)
		b.Do(func(tx *state.Tx) {
			u, f, c := tx.User("user0"), tx.FieldOf(0), b.cause(tx, 6)
			ComeBack(tx, u, f, policy(tx, f), tx.Entry(u, 0), c, state.KeptIdentify)
			tx.Write(u, 0)
		})
		b.wantState(id, domain.StateCancelled)
		b.wantState(another, domain.StateHeld)
		if got := b.memberBy("user0", state.KeptTrack); got != own {
			t.Errorf("own %v: a member by track: %v", own, got)
		}
	}
}

// TestADiscardReadmitsByTheCallWhoseExitIsHeld also a user who stayed a member by the other. A repeat of an older exit is
// dropped, and readmits nobody.
func TestADiscardReadmitsByTheCallWhoseExitIsHeld(t *testing.T) {
	for _, own := range []bool{true, false} {
		b := newAudience(t, guarded(), 8)
		id := b.heldEvent("user7", 5, state.KeptTrack, own)
		b.leave(0, 4, 6)
		b.sweep()
		b.decide(true, 10)
		b.readmit(11, "user7")
		if got := b.memberBy("user7", state.KeptTrack); got != own {
			t.Errorf("own %v: a member by track: %v", own, got)
		}
		b.letGo(true, 12, id)
		b.wantState(id, domain.StateDropped)
		if f := b.field(); f.Members != 4 || f.Exits.Members != 8 {
			t.Errorf("own %v: %+v", own, f)
		}
	}
}

// TestADiscardReleasesTheRepeatOfAnOlderExit of a user who had left before the window.
func TestADiscardReleasesTheRepeatOfAnOlderExit(t *testing.T) {
	b := newAudience(t, guarded(), 8)
	b.leave(0, 1, 5)
	b.drain(5)
	b.leave(1, 5, 65) // another window
	b.sweep()
	id := b.repeatExit("user0", 66)
	b.decide(true, 70)
	b.letGo(true, 71, id)
	b.wantState(id, domain.StatePending)
	if got := b.drain(80); got != "user0!exit" {
		t.Errorf("MoEngage is sent %q", got)
	}
}

// TestAMemberIsSentOnce: a return or a discard sends no membership that the last queued value already says.
func TestAMemberIsSentOnce(t *testing.T) {
	for _, c := range []struct {
		queued []bool
		want   string
	}{
		{[]bool{false}, "user0=false user0=true"}, {[]bool{false, true}, "user0=false user0=true"}, {nil, ""},
	} {
		r := guarded()
		b := newAudience(t, r, 8)
		r.Defaults.Collapse = false
		b.SetRules(r)
		for _, in := range c.queued {
			b.want("user0", in, 5)
		}
		b.Do(func(tx *state.Tx) {
			u, f := tx.User("user0"), tx.FieldOf(0)
			WantMember(tx, u, f, policy(tx, f), tx.Entry(u, 0), b.cause(tx, 6))
		})
		if got := b.drain(10); got != c.want {
			t.Errorf("with %v queued, MoEngage is sent %q, want %q", c.queued, got, c.want)
		}
	}
}

func TestAnExitMayBeUndone(t *testing.T) {
	since := minute(0)
	before, after := since.UnixNano(), since.UnixNano()+1
	open := state.ExitWindow{Since: since, Seq: 10}
	tripped := open
	tripped.Tripped = since
	undone := open
	undone.Undone = state.RecordRange{From: 3, Until: 5}
	for i, c := range []struct {
		w      state.ExitWindow
		seq    uint64
		before int64
		want   bool
	}{
		{open, 10, before, true}, {open, 9, before, false}, {open, 0, before, false}, {open, 10, after, false},
		{tripped, 10, after, true}, {tripped, 9, before, false},
		{undone, 3, after, true}, {undone, 4, after, true}, {undone, 5, after, false}, {undone, 2, after, false},
	} {
		if got := MayUndo(&c.w, c.seq, c.before); got != c.want {
			t.Errorf("case %d: %v, want %v", i, got, c.want)
		}
	}
}

// TestAReturnCancelsAHeldExitThatDoesNotCollapse: one that was pending when the guard tripped is held in the
// queue of its user, and is not the wanted value.
func TestAReturnCancelsAHeldExitThatDoesNotCollapse(t *testing.T) {
	r := guarded()
	r.Defaults.Collapse = false
	b := newAudience(t, r, 8)
	ids := b.leave(0, 6, 2)
	b.sweep()
	b.wantState(ids[0], domain.StateHeld)
	b.observe("user0", true, 3)
	b.wantState(ids[0], domain.StateCancelled)
	b.wantState(ids[1], domain.StateHeld)
}

// TestAnEventAfterADiscardMakesAnotherChange: the discard readmits the user first, in the same record, and both need an id.
func TestAnEventAfterADiscardMakesAnotherChange(t *testing.T) {
	b := newAudience(t, guarded(), 8)
	b.leave(0, 2, 2)
	b.drain(3) // MoEngage is told that they left
	b.leave(2, 6, 4)
	b.sweep()
	b.decide(true, 5)
	b.observe("user0", false, 6)
	seq := b.seq
	b.Read(func(tx *state.Tx) {
		for slot := range uint16(2) {
			if state.Find(tx, domain.ID{Epoch: statetest.Epoch, Seq: seq, Slot: slot}) == nil {
				t.Errorf("there is no change %d of record %d", slot, seq)
			}
		}
	})
}

// TestADiscardOfOneExitReadmitsItsUser, though no window is discarded: an order may name exits that the guard held before.
func TestADiscardOfOneExitReadmitsItsUser(t *testing.T) {
	b := newAudience(t, guarded(), 8)
	held := b.leave(0, 5, 5)
	b.sweep()
	b.letGo(true, 11, held[1])
	for i, id := range held {
		want := domain.StateHeld
		if i == 1 {
			want = domain.StateDropped
		}
		b.wantState(id, want)
	}
	if f := b.field(); f.Members != 4 || f.Held != 4 || f.Exits.Left != 4 {
		t.Errorf("%+v", f)
	}
	if got := b.drain(20); got != "" {
		t.Errorf("MoEngage is sent %q", got)
	}
}

// TestAnOrderLetsGoNothingOfAnotherAudience, whatever ids it names.
func TestAnOrderLetsGoNothingOfAnotherAudience(t *testing.T) {
	for _, discard := range []bool{true, false} {
		b := newAudience(t, guarded(), 8)
		var id domain.ID
		b.Do(func(tx *state.Tx) {
			f := tx.NewField(&state.Field{Space: "spa_1", Key: "gold", ID: "aud_gold", Class: domain.ClassAudience})
			u := tx.User("user0")
			ch := Draft(tx, u, f, policy(tx, f), b.cause(tx, 5), domain.KindEvent, domain.TransitionExit)
			tx.State.Ledger.Changes.Created++
			HoldExit(tx, u, f, ch, nil)
			id = ch.ID
		})
		b.letGo(discard, 6, id)
		b.wantState(id, domain.StateHeld)
	}
}
