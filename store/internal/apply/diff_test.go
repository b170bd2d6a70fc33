package apply

import (
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// The short names of the events of these tests.
var (
	enter = statetest.Enter
	exit  = statetest.Exit
	trait = statetest.Trait
	track = statetest.AsTrack
	step  = statetest.AsStep
)

// TestAMembershipIsComparedWithTheStoredOne is the contract's table of the diff, and its rules of time.
func TestAMembershipIsComparedWithTheStoredOne(t *testing.T) {
	for _, tc := range []struct {
		name   string
		events []*domain.Event
		want   string // columns of the ledger
		is     string
		told   string
	}{
		{"never seen, and in", []*domain.Event{enter("ann", "vip", 1)}, "transition", "in", "ann.vip=true"},
		{"never seen, and out: recorded, nothing sent", []*domain.Event{exit("ann", "vip", 1)}, "unchanged", "out", ""},
		{"in, and in", []*domain.Event{enter("ann", "vip", 1), enter("ann", "vip", 2)}, "transition unchanged", "in", "ann.vip=true"},
		{"in, and out: no net change remains", []*domain.Event{enter("ann", "vip", 1), exit("ann", "vip", 2)}, "transition transition", "out", "ann.vip=true(superseded) ann.vip=false(cancelled)"},
		{"out, and in", []*domain.Event{exit("ann", "vip", 1), enter("ann", "vip", 2)}, "unchanged transition", "in", "ann.vip=true"},
		{"out, and out", []*domain.Event{exit("ann", "vip", 1), exit("ann", "vip", 2)}, "unchanged unchanged", "out", ""},
		{"an older exit is stale", []*domain.Event{enter("ann", "vip", 2), exit("ann", "vip", 1)}, "transition stale", "in", "ann.vip=true"},
		{"an older enter is stale", []*domain.Event{exit("ann", "vip", 2), enter("ann", "vip", 1)}, "unchanged stale", "out", ""},
		{"an older repeat is stale, too", []*domain.Event{enter("ann", "vip", 2), enter("ann", "vip", 1)}, "transition stale", "in", "ann.vip=true"},
		{"the same time and value", []*domain.Event{enter("ann", "vip", 1), enter("ann", "vip", 1)}, "transition duplicate", "in", "ann.vip=true"},
		{"of one time an exit beats an enter", []*domain.Event{enter("ann", "vip", 1), exit("ann", "vip", 1)}, "transition transition", "out", "ann.vip=true(superseded) ann.vip=false(cancelled)"},
		{"… whichever comes first", []*domain.Event{exit("ann", "vip", 1), enter("ann", "vip", 1)}, "unchanged stale", "out", ""},
		{"users are apart", []*domain.Event{enter("ann", "vip", 2), enter("bob", "vip", 1)}, "transition transition", "in", "ann.vip=true bob.vip=true"},
		{"computations are apart", []*domain.Event{enter("ann", "vip", 2), enter("ann", "new", 1)}, "transition transition", "in", "ann.vip=true ann.new=true"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := sending(t, domain.SendAttribute)
			if got := r.events(tc.events...); got != tc.want {
				t.Errorf("the events come to %s, want %s", got, tc.want)
			}
			if got := r.membership("ann", "vip"); got != tc.is {
				t.Errorf("ann is %s, want %s", got, tc.is)
			}
			r.wantTold(tc.told)
		})
	}
}

func TestATransitionGoesOutByEachTargetOfItsPolicy(t *testing.T) {
	for _, tc := range []struct {
		name      string
		send      domain.SendMethods
		in, inOut string
	}{
		{"attribute", domain.SendAttribute, "ann.vip=true", "ann.vip=true(delivered) ann.vip=false"},
		{"event", domain.SendEvent, "ann!Audience Entered", "ann!Audience Entered(delivered) ann!Audience Exited"},
		{"both", domain.SendBoth, "ann.vip=true ann!Audience Entered", "ann.vip=true(delivered) ann!Audience Entered(delivered) ann.vip=false ann!Audience Exited"},
		{"cohort", domain.SendCohort, "ann@vip=true", "ann@vip=true(superseded) ann@vip=false(cancelled)"}, // the other endpoint delivered nothing
		{"list", domain.SendList, "ann.segment_audiences=true", "ann.segment_audiences=true(delivered) ann.segment_audiences=false"},
		{"as received, by identify", domain.SendAsReceived, "ann.vip=true", "ann.vip=true(delivered) ann.vip=false"},
		{"none", domain.SendNone, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := sending(t, tc.send)
			r.events(enter("ann", "vip", 1))
			r.wantTold(tc.in)
			r.wantCounts("vip", 1, 1, 0)
			r.deliver()
			r.events(exit("ann", "vip", 2))
			r.wantTold(tc.inOut)
			r.wantCounts("vip", 0, 1, 1)
		})
	}
}

// TestAsReceivedIsTwoStates: identify and track keep their own times, and nothing is invented.
func TestAsReceivedIsTwoStates(t *testing.T) {
	r := sending(t, domain.SendAsReceived)
	entered := enter("ann", "vip", 1, track("Joined"))
	if got := r.events(enter("ann", "vip", 2), entered, entered, enter("ann", "vip", 3, track("Joined")), exit("ann", "vip", 1)); got != "transition transition duplicate unchanged stale" {
		t.Errorf("the events come to %s", got)
	}
	r.wantTold("ann.vip=true ann!Joined")
	ch := r.changes()[1]
	if string(ch.Props) != `{"vip":true}` || string(ch.Value) != "true" || ch.MessageID != entered.MessageID {
		t.Errorf("the event carries %s, value %s, of message %s", ch.Props, ch.Value, ch.MessageID)
	}
	r.wantCounts("vip", 1, 1, 0)
	if got := r.events(exit("ann", "vip", 4, track("Left"))); got != "transition" || r.membership("ann", "vip") != "out" {
		t.Errorf("the exit by track alone comes to %s, and ann is %s", got, r.membership("ann", "vip"))
	}
	r.wantTold("ann.vip=true ann!Joined ann!Left")
	r.wantCounts("vip", 0, 1, 1)
}

func TestAnExitOfAStrangerIsSentWhereThePolicySaysSo(t *testing.T) {
	r := sending(t, domain.SendBoth, func(r *domain.Rules) { r.Defaults.UnknownExit = true })
	if got := r.events(exit("ann", "vip", 1)); got != "transition" {
		t.Errorf("it comes to %s", got)
	}
	r.wantTold("ann.vip=false ann!Audience Exited")
}

func TestAnEventThatIsTooOldChangesTheStateAndTheAttribute(t *testing.T) {
	old := func(r *domain.Rules) { r.Defaults.MaxEventAge = 20 * time.Minute }
	r := sending(t, domain.SendBoth, old)
	if got := r.events(enter("ann", "vip", 9), enter("bob", "vip", 10)); got != "transition transition" {
		t.Errorf("they come to %s", got)
	}
	r.wantTold("ann.vip=true bob.vip=true bob!Audience Entered") // bob's is of just that age
}

// TestASentTimeIsNotAhead: MoEngage refuses the future, so what is sent is at most receipt less a second.
func TestASentTimeIsNotAhead(t *testing.T) {
	at := func(d time.Duration) func(*domain.Event) {
		return func(e *domain.Event) { e.Time = receipt.Add(d) }
	}
	for d, want := range map[time.Duration]time.Duration{-time.Hour: -time.Hour, -time.Second: -time.Second, 0: -time.Second, 5 * time.Minute: -time.Second, 6 * time.Minute: 6 * time.Minute} {
		r := sending(t, domain.SendEvent)
		r.event(enter("ann", "vip", 0, at(d)))
		if got := r.changes()[0].EventTime.Sub(receipt); got != want {
			t.Errorf("a time %s beyond its receipt is sent as %s", d, got)
		}
	}
}

func TestAValueIsComparedAsAValue(t *testing.T) {
	score := func(minute int, v string) *domain.Event { return trait("ann", "score", minute, "score", v) }
	late := score(1, "2")
	late.MessageID = "z"
	for _, tc := range []struct {
		name   string
		events []*domain.Event
		want   string
		told   string
	}{
		{"the first", []*domain.Event{score(1, "450")}, "transition", "ann.score=450"},
		{"another", []*domain.Event{score(1, "450"), score(2, "451")}, "transition transition", "ann.score=450(superseded) ann.score=451"},
		{"the same number in other digits", []*domain.Event{score(1, "450"), score(2, "450.0")}, "transition unchanged", "ann.score=450"},
		{"the same event", []*domain.Event{score(1, "450"), score(1, "450")}, "transition duplicate", "ann.score=450"},
		{"an older one", []*domain.Event{score(2, "450"), score(1, "3")}, "transition stale", "ann.score=450"},
		{"of one time the greater message id", []*domain.Event{score(1, "450"), late}, "transition transition", "ann.score=450(superseded) ann.score=2"},
		{"… whichever comes first", []*domain.Event{late, score(1, "450")}, "transition stale", "ann.score=2"},
		{"null, and no value before", []*domain.Event{score(1, "null")}, "unchanged", ""},
		{"null, after a value", []*domain.Event{score(1, "1"), score(2, "null")}, "transition transition", "ann.score=1"},
		{"a boolean is a value", []*domain.Event{score(1, "false")}, "transition", "ann.score=false"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := sending(t, domain.SendAttribute)
			if got := r.events(tc.events...); got != tc.want {
				t.Errorf("the events come to %s, want %s", got, tc.want)
			}
			r.wantTold(tc.told)
			r.wantCounts("score", 0, 0, 0)
		})
	}
}

// TestManyMessagesOfOneMomentEndInOneValue: the value that agrees with the greatest message id wins, in every order.
func TestManyMessagesOfOneMomentEndInOneValue(t *testing.T) {
	say := func(message, v string) *domain.Event {
		e := trait("ann", "score", 1, "score", v)
		e.MessageID = message
		return e
	}
	a, b, c := say("m-1", "1"), say("m-2", "2"), say("m-3", "1")
	for _, order := range [][]*domain.Event{{a, b, c}, {a, c, b}, {b, a, c}, {b, c, a}, {c, a, b}, {c, b, a}} {
		r := sending(t, domain.SendNone)
		r.events(order...)
		var got string
		r.Read(func(tx *state.Tx) { got = string(tx.Entry(tx.User("ann"), 0).Newest().Value) })
		if got != "1" {
			t.Errorf("%s, %s, %s end in %s", order[0].MessageID, order[1].MessageID, order[2].MessageID, got)
		}
	}
}

func TestANullIsSentAsThePolicySays(t *testing.T) {
	for policy, want := range map[domain.NullPolicy]string{
		domain.NullSkip: "ann.score=1(delivered)", domain.NullUnset: "ann.score=1(delivered) ann.score=null", domain.NullEmpty: `ann.score=1(delivered) ann.score=""`,
	} {
		r := sending(t, domain.SendAttribute, func(r *domain.Rules) { r.Defaults.OnNull = policy })
		r.events(trait("ann", "score", 1, "score", "1"))
		r.deliver()
		r.events(trait("ann", "score", 2, "score", "null"))
		r.wantTold(want)
	}
}

func TestASQLRowIsAsManyValuesAsItHasColumns(t *testing.T) {
	r := sending(t, domain.SendBoth)
	if got := r.events(trait("ann", "row", 1, "a", "1", "b", `"x"`), trait("ann", "row", 2, "a", "1", "b", `"y"`)); got != "transition transition" {
		t.Errorf("the rows come to %s", got)
	}
	r.wantTold(`ann.a=1 ann!Trait Computed ann.b="x"(superseded) ann!Trait Computed ann.b="y" ann!Trait Computed`)
	if got := r.events(trait("ann", "row", 3, "a", "1", "b", `"y"`), trait("ann", "row", 3, "a", "1", "b", `"y"`), trait("ann", "row", 1, "b", "1")); got != "unchanged duplicate stale" {
		t.Errorf("the repeats come to %s", got)
	}
	if names := r.changes()[0]; names.Column != "a" || names.Computation != "row" || names.ComputedBy != "tra_row" {
		t.Errorf("the change is about %+v", names)
	}
}

// TestAStoredTimeBeyondTheClockIsNotBelieved: of a clock that was ahead for a moment, up to five minutes are believed.
func TestAStoredTimeBeyondTheClockIsNotBelieved(t *testing.T) {
	ahead := func(d time.Duration) func(*domain.Event) {
		return func(e *domain.Event) { e.Received, e.Time = receipt.Add(d), receipt.Add(d) }
	}
	for d, want := range map[time.Duration]string{4 * time.Minute: "stale", 24 * time.Hour: "transition"} {
		r := sending(t, domain.SendAttribute)
		r.event(enter("ann", "vip", 0, ahead(d)))
		if got := r.event(exit("ann", "vip", 1)).String(); got != want {
			t.Errorf("after a clock that was %s ahead an exit of now is %s, want %s", d, got, want)
		}
		r.Balance()
	}
	r := sending(t, domain.SendAsReceived)
	r.events(exit("ann", "vip", 0, ahead(24*time.Hour), track("Left")), enter("ann", "vip", 1))
	if got := r.membership("ann", "vip"); got != "in" {
		t.Errorf("an exit by the other call, of a clock that was ahead, hides the enter: ann is %s", got)
	}
}

func TestTheLastEventOfAComputationIsItsNewestReceipt(t *testing.T) {
	r := sending(t, domain.SendNone)
	later := receipt.Add(time.Minute)
	r.events(enter("ann", "vip", 1), enter("bob", "vip", 1, statetest.ReceivedAt(later)), enter("cid", "vip", 1))
	if got := r.field("vip").LastEvent; !got.Equal(later) {
		t.Errorf("it is %s", got)
	}
	r.event(enter("dan", "vip", 1, statetest.ReceivedAt(later.Add(24*time.Hour))))
	r.event(enter("eve", "vip", 1, statetest.ReceivedAt(later)))
	if got := r.field("vip").LastEvent; !got.Equal(later) {
		t.Errorf("a receipt of tomorrow still stands: %s", got)
	}
}

// TestTheSizeOfATransactionDoesNotMatter applies the same records one by one and at once.
func TestTheSizeOfATransactionDoesNotMatter(t *testing.T) {
	list := []*domain.Event{
		enter("ann", "vip", 1), enter("bob", "vip", 1), exit("ann", "vip", 3), enter("ann", "new", 2), exit("ann", "vip", 2),
		trait("ann", "row", 1, "a", "1", "b", "2"), enter("ann", "vip", 4), exit("cid", "vip", 1), trait("ann", "row", 2, "a", "3"),
	}
	one, all := sending(t, domain.SendBoth), sending(t, domain.SendBoth)
	one.events(list...)
	all.Do(func(tx *state.Tx) {
		for i, e := range list {
			Record(tx, recordOf(uint64(i+1), e), statetest.Frame(e))
		}
	})
	if a, b := one.told(), all.told(); a != b || one.State.Ledger != all.State.Ledger || one.State.Applied != all.State.Applied {
		t.Errorf("one by one:\n\t%s %+v\nat once:\n\t%s %+v", a, one.State.Ledger, b, all.State.Ledger)
	}
	all.Balance()
}

// TestARepeatDoesNotSendAParkedChangeAgain: an operator decides about it.
func TestARepeatDoesNotSendAParkedChangeAgain(t *testing.T) {
	for _, send := range []domain.SendMethods{domain.SendAttribute, domain.SendAsReceived} {
		r := sending(t, send)
		r.event(enter("ann", "vip", 1))
		r.park()
		if got := r.event(enter("ann", "vip", 2)); got != domain.OutcomeUnchanged {
			t.Errorf("the repeat is %s", got)
		}
		r.wantTold("ann.vip=true(parked)")
	}
}
