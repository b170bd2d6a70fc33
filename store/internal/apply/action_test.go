package apply

import (
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

func TestARetryMakesAParkedChangePending(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.event(enter("ann", "vip", 1))
	r.park()
	r.wantTold("ann.vip=true(parked) ann!Audience Entered(parked)")
	ids := r.ids(domain.StateParked)
	r.action(record.Action{Verb: record.ActionRetry, IDs: append(ids, domain.ID{Seq: 99})})
	r.wantTold("ann.vip=true ann!Audience Entered")
	for _, ch := range r.changes() {
		if ch.Attempts != 0 || ch.Reason != "" || ch.Sentence != "" || !state.IsBulk(ch.Lane) || !ch.Received.Equal(receipt) {
			t.Errorf("a retried change is %+v", ch)
		}
	}
	r.action(record.Action{Verb: record.ActionRetry, IDs: ids}) // they are not parked any more
	r.wantTold("ann.vip=true ann!Audience Entered")
	r.deliver()
	r.wantTold("ann.vip=true(delivered) ann!Audience Entered(delivered)")
}

func TestARetryOfAnOlderValueIsSuperseded(t *testing.T) {
	r := sending(t, domain.SendAttribute, func(r *domain.Rules) { r.Defaults.Collapse = false })
	r.event(enter("ann", "vip", 1))
	r.park()
	old := r.ids(domain.StateParked)
	r.event(exit("ann", "vip", 2))
	r.deliver()
	r.wantTold("ann.vip=true(parked) ann.vip=false(delivered)")
	r.action(record.Action{Verb: record.ActionRetry, IDs: old})
	r.wantTold("ann.vip=true(superseded) ann.vip=false(delivered)")
}

// TestARetryOfAnOlderValueLeavesBeforeTheNewerOne, if that is queued and not in flight.
func TestARetryOfAnOlderValueLeavesBeforeTheNewerOne(t *testing.T) {
	for _, flying := range []bool{false, true} {
		r := sending(t, domain.SendAttribute, func(r *domain.Rules) { r.Defaults.Collapse = false })
		r.event(enter("ann", "vip", 1))
		r.park()
		old := r.ids(domain.StateParked)
		r.event(exit("ann", "vip", 2))
		want := "ann.vip=true ann.vip=false"
		if flying {
			r.take()
			want = "ann.vip=true(superseded) ann.vip=false"
		}
		r.action(record.Action{Verb: record.ActionRetry, IDs: old})
		r.wantTold(want)
	}
}

func TestADropClosesWhatIsNotInFlight(t *testing.T) {
	r := sending(t, domain.SendBoth, guarded)
	r.events(enter("ann", "vip", 1), enter("bob", "vip", 1))
	r.park()
	r.events(enter("cid", "vip", 1), enter("dan", "vip", 1, faulty("undetermined")))
	lease := r.take()
	r.events(enter("eve", "vip", 1))
	was := len(r.changes())
	var all []domain.ID
	for _, ch := range r.changes() {
		all = append(all, ch.ID)
	}
	r.action(record.Action{Verb: record.ActionDrop, IDs: all})
	told := r.told()
	for _, want := range []string{"ann.vip=true(dropped) ann!Audience Entered(dropped)", "cid.vip=true cid!Audience Entered", "eve.vip=true(dropped) eve!Audience Entered(dropped)"} {
		if !strings.Contains(told, want) {
			t.Errorf("after the drop: %s; want %s in it", told, want)
		}
	}
	if l := r.State.Ledger; len(r.changes()) != was-1 || l.Events.Discarded != 1 || l.Events.Parked != 0 || l.Changes.Dropped != 6 || l.Changes.Pending != 2 {
		t.Errorf("%d changes are left of %d; the ledger is %+v", len(r.changes()), was, l)
	}
	if n := len(r.queue()); n != 0 {
		t.Errorf("%d entries of parked changes are left in the queues", n)
	}
	if r.membership("ann", "vip") != "in" {
		t.Error("a drop removed the membership")
	}
	r.settle(lease, domain.Delivered)
	r.Balance()
	r.event(exit("eve", "vip", 2)) // compares afresh: eve was never told
	if told := r.told(); !strings.HasSuffix(told, "eve.vip=false(cancelled) eve!Audience Exited") {
		t.Errorf("the next transition: %s", told)
	}
}

func TestADroppedHeldExitIsNotCountedAsHeld(t *testing.T) {
	r := sending(t, domain.SendEvent, guarded)
	r.events(enter("ann", "vip", 1), enter("bob", "vip", 1), exit("ann", "vip", 2), exit("bob", "vip", 2))
	held := r.ids(domain.StateHeld)
	if len(held) == 0 {
		t.Fatalf("nothing is held: %s", r.told())
	}
	r.action(record.Action{Verb: record.ActionDrop, IDs: held})
	if f := r.field("vip"); f.Held != 0 || len(r.Keys(state.BucketHeld)) != 0 {
		t.Errorf("%d are still counted as held", f.Held)
	}
	r.Balance()
}

func TestADroppedValueThatDoesNotCollapseLeavesTheOthers(t *testing.T) {
	r := sending(t, domain.SendAttribute, func(r *domain.Rules) { r.Defaults.Collapse = false })
	r.events(enter("ann", "vip", 1), exit("ann", "vip", 2))
	r.event(enter("ann", "vip", 3))
	r.action(record.Action{Verb: record.ActionDrop, IDs: r.ids(domain.StatePending)[1:2]})
	r.wantTold("ann.vip=true ann.vip=false(dropped) ann.vip=true")
	r.Read(func(tx *state.Tx) {
		if e := tx.Entry(tx.User("ann"), 0); e.Loose != 2 {
			t.Errorf("%d are counted in the queue", e.Loose)
		}
	})
	r.deliver()
	r.wantTold("ann.vip=true(delivered) ann.vip=false(dropped) ann.vip=true(delivered)")
	r.Balance()
}

// TestAnExitBehindADroppedEnterIsNotSent: without collapse MoEngage was told "no member" of a user that it never knew,
// whether the exit was queued already or came later.
func TestAnExitBehindADroppedEnterIsNotSent(t *testing.T) {
	each := func(r *domain.Rules) { r.Defaults.Collapse = false }
	unknown := func(r *domain.Rules) { r.Defaults.Collapse, r.Defaults.UnknownExit = false, true }
	drop := func(n int) func(r *room) {
		return func(r *room) { r.action(record.Action{Verb: record.ActionDrop, IDs: r.ids(domain.StatePending)[:n]}) }
	}
	in, out := func(r *room) { r.event(enter("ann", "vip", 1)) }, func(r *room) { r.event(exit("ann", "vip", 2)) }
	again := func(r *room) { r.event(enter("ann", "vip", 3)) }
	for name, c := range map[string]struct {
		rules func(*domain.Rules)
		steps []func(*room)
		told  string
	}{
		"queued":                  {each, []func(*room){in, out, drop(1)}, "ann.vip=true(dropped) ann.vip=false(cancelled)"},
		"later":                   {each, []func(*room){in, drop(1), out}, "ann.vip=true(dropped) ann.vip=false(cancelled)"},
		"both are dropped":        {each, []func(*room){in, out, drop(2)}, "ann.vip=true(dropped) ann.vip=false(dropped)"},
		"with a return behind it": {each, []func(*room){in, out, again, drop(1)}, "ann.vip=true(dropped) ann.vip=false(cancelled) ann.vip=true"},
		"exits of the unknown":    {unknown, []func(*room){in, out, drop(1)}, "ann.vip=true(dropped) ann.vip=false"},
		"one that was told":       {each, []func(*room){in, (*room).deliver, out, again, drop(1)}, "ann.vip=true(delivered) ann.vip=false(dropped) ann.vip=true"},
	} {
		t.Run(name, func(t *testing.T) {
			r := sending(t, domain.SendAttribute, c.rules)
			for _, step := range c.steps {
				step(r)
			}
			r.wantTold(c.told)
			r.Balance()
		})
	}
}

// TestARetryStopsWhereItsRecordHasNoIDsLeft: an older version put more changes into one record.
func TestARetryStopsWhereItsRecordHasNoIDsLeft(t *testing.T) {
	was := outbox.MaxSlots
	t.Cleanup(func() { outbox.MaxSlots = was })
	r := sending(t, domain.SendAttribute|domain.SendCohort)
	r.event(enter("ann", "vip", 1))
	r.park()
	outbox.MaxSlots = 0
	r.action(record.Action{Verb: record.ActionRetry, IDs: r.ids(domain.StateParked)})
	if told := r.told(); !strings.Contains(told, "ann.vip=true(parked)") || !strings.Contains(r.Logged(), "retry it again") {
		t.Errorf("it became %s", told)
	}
}

func TestAParkedEventIsAppliedInItsNewReading(t *testing.T) {
	reread := func(id domain.ID, e *domain.Event) record.Record {
		return record.Record{Again: &record.Reread{Received: receipt.Add(time.Hour), ID: id, Event: e, Frame: statetest.Frame(e)}}
	}
	r := sending(t, domain.SendBoth)
	r.events(enter("ann", "vip", 1, faulty("undetermined")), enter("bob", "vip", 1, faulty("undetermined")))
	parked := r.ids(domain.StateParked)
	r.record(reread(parked[0], enter("ann", "vip", 1)), nil)
	r.wantTold("bob?undetermined(parked) ann.vip=true ann!Audience Entered")
	if l := r.State.Ledger.Events; l.Accepted != 2 || l.Transitions != 1 || l.Parked != 1 {
		t.Errorf("the ledger has %+v", l)
	}
	if n := len(r.queue()); n != 1 {
		t.Errorf("%d users have a parked event", n)
	}
	still := enter("bob", "vip", 2, faulty("ambiguous_key"))
	r.record(reread(parked[1], still), nil)
	ch := r.changes()[0]
	if ch.ID != parked[1] || ch.Reason != "ambiguous_key" || string(ch.Raw) != string(statetest.Frame(still)) {
		t.Errorf("one that still cannot be used is parked as %+v", ch)
	}
	r.Balance()
	r.record(reread(parked[0], enter("ann", "vip", 3)), nil) // it is not parked any more
	r.record(reread(domain.ID{Seq: 77}, enter("ann", "vip", 3)), nil)
	if l := r.State.Ledger.Events; l.Accepted != 2 || l.Unchanged != 0 {
		t.Errorf("the ledger has %+v", l)
	}
}

// TestAChangeIsNoEventToReadAgain: only a received event is.
func TestAChangeIsNoEventToReadAgain(t *testing.T) {
	r := sending(t, domain.SendAttribute)
	r.event(enter("ann", "vip", 1))
	r.park()
	id := r.ids(domain.StateParked)[0]
	r.record(record.Record{Again: &record.Reread{Received: receipt, ID: id, Event: enter("ann", "vip", 2)}}, nil)
	r.wantTold("ann.vip=true(parked)")
	r.events(enter("bob", "vip", 1, faulty("undetermined")))
	r.action(record.Action{Verb: record.ActionRetry, IDs: r.ids(domain.StateParked)[1:]}) // an action does not read again
	r.wantTold("ann.vip=true(parked) bob?undetermined(parked)")
}

func TestARepairSendsWhatMoEngageDoesNotHold(t *testing.T) {
	repair := func(user string, field uint32) record.Record {
		return record.Record{Repair: &record.Repair{Received: receipt.Add(time.Hour), Missing: []record.Told{{User: user, Field: field}, {User: user, Field: 99}}}}
	}
	r := sending(t, domain.SendBoth)
	r.events(enter("ann", "vip", 1), trait("ann", "score", 3, "score", "5"), exit("bob", "vip", 1))
	r.deliver()
	before := len(r.changes())
	for n := range uint32(2) {
		r.record(repair("ann", n), nil)
	}
	r.record(repair("bob", 0), nil) // was never told
	again := r.changes()[before:]
	if len(again) != 2 {
		t.Fatalf("it sends %s", r.told())
	}
	for i, want := range []struct {
		value string
		t     domain.Transition
		at    time.Time
		id    string
	}{{"true", domain.TransitionEnter, at(1), ""}, {"5", domain.TransitionValue, at(3), "m-ann-score-false-3"}} {
		if ch := again[i]; string(ch.Value) != want.value || ch.Transition != want.t || !ch.EventTime.Equal(want.at) || ch.MessageID != want.id || !state.IsBulk(ch.Lane) || ch.Kind != domain.KindAttribute {
			t.Errorf("the repair sends %+v", ch)
		}
	}
	r.record(repair("ann", 0), nil) // it is on its way
	if n := len(r.changes()); n != before+2 {
		t.Errorf("a second repair adds %d", n-before-2)
	}
	r.event(exit("ann", "vip", 4))
	if told := r.told(); !strings.Contains(told, "ann.vip=false") {
		t.Errorf("the exit behind a repair: %s", told)
	}
	r.Balance()
}

func TestARepairOfAnExitSendsFalse(t *testing.T) {
	r := sending(t, domain.SendAttribute)
	r.event(enter("ann", "vip", 1))
	r.deliver()
	r.event(exit("ann", "vip", 2))
	r.deliver()
	r.record(record.Record{Repair: &record.Repair{Received: receipt, Missing: []record.Told{{User: "ann"}}}}, nil)
	if ch := r.changes()[2]; ch.Transition != domain.TransitionExit || string(ch.Value) != "false" {
		t.Errorf("it sends %+v", ch)
	}
}

func TestToldSinceIsAboutDeliveredAttributes(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.event(enter("ann", "vip", 1))
	ask := func(field uint32, since time.Time) (told bool) {
		r.Read(func(tx *state.Tx) { told = ToldSince(tx, tx.User("ann"), map[uint32]bool{field: true}, since) })
		return told
	}
	closed := receipt.Add(time.Hour)
	if ask(0, noon) {
		t.Error("nothing was delivered")
	}
	r.deliver()
	for _, tc := range []struct {
		field uint32
		since time.Time
		want  bool
	}{{0, closed.Add(-time.Second), true}, {0, closed, false}, {1, closed.Add(-time.Second), false}} {
		if got := ask(tc.field, tc.since); got != tc.want {
			t.Errorf("field %d since %s: %v", tc.field, tc.since, got)
		}
	}
	events := sending(t, domain.SendEvent)
	events.event(enter("ann", "vip", 1))
	events.deliver()
	events.Read(func(tx *state.Tx) {
		if ToldSince(tx, tx.User("ann"), map[uint32]bool{0: true}, noon) {
			t.Error("an event is no attribute")
		}
	})
}

// TestWhatWasToldBeforeALateDeletionIsToldAfterIt: it was held while MoEngage was told of the user, and takes that away, too. So an
// exit and a return meanwhile end in no silence.
func TestWhatWasToldBeforeALateDeletionIsToldAfterIt(t *testing.T) {
	r := sending(t, domain.SendAttribute, func(r *domain.Rules) { r.Deletes = domain.Deletes{Send: true} })
	e := enter("ann", "", 1)
	e.Call, e.Class, e.MessageID, e.Flag = domain.CallDelete, domain.ClassNone, "d-1", domain.FlagSilent
	r.events(e, enter("ann", "vip", 31))
	r.deliver()
	r.action(record.Action{Verb: record.ActionRetry, IDs: r.ids(domain.StateHeld)})
	r.events(exit("ann", "vip", 32), enter("ann", "vip", 33))
	open := 0
	for _, ch := range r.changes() {
		if ch.Kind == domain.KindAttribute && ch.State == domain.StatePending && string(ch.Value) == "true" {
			open++
		}
	}
	if open != 1 {
		t.Errorf("%d changes say afterwards that ann is a member: %s", open, r.told())
	}
}
