package apply

import (
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
)

// words are the users of an order: a name is a member, one behind a minus is not.
func words(users string) (list []record.JobTarget) {
	for _, u := range strings.Fields(users) {
		name, out := strings.CutPrefix(u, "-")
		list = append(list, record.JobTarget{User: name, In: !out})
	}
	return list
}

func at(minute int) time.Time { return noon.Add(time.Duration(minute) * time.Minute) }

func TestAnOrderNamesAComputationOnce(t *testing.T) {
	r := sending(t, domain.SendBoth)
	for range 2 {
		r.order(record.Order{Verb: record.OrderName, Key: "vip"}, "")
	}
	f := r.field("vip")
	if r.State.Registry.Size() != 1 || f.Class != domain.ClassAudience || f.Space != "" || f.ID != "" {
		t.Errorf("there are %d, the first is %+v", r.State.Registry.Size(), f)
	}
}

func TestAnOrderOnAFieldThatIsUnknownChangesNothing(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.order(record.Order{Verb: record.OrderImport, Field: 9, Targets: words("ann")}, "")
	if r.State.Applied != 1 {
		t.Errorf("the position is %d", r.State.Applied)
	}
	r.wantTold("")
}

// TestAnImportIsComparedWithWhatIsKnown: memberships with newer event times are left alone.
func TestAnImportIsComparedWithWhatIsKnown(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.events(enter("ann", "vip", 1), enter("bob", "vip", 9), exit("cid", "vip", 1), exit("dan", "vip", 9))
	r.deliver()
	r.order(record.Order{Verb: record.OrderImport, Time: at(5), Targets: words("-ann -bob cid dan eve -fay")}, "vip")
	r.wantTold("ann.vip=true(delivered) ann!Audience Entered(delivered) bob.vip=true(delivered) bob!Audience Entered(delivered) ann.vip=false cid.vip=true eve.vip=true")
	for user, want := range map[string]string{"ann": "out", "bob": "in", "cid": "in", "dan": "out", "eve": "in", "fay": "out"} {
		if got := r.membership(user, "vip"); got != want {
			t.Errorf("%s is %s, want %s", user, got, want)
		}
	}
	r.wantCounts("vip", 3, 4, 1)
	if ch := r.changes()[4]; ch.MessageID != "import" || !ch.EventTime.Equal(at(5)) || !state.IsBulk(ch.Lane) {
		t.Errorf("an imported change is %+v", ch)
	}
}

func TestAnImportMakesEventsOnlyWhereAsked(t *testing.T) {
	r := sending(t, domain.SendEvent)
	r.event(exit("ann", "vip", 1))
	r.order(record.Order{Verb: record.OrderImport, Time: at(5), Targets: words("ann")}, "vip")
	r.wantTold("")
	r.order(record.Order{Verb: record.OrderImport, Time: at(6), Targets: words("bob"), Events: true}, "vip")
	r.wantTold("bob!Audience Entered")
}

// TestAnImportSetsTheStatesThatWereReceived: import, reconcile and close act only on those.
func TestAnImportSetsTheStatesThatWereReceived(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first []*domain.Event
		told  string
	}{
		{"none: one state, with which both are compared later", nil, ""},
		{"identify", []*domain.Event{exit("zoe", "vip", 1)}, "ann.vip=true"},
		{"track", []*domain.Event{exit("zoe", "vip", 1, track("Left"))}, "ann!Audience Entered"},
		{"both", []*domain.Event{exit("zoe", "vip", 1), exit("zoe", "vip", 1, track("Left"))}, "ann.vip=true ann!Audience Entered"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := sending(t, domain.SendAsReceived)
			r.order(record.Order{Verb: record.OrderName, Key: "vip"}, "")
			r.events(tc.first...)
			r.order(record.Order{Verb: record.OrderImport, Time: at(5), Targets: words("ann"), Events: true}, "vip")
			r.wantTold(tc.told)
			if got := r.membership("ann", "vip"); got != "in" {
				t.Errorf("ann is %s", got)
			}
		})
	}
}

func TestAMemberByAListAloneIsToldByTheFirstIdentify(t *testing.T) {
	r := sending(t, domain.SendAsReceived)
	r.order(record.Order{Verb: record.OrderName, Key: "vip"}, "")
	r.order(record.Order{Verb: record.OrderImport, Time: at(1), Targets: words("ann")}, "vip")
	if got := r.event(enter("ann", "vip", 2)); got != domain.OutcomeUnchanged {
		t.Errorf("the identify is %s", got)
	}
	r.wantTold("ann.vip=true")
}

// TestAnIdentifyOlderThanAListSaysNothing: the list says that the user has left since.
func TestAnIdentifyOlderThanAListSaysNothing(t *testing.T) {
	r := sending(t, domain.SendAsReceived)
	r.order(record.Order{Verb: record.OrderName, Key: "vip"}, "")
	r.order(record.Order{Verb: record.OrderImport, Time: at(1), Targets: words("ann")}, "vip")
	r.order(record.Order{Verb: record.OrderImport, Time: at(5), Targets: words("-ann")}, "vip")
	if got := r.event(enter("ann", "vip", 3)); got != domain.OutcomeStale {
		t.Errorf("the identify is %s", got)
	}
	r.wantTold("")
	r.wantCounts("vip", 0, 1, 1)
}

// TestABaselineIsKnownToMoEngageAlready, on every target: nothing is sent then or later.
func TestABaselineIsKnownToMoEngageAlready(t *testing.T) {
	for _, send := range []domain.SendMethods{domain.SendBoth, domain.SendCohort, domain.SendList, domain.SendAttribute | domain.SendCohort | domain.SendList} {
		r := sending(t, send)
		r.order(record.Order{Verb: record.OrderName, Key: "vip"}, "")
		r.order(record.Order{Verb: record.OrderBaseline, Time: at(1), Targets: words("ann -bob")}, "vip")
		r.wantTold("")
		r.wantCounts("vip", 1, 1, 0)
		r.events(enter("ann", "vip", 2), exit("bob", "vip", 2))
		r.wantTold("")
		r.event(exit("ann", "vip", 3))
		if told := r.told(); told == "" {
			t.Errorf("by %d the exit of a member of a baseline is not sent", send)
		}
		before := r.told()
		r.order(record.Order{Verb: record.OrderReconcile, Targets: words("bob")}, "vip")
		r.wantTold(before) // MoEngage never knew of bob
		r.Balance()
	}
}

func TestABaselineIsComparedByItsTime(t *testing.T) {
	r := sending(t, domain.SendAttribute)
	r.events(enter("ann", "vip", 9), enter("bob", "vip", 1))
	r.order(record.Order{Verb: record.OrderBaseline, Time: at(5), Targets: words("-ann -bob")}, "vip")
	r.wantTold("ann.vip=true bob.vip=true(cancelled)")
	if r.membership("ann", "vip") != "in" || r.membership("bob", "vip") != "out" {
		t.Errorf("ann is %s, bob %s", r.membership("ann", "vip"), r.membership("bob", "vip"))
	}
	r.wantCounts("vip", 1, 2, 1)
}

func TestABaselineBesideARequestInFlightIsSentAfterIt(t *testing.T) {
	r := sending(t, domain.SendAttribute)
	r.event(enter("ann", "vip", 1))
	lease := r.take()
	r.order(record.Order{Verb: record.OrderBaseline, Time: at(5), Targets: words("-ann")}, "vip")
	r.settle(lease, domain.Delivered)
	r.wantTold("ann.vip=true(delivered) ann.vip=false")
}

func TestACloseIsAnExitOfEveryMember(t *testing.T) {
	for _, events := range []bool{false, true} {
		r := sending(t, domain.SendBoth)
		r.events(enter("ann", "vip", 1), exit("bob", "vip", 1), enter("cid", "vip", 29))
		r.deliver()
		r.order(record.Order{Verb: record.OrderClose, Time: at(5), Targets: words("-ann -bob -cid -dan"), Events: events}, "vip")
		want := "ann.vip=true(delivered) ann!Audience Entered(delivered) cid.vip=true(delivered) cid!Audience Entered(delivered) ann.vip=false"
		if events {
			want += " ann!Audience Exited cid.vip=false cid!Audience Exited"
		} else {
			want += " cid.vip=false"
		}
		r.wantTold(want)
		r.wantCounts("vip", 0, 2, 2)
		if r.membership("dan", "vip") != "nothing" {
			t.Error("one who never was a member left")
		}
		for _, ch := range r.changes() {
			if want := map[string]time.Time{"ann": at(5), "cid": at(29)}[ch.User]; ch.Transition == domain.TransitionExit && !ch.EventTime.Equal(want) {
				t.Errorf("%s left at %s, want %s: of one time an exit wins", ch.User, ch.EventTime, want)
			}
		}
	}
}

func TestAReconcileSendsAgainWhatMoEngageShouldKnow(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.events(enter("ann", "vip", 1), enter("bob", "vip", 1), exit("cid", "vip", 1))
	r.deliver()
	r.event(exit("bob", "vip", 2))
	r.deliver()
	before := len(r.changes())
	r.order(record.Order{Verb: record.OrderReconcile, Targets: words("ann bob cid dan")}, "vip")
	again := r.changes()[before:]
	if len(again) != 2 || string(again[0].Value) != "true" || again[0].User != "ann" || string(again[1].Value) != "false" || again[1].User != "bob" {
		t.Fatalf("it sends %d changes: %s", len(again), r.told())
	}
	if !again[0].EventTime.Equal(at(1)) || !again[1].EventTime.Equal(at(2)) || again[0].MessageID != "reconcile" {
		t.Errorf("they bear the times %s and %s", again[0].EventTime, again[1].EventTime)
	}
	r.order(record.Order{Verb: record.OrderReconcile, Targets: words("ann"), Events: true}, "vip")
	if told := r.told(); !strings.HasSuffix(told, "ann.vip=true bob.vip=false ann!Audience Entered") {
		t.Errorf("with events, and the attribute open: %s", told)
	}
	r.order(record.Order{Verb: record.OrderReconcile, Targets: words("bob"), Events: true}, "vip")
	if told := r.told(); !strings.HasSuffix(told, "ann!Audience Entered bob!Audience Exited") {
		t.Errorf("with the event of who left: %s", told)
	}
	r.Balance()
}

func TestAReconcileFillsANewCohortAndList(t *testing.T) {
	r := sending(t, domain.SendNone)
	r.events(enter("ann", "vip", 1), enter("bob", "vip", 1), exit("bob", "vip", 2))
	r.SetRules(statetest.Rules(domain.SendCohort | domain.SendList))
	r.order(record.Order{Verb: record.OrderReconcile, Targets: words("ann bob")}, "vip")
	r.wantTold("ann@vip=true ann.segment_audiences=true") // bob was never told to be in
}

func TestAReconcileOfATraitSendsItsValue(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.events(trait("ann", "score", 1, "score", "5"), trait("bob", "score", 1, "score", "null"), trait("cid", "score", 1, "score", "6"))
	r.deliver()
	r.event(trait("cid", "score", 2, "score", "null"))
	before := len(r.changes())
	r.order(record.Order{Verb: record.OrderReconcile, Targets: words("ann bob cid dan"), Events: true}, "score")
	var got []string
	for _, ch := range r.changes()[before:] {
		got = append(got, ch.User+" "+ch.Kind.String()+" "+string(ch.Value))
	}
	if want := []string{"ann attribute 5", "ann event 5"}; !slices.Equal(got, want) {
		t.Errorf("it sends %v, want %v", got, want)
	}
	rules := statetest.Rules(domain.SendAttribute)
	rules.Defaults.OnNull = domain.NullUnset
	r.SetRules(rules)
	before = len(r.changes())
	r.order(record.Order{Verb: record.OrderReconcile, Targets: words("bob cid")}, "score")
	if again := r.changes()[before:]; len(again) != 1 || again[0].User != "cid" || string(again[0].Value) != "null" {
		t.Errorf("a null that was never a value: %s", r.told())
	}
}

func TestAnErasedUserIsInNoOrderBeforeTheErasure(t *testing.T) {
	r := sending(t, domain.SendAttribute)
	r.event(enter("bob", "vip", 1))
	r.Do(func(tx *state.Tx) { Forget(tx, tx.User("ann"), receipt) })
	r.order(record.Order{Verb: record.OrderImport, Time: at(30), Targets: words("ann")}, "vip")
	if got := r.membership("ann", "vip"); got != "nothing" {
		t.Errorf("an older list makes an erased user %s", got)
	}
	r.order(record.Order{Verb: record.OrderImport, Time: at(31), Targets: words("ann")}, "vip")
	if got := r.membership("ann", "vip"); got != "in" {
		t.Errorf("a newer list makes an erased user %s", got)
	}
}

func TestAComputationIsRemovedOnlyIfNothingRefersToIt(t *testing.T) {
	for _, tc := range []struct {
		name    string
		before  []*domain.Event
		since   time.Duration // of its last event, after that of the order
		removed bool
	}{
		{"nobody is in it", []*domain.Event{exit("ann", "vip", 1)}, 0, true},
		{"a member", []*domain.Event{enter("ann", "vip", 1)}, 0, false},
		{"an event since the order", []*domain.Event{exit("ann", "vip", 1)}, time.Second, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := sending(t, domain.SendAttribute)
			r.events(tc.before...)
			f := r.field("vip")
			r.order(record.Order{Verb: record.OrderForget, Time: f.LastEvent.Add(-tc.since)}, "vip")
			if f.Gone() != tc.removed || r.State.Registry.Size() != map[bool]int{true: 0, false: 1}[tc.removed] {
				t.Fatalf("removed: %v", f.Gone())
			}
			if r.Reopen(); r.State.Registry.Fields[0].Gone() != tc.removed {
				t.Error("the file says otherwise")
			}
			if _, err := Removable(r.State.Registry, "vip"); errors.Is(err, domain.ErrNotFound) != tc.removed {
				t.Errorf("it is found with %v", err)
			}
		})
	}
}

func TestAHeldChangeKeepsItsComputation(t *testing.T) {
	r := sending(t, domain.SendAttribute)
	r.events(enter("ann", "vip", 1), enter("ann", "vip", 2, in("spa_2", "aud_2")), exit("ann", "vip", 3, in("spa_2", "aud_2")))
	second := r.State.Registry.ByID["aud_2"][0]
	r.order(record.Order{Verb: record.OrderForget, Field: second.Number, Time: second.LastEvent}, "")
	if second.Members != 0 || second.Held == 0 || second.Gone() {
		t.Errorf("with %d members and %d held: removed is %v", second.Members, second.Held, second.Gone())
	}
}

func TestAForwardedTraitIsRemovedByItsName(t *testing.T) {
	r := sending(t, domain.SendAttribute, func(r *domain.Rules) { r.Defaults.ForwardTraits = []string{"city"} })
	r.event(enter("ann", "vip", 1, statetest.WithTraits("vip", "true", "city", `"Rome"`)))
	f, err := Removable(r.State.Registry, "city")
	r.Must(err)
	r.record(record.Record{Order: &record.Order{Verb: record.OrderForget, Field: f.Number, Time: f.LastEvent}}, nil)
	if _, err := Removable(r.State.Registry, "city"); !errors.Is(err, domain.ErrNotFound) || !f.Gone() {
		t.Errorf("it is still found: %v", err)
	}
	if _, err := Removable(r.State.Registry, "vip"); err != nil {
		t.Error(err)
	}
}

// TestAnAudienceMadeAgainIsContinued: the new id goes on with the old computation.
func TestAnAudienceMadeAgainIsContinued(t *testing.T) {
	r := sending(t, domain.SendBoth)
	again := in("spa_1", "aud_new")
	r.events(enter("ann", "vip", 1), enter("bob", "vip", 1))
	r.deliver()
	r.events(enter("ann", "vip", 5, again), enter("cid", "vip", 5, again), exit("bob", "vip", 5, again))
	into, from, err := Adoption(r.State.Registry, "vip", "aud_new")
	r.Must(err)
	if into.ID != "aud_vip" || len(from) != 1 || from[0].ID != "aud_new" {
		t.Fatalf("into %+v from %v", into, from)
	}
	other := from[0]
	adopt := record.Order{Verb: record.OrderAdopt, Field: into.Number, Other: other.Number}
	r.order(adopt, "")
	if into.ID != "aud_new" || other.ID != "aud_vip" || !other.Former() || into.Former() {
		t.Errorf("after the exchange into is %s, former %v; from is %s, former %v", into.ID, into.Former(), other.ID, other.Former())
	}
	adopt.Targets = words("ann cid bob")
	r.order(adopt, "")
	r.wantTold("ann.vip=true(delivered) ann!Audience Entered(delivered) bob.vip=true(delivered) bob!Audience Entered(delivered) " +
		"ann.vip=true(cancelled) ann!Audience Entered(cancelled) cid.vip=true(cancelled) cid!Audience Entered(cancelled) " +
		"cid.vip=true cid!Audience Entered bob.vip=false bob!Audience Exited")
	r.wantCounts("vip", 2, 3, 1)
	if other.Members != 0 || other.Held != 0 {
		t.Errorf("the former one has %d members, %d held", other.Members, other.Held)
	}
	if got := r.events(enter("dan", "vip", 6), enter("dan", "vip", 6, again)); got != "ignored transition" {
		t.Errorf("late events come to %s", got)
	}
	if into, from, err := Adoption(r.State.Registry, "vip", "aud_new"); err != nil || into.ID != "aud_new" || len(from) != 1 || from[0] != other {
		t.Errorf("again: %v from %v, %v", into, from, err)
	}
	r.order(record.Order{Verb: record.OrderAdopt, Field: into.Number, Other: other.Number}, "")
	if into.ID != "aud_new" {
		t.Error("a second order exchanged the ids again")
	}
}

func TestWhatCannotBeAdoptedSaysWhy(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.event(enter("ann", "vip", 1))
	for _, tc := range []struct {
		key, id string
		want    error
	}{{"new", "aud_1", domain.ErrNotFound}, {"vip", "aud_1", ErrNoSuccessor}, {"vip", "aud_vip", nil}} {
		if _, from, err := Adoption(r.State.Registry, tc.key, tc.id); !errors.Is(err, tc.want) || len(from) != 0 {
			t.Errorf("%s by %s: %v, from %v", tc.key, tc.id, err, from)
		}
	}
	f := r.field("vip")
	r.order(record.Order{Verb: record.OrderAdopt, Field: f.Number, Other: f.Number}, "")
	r.order(record.Order{Verb: record.OrderAdopt, Field: f.Number, Other: 9}, "")
	if f.ID != "aud_vip" || f.Former() {
		t.Errorf("an order without another computation changed %+v", f)
	}
}

// guarded has exits held from the second member who leaves on.
func guarded(r *domain.Rules) {
	r.Guard = domain.Guard{Share: 0.3, Count: 2, Window: time.Hour}
}

func TestHeldExitsAreReleasedOrDiscarded(t *testing.T) {
	for _, tc := range []struct {
		verb     record.Order
		told, is string
		members  uint64
	}{
		{record.Order{Verb: record.OrderRelease}, "ann.vip=false bob.vip=false", "out", 1},
		{record.Order{Verb: record.OrderDiscard}, "ann.vip=false(dropped) bob.vip=false(dropped)", "in", 3},
	} {
		r := sending(t, domain.SendAttribute, guarded)
		r.events(enter("ann", "vip", 1), enter("bob", "vip", 1), enter("cid", "vip", 1))
		r.deliver()
		r.events(exit("ann", "vip", 2), exit("bob", "vip", 2))
		delivered := "ann.vip=true(delivered) bob.vip=true(delivered) cid.vip=true(delivered) "
		r.wantTold(delivered + "ann.vip=false bob.vip=false(held)")
		if r.field("vip").Exits.Tripped.IsZero() {
			t.Fatal("the guard did not trip")
		}
		r.events(enter("zoe", "other", 2)) // a record of another computation holds nothing
		r.order(tc.verb, "vip")
		tc.verb.IDs = r.ids(domain.StateHeld)
		r.order(tc.verb, "vip")
		tc.verb.IDs, tc.verb.Targets = nil, words("ann bob")
		r.order(tc.verb, "vip")
		r.order(record.Order{Verb: record.OrderDiscarded}, "vip")
		if got := r.membership("bob", "vip"); got != tc.is {
			t.Errorf("bob is %s, want %s", got, tc.is)
		}
		f := r.field("vip")
		if f.Members != tc.members || f.Held != 0 || !f.Exits.Tripped.IsZero() || f.Exits.Undone != (state.RecordRange{}) {
			t.Errorf("the computation is %+v", f)
		}
		r.Balance()
	}
}

// TestTheGuardCountsMembersWhoLeave, and nobody else: not those who never were members, and not where it does not watch.
func TestTheGuardCountsMembersWhoLeave(t *testing.T) {
	r := sending(t, domain.SendAttribute, guarded)
	r.events(enter("ann", "vip", 1), enter("bob", "vip", 1), enter("cid", "vip", 1))
	r.events(exit("dan", "vip", 2), exit("eve", "vip", 2), exit("fay", "vip", 2), exit("ann", "vip", 2))
	if w := r.field("vip").Exits; w.Left != 1 || !w.Tripped.IsZero() {
		t.Errorf("one of three left, and the guard has %+v", w)
	}
	r = sending(t, domain.SendAttribute, guarded)
	for i := range 10 {
		r.event(enter(fmt.Sprint("user", i), "vip", 1))
	}
	r.events(exit("user0", "vip", 2), exit("user1", "vip", 2), exit("user2", "vip", 2))
	if w := r.field("vip").Exits; w.Members != 10 || w.Left != 3 || !w.Tripped.IsZero() {
		t.Errorf("three of ten that came in the same window left, and the guard has %+v", w)
	}
	r = sending(t, domain.SendAttribute, guarded, func(r *domain.Rules) { r.Defaults.Unguarded = true })
	r.events(enter("ann", "vip", 1), enter("bob", "vip", 1), enter("cid", "vip", 1))
	r.events(exit("ann", "vip", 2), exit("bob", "vip", 2), exit("cid", "vip", 2))
	if w := r.field("vip").Exits; w.Left != 0 || !w.Tripped.IsZero() {
		t.Errorf("all left an audience without a guard, which has %+v", w)
	}
}

// TestARepeatedExitStaysTheOperatorsDecision: a discard would readmit the user otherwise.
func TestARepeatedExitStaysTheOperatorsDecision(t *testing.T) {
	r := sending(t, domain.SendAttribute)
	r.event(enter("ann", "vip", 1))
	r.order(record.Order{Verb: record.OrderClose, Time: at(5), Targets: words("-ann")}, "vip")
	if got := r.event(exit("ann", "vip", 6)); got != domain.OutcomeUnchanged {
		t.Errorf("the exit is %s", got)
	}
	r.Read(func(tx *state.Tx) {
		if s := tx.Entry(tx.User("ann"), 0).Newest(); s.Message != domain.ByOperator {
			t.Errorf("%+v", s)
		}
	})
}

// TestTheCallsThatWereHeardOutliveARestart: an order sets the states of those that have come.
func TestTheCallsThatWereHeardOutliveARestart(t *testing.T) {
	r := sending(t, domain.SendAsReceived)
	r.events(exit("zoe", "vip", 1), exit("zoe", "vip", 1, track("Left"))) // received at once: the second tells nothing else of the audience
	r.Reopen()
	r.order(record.Order{Verb: record.OrderImport, Time: at(5), Targets: words("ann"), Events: true}, "vip")
	r.wantTold("ann.vip=true ann!Audience Entered")
}

// TestAnOperatorsErasureIsToldToMoEngage, by the operator's name.
func TestAnOperatorsErasureIsToldToMoEngage(t *testing.T) {
	r := sending(t, domain.SendBoth, func(r *domain.Rules) { r.Deletes = domain.Deletes{Send: true, PerDay: 9} })
	r.event(enter("ann", "vip", 1))
	r.order(record.Order{Verb: record.OrderDelete, Targets: words("ann"), By: "root"}, "")
	r.Read(func(tx *state.Tx) {
		if list := state.Receipts(tx, "ann"); len(list) != 1 || list[0].By != "root" || list[0].State != domain.StatePending {
			t.Errorf("%+v", list)
		}
	})
	if list := r.changes(); len(list) != 1 || list[0].Kind != domain.KindDelete {
		t.Errorf("%s", r.told())
	}
}
