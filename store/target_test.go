package store

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"personasync/store/domain"
)

// takeCohort takes what is due on the endpoint of cohorts at a moment after noon.
func (b *bench) takeCohort(after time.Duration) *domain.Lease {
	b.Helper()
	f, _, err := b.Take(context.Background(), onCohorts(noon.Add(after)))
	must(b, err)
	return f
}

func passengers(f *domain.Lease) string {
	if f == nil {
		return ""
	}
	words := []string{f.Users[0].Attributes[0].Name, f.Users[0].Attributes[0].Transition.String()}
	var users []string
	for _, d := range f.Users {
		users = append(users, d.User)
	}
	slices.Sort(users)
	return fmt.Sprint(words, users)
}

func TestARequestSpeaksOfOneCohortInOneDirection(t *testing.T) {
	b := open(t, rules(domain.SendCohort))
	for i := range 3 {
		user := fmt.Sprint("user-", i)
		b.receive(event(user, "vip", true, 1), event(user, "new", true, 1))
	}
	for f := b.takeCohort(time.Hour); f != nil; f = b.takeCohort(time.Hour) {
		b.settle(f, domain.Delivered)
	}
	b.sent = nil
	b.receive(event("user-0", "vip", false, 2), event("user-1", "vip", false, 2), event("user-3", "vip", true, 2), event("user-2", "new", false, 2))
	var got []string
	for f := b.takeCohort(time.Hour); f != nil; f = b.takeCohort(time.Hour) {
		got = append(got, passengers(f))
		b.settle(f, domain.Delivered)
	}
	slices.Sort(got)
	want := "[[new exit] [user-2] [vip enter] [user-3] [vip exit] [user-0 user-1]]"
	wantText(t, fmt.Sprint(got), want)
	if f := b.take(); f != nil {
		t.Errorf("the other endpoint had something: %+v", f)
	}
	recount(t, b)
}

func wantText(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Cohort Sync passes over users it does not know, so the user's attributes go first, and have a minute.
func TestACohortChangeWaitsUntilMoEngageKnowsTheUser(t *testing.T) {
	b := open(t, rules(domain.SendAttribute|domain.SendCohort))
	b.receive(event("ann", "vip", true, 1))
	if f := b.takeCohort(time.Hour); f != nil {
		t.Fatalf("left before the attribute: %s", passengers(f))
	}
	f := b.take()
	if other := b.takeCohort(time.Hour); other != nil {
		t.Fatalf("left while the attribute was in flight: %s", passengers(other))
	}
	b.settle(f, domain.Delivered) // at noon + 1 h
	b.reopen(rules(domain.SendAttribute | domain.SendCohort))
	if f := b.takeCohort(time.Hour + 59*time.Second); f != nil {
		t.Fatalf("left too early: %s", passengers(f))
	}
	if _, next, err := b.Take(context.Background(), onCohorts(noon.Add(time.Hour))); err != nil || !next.Retry.Equal(noon.Add(time.Hour+time.Minute)) {
		t.Errorf("next %v, %v: want to be asked again a minute after the attribute", next, err)
	}
	o := onCohorts(noon.Add(time.Hour + 30*time.Second))
	o.Force = true
	if f, _, err := b.Take(context.Background(), o); err != nil || f != nil {
		t.Fatalf("a flush made it leave too early: %s, %v", passengers(f), err)
	}
	late := b.takeCohort(time.Hour + time.Minute)
	wantText(t, passengers(late), "[vip enter] [ann]")
	b.settle(late, domain.Delivered)
	recount(t, b)
}

// Newer changes of a busy user on the other endpoint must not put a cohort change off for ever.
func TestNewerChangesDoNotHoldACohortBack(t *testing.T) {
	b := open(t, rules(domain.SendAttribute|domain.SendCohort))
	b.receive(event("ann", "vip", true, 1))
	b.settle(b.take(), domain.Delivered)
	later := trait("ann", "ltv", 5, "ltv", "1")
	later.Received = noon.Add(45 * time.Minute)
	b.receive(later)
	wantText(t, passengers(b.takeCohort(time.Hour+time.Minute)), "[vip enter] [ann]")
}

func TestAParkedAttributeHoldsNoCohortBack(t *testing.T) {
	b := open(t, rules(domain.SendAttribute|domain.SendCohort))
	b.receive(event("ann", "vip", true, 1))
	b.settle(b.take(), domain.Parked)
	wantText(t, passengers(b.takeCohort(time.Hour)), "[vip enter] [ann]")
}

func TestCohortsAndListsSendTheNetDifference(t *testing.T) {
	for _, send := range []domain.SendMethods{domain.SendCohort, domain.SendList} {
		b := open(t, rules(send))
		take := func() *domain.Lease {
			if send == domain.SendCohort {
				return b.takeCohort(time.Hour)
			}
			return b.take()
		}
		b.receive(event("ann", "vip", true, 1), event("ann", "vip", false, 2))
		if f := take(); f != nil {
			t.Errorf("channel %d: never told, in and out again: %s", send, passengers(f))
		}
		b.receive(event("ann", "vip", true, 3))
		b.settle(take(), domain.Delivered)
		b.receive(event("ann", "vip", false, 4), event("ann", "vip", true, 5))
		if f := take(); f != nil {
			t.Errorf("channel %d: out and in again: %s", send, passengers(f))
		}
		b.receive(event("ann", "vip", false, 6))
		b.settle(take(), domain.Uncertain)
		b.receive(event("ann", "vip", true, 7))
		if f := take(); f == nil || string(f.Users[0].Attributes[0].Value) != "true" {
			t.Errorf("channel %d: after an uncertain exit the enter was not sent", send)
		}
		recount(t, b)
	}
}

// MoEngage refuses an element that both adds to a list and removes from it.
func TestAListIsAddedToAndRemovedFromInTurn(t *testing.T) {
	b := open(t, rules(domain.SendList))
	b.receive(event("ann", "a", true, 1), event("ann", "b", true, 1))
	f := b.take()
	if n := len(f.Users[0].Attributes); n != 2 {
		t.Errorf("%d additions left together, want 2", n)
	}
	b.settle(f, domain.Delivered)
	b.receive(event("ann", "a", false, 2), event("ann", "c", true, 2), event("ann", "b", false, 2))
	var got []string
	for f := b.take(); f != nil; f = b.take() {
		for _, c := range f.Users[0].Attributes {
			got = append(got, c.Computation+" "+c.Transition.String())
		}
		got = append(got, "|")
		b.settle(f, domain.Delivered)
	}
	wantText(t, fmt.Sprint(got), "[a exit b exit | c enter |]")
	recount(t, b)
}

// Identify and track are two states under as_received; the cohort knows one membership.
func TestACohortBesideAsReceivedIsToldOnce(t *testing.T) {
	b := open(t, rules(domain.SendAsReceived|domain.SendCohort))
	b.receive(event("ann", "vip", true, 1), event("ann", "vip", true, 1, asTrack("Entered")))
	c := b.balance()
	if c.Changes.Created != 3 {
		t.Errorf("%d changes, want the attribute, the event and one for the cohort", c.Changes.Created)
	}
}

func TestTwoComputationsMayShareAListAndNotACohort(t *testing.T) {
	r := rules(domain.SendCohort | domain.SendList)
	r.Defaults.CohortName = "Everybody"
	b := open(t, r)
	b.receive(event("ann", "vip", true, 1), event("ann", "new", true, 1))
	page, _, err := b.Changes(domain.OutboxFilter{State: domain.StateHeld})
	must(t, err)
	if len(page) != 1 || page[0].Kind != "cohort" || page[0].Computation != "new" || page[0].Reason != "key_conflict" {
		t.Errorf("held %+v, want the second computation's cohort change alone", page)
	}
	list, err := b.Computations()
	must(t, err)
	if len(list) != 2 || list[0].Held != 1 {
		t.Errorf("computations %+v", list)
	}
	r.Defaults.CohortName = ""
	must(t, b.SetRules(context.Background(), r))
	must(t, b.Applied(context.Background()))
	if c := b.balance(); c.Changes.Held != 0 {
		t.Errorf("still held after they were named apart: %+v", c.Changes)
	}
	recount(t, b)
}

func TestATraitIsNoMember(t *testing.T) {
	b := open(t, rules(domain.SendCohort|domain.SendList))
	b.receive(trait("ann", "ltv", 1, "ltv", "true"))
	if c := b.balance(); c.Changes.Created != 0 {
		t.Errorf("a trait made %d changes", c.Changes.Created)
	}
}

// everywhere tells a membership in all the ways there are.
const everywhere = domain.SendBoth | domain.SendCohort | domain.SendList

// wantHeldThere compares who is a member of vip in MoEngage, on each channel, with who should be.
func (b *bench) wantHeldThere(them *moengage, want string) {
	b.Helper()
	for channel, held := range map[string]map[string]string{"attribute": them.attributes, "cohort": them.cohorts, "list": them.lists} {
		var in []string
		for name, value := range held {
			if value == "true" {
				in = append(in, name[:len(name)-len(".vip")])
			}
		}
		slices.Sort(in)
		if got := fmt.Sprint(in); got != want {
			b.Errorf("by %s, MoEngage holds %s, want %s", channel, got, want)
		}
	}
}

func TestAMassExitIsHeldOnEveryChannel(t *testing.T) {
	costly(t, manyStores)
	for discard, want := range map[bool]string{false: "[user4 user5]", true: "[user0 user1 user2 user3 user4 user5]"} {
		them := newMoengage()
		b := open(t, watched(everywhere))
		for i := range 6 {
			b.receive(enters(i, 0))
		}
		b.tell(them)
		b.receive(leaves(0, 70), leaves(1, 71), leaves(2, 72), leaves(3, 73), leaves(4, 74), enters(4, 75))
		b.swept()
		b.wantHeld(4 * 4) // an attribute, an event, a cohort's and a list's change of each
		b.tell(them)
		b.wantHeldThere(them, "[user0 user1 user2 user3 user4 user5]")
		b.reopen(watched(everywhere))
		if r := b.decide(discard); r.Decided != 16 || r.Held != 0 {
			t.Errorf("%+v", r)
		}
		b.tell(them)
		b.wantHeldThere(them, want)
		b.wantHeld(0)
	}
}

// TestAReconcileFillsACohortThatIsNew: members were told before the computation had a cohort.
func TestAReconcileFillsACohortThatIsNew(t *testing.T) {
	them := newMoengage()
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 0), event("bob", "vip", true, 0), event("cid", "vip", true, 0))
	b.tell(them)
	must(t, b.SetRules(context.Background(), rules(everywhere)))
	b.receive(event("bob", "vip", false, 1))
	reconcile := func() uint64 {
		r, err := b.Reconcile(context.Background(), "vip", false, false, nil)
		must(t, err)
		return r.Again
	}
	if n := reconcile(); n != 3 {
		t.Errorf("told again of %d users, want 3", n)
	}
	b.tell(them)
	b.wantHeldThere(them, "[ann cid]")

	// An ex-member whom MoEngage knows of by the cohort alone is told of again.
	must(t, b.SetRules(context.Background(), rules(domain.SendCohort)))
	b.receive(event("dan", "vip", true, 2))
	b.tell(them)
	b.receive(event("dan", "vip", false, 3))
	b.tell(them)
	delete(them.cohorts, "ann.vip")
	them.cohorts["dan.vip"] = "true" // somebody did this by hand
	if n := reconcile(); n != 4 {
		t.Errorf("told again of %d users, want 4", n)
	}
	b.tell(them)
	if got := fmt.Sprint(them.cohorts); got != "map[ann.vip:true cid.vip:true dan.vip:false]" {
		t.Errorf("the cohort has %s", got)
	}
	recount(t, b)
}

// TestABaselineIsWhatEveryChannelKnows: nothing is sent, and exits are.
func TestABaselineIsWhatEveryChannelKnows(t *testing.T) {
	them := newMoengage()
	b := open(t, rules(everywhere))
	r := b.imports(Import{Key: "vip", AsOf: minute(1), Users: users("ann", "bob"), Baseline: true, Create: true})
	if r.Created != 0 {
		t.Errorf("%+v", r)
	}
	b.receive(event("ann", "vip", false, 2))
	b.tell(them)
	for name, held := range map[string]map[string]string{"attribute": them.attributes, "cohort": them.cohorts, "list": them.lists} {
		if got := fmt.Sprint(held); got != "map[ann.vip:false]" {
			t.Errorf("%s: told %s", name, got)
		}
	}
	recount(t, b)
}

// TestABaselineOfTheVeryMomentCounts: the list is as new as what is known, and says the same. It was taken
// for no news, so MoEngage was never told of the exit.
func TestABaselineOfTheVeryMomentCounts(t *testing.T) {
	them := newMoengage()
	b := open(t, rules(everywhere))
	b.receive(event("ann", "vip", true, 1))
	b.imports(Import{Key: "vip", AsOf: minute(1), Users: users("ann"), Baseline: true})
	b.receive(event("ann", "vip", false, 2))
	b.tell(them)
	if got := fmt.Sprint(them.attributes, them.cohorts, them.lists); got != "map[ann.vip:false] map[ann.vip:false] map[ann.vip:false]" {
		t.Errorf("told %s", got)
	}
}

// TestABaselineBesideARequestUnderWay: the request comes to nothing, and the user leaves. MoEngage is told,
// because the list says that it knows the user as a member.
func TestABaselineBesideARequestUnderWay(t *testing.T) {
	them := newMoengage()
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	f := b.take()
	b.imports(Import{Key: "vip", AsOf: minute(2), Users: users("ann"), Baseline: true})
	b.receive(event("ann", "vip", false, 3))
	b.settle(f, domain.Untried)
	b.tell(them)
	if got := fmt.Sprint(them.attributes); got != "map[ann.vip:false]" {
		t.Errorf("told %s", got)
	}
}

// TestABaselineCancelsTheHeldExit: it was released later, and told MoEngage that a member had left.
func TestABaselineCancelsTheHeldExit(t *testing.T) {
	for _, send := range []domain.SendMethods{everywhere, domain.SendAsReceived} {
		them := newMoengage()
		b := peopled(t, watched(send), 6)
		b.tell(them)
		leave := func(user, m int) *domain.Event {
			e := leaves(user, m)
			if send == domain.SendAsReceived {
				asTrack("Left")(e)
			}
			return e
		}
		b.receive(leave(0, 70), leave(1, 71), leave(2, 72))
		b.swept()
		b.imports(Import{Key: "vip", AsOf: minute(80), Users: users("user0", "user1", "user2", "user3", "user4", "user5"), Baseline: true})
		b.wantHeld(0)
		b.decide(false)
		*them = *newMoengage()
		b.tell(them)
		if len(them.attributes)+len(them.events)+len(them.cohorts)+len(them.lists) != 0 {
			t.Errorf("send %d: told %+v", send, them)
		}
	}
}

// TestARetryTellsTheCohortsOfWhomMoEngageDidNotKnow: the attribute that would have made the user known was
// parked, the cohort change left, MoEngage passed over it, and nobody told it again after the retry.
func TestARetryTellsTheCohortsOfWhomMoEngageDidNotKnow(t *testing.T) {
	ctx := context.Background()
	for name, landed := range map[string]bool{"the cohort was told before": true, "the cohort is being told": false} {
		t.Run(name, func(t *testing.T) {
			b := open(t, rules(domain.SendBoth|domain.SendCohort))
			b.receive(event("ann", "vip", true, 1))
			b.settle(b.take(), domain.Parked)
			if f := b.take(); f != nil { // the event, where it travels alone
				b.settle(f, domain.Parked)
			}
			f := b.takeCohort(time.Hour)
			wantText(t, passengers(f), "[vip enter] [ann]")
			if landed {
				b.settle(f, domain.Delivered)
			}
			must(t, b.Retry(ctx, noon.Add(time.Hour), b.ids(domain.StateParked)))
			if !landed {
				b.settle(f, domain.Delivered)
			}
			if again := b.takeCohort(2 * time.Hour); again != nil {
				t.Fatalf("it left before the user is known: %s", passengers(again))
			}
			b.drain()
			wantText(t, passengers(b.takeCohort(2*time.Hour)), "[vip enter] [ann]")
			b.sound()
		})
	}
}

// Likewise, when the parked attribute gives way to another value.
func TestAValueInPlaceOfAParkedOneTellsTheCohortsOfWhomMoEngageDidNotKnow(t *testing.T) {
	b := open(t, rules(domain.SendAttribute|domain.SendCohort))
	b.receive(event("ann", "vip", true, 1), trait("ann", "spent", 1, "spent", "10"))
	b.settle(b.take(), domain.Parked)
	for f := b.takeCohort(2 * time.Hour); f != nil; f = b.takeCohort(2 * time.Hour) {
		b.settle(f, domain.Delivered)
	}
	b.receive(trait("ann", "spent", 2, "spent", "20"))
	b.drain()
	var told []string
	for f := b.takeCohort(3 * time.Hour); f != nil; f = b.takeCohort(3 * time.Hour) {
		told = append(told, passengers(f))
		b.settle(f, domain.Delivered)
	}
	slices.Sort(told)
	wantText(t, fmt.Sprint(told), "[[vip enter] [ann]]")
	b.sound()
}

// What MoEngage accepted before makes the user known, whatever is parked afterwards.
func TestARetryTellsNoCohortTwiceOfWhomMoEngageKnows(t *testing.T) {
	b := open(t, rules(domain.SendAttribute|domain.SendCohort))
	b.receive(event("ann", "vip", true, 1))
	b.drain()
	f := b.takeCohort(2 * time.Hour)
	wantText(t, passengers(f), "[vip enter] [ann]")
	b.settle(f, domain.Delivered)
	e := event("ann", "new", true, 2)
	e.Received = noon.Add(3 * time.Hour)
	b.receive(e)
	b.settle(b.take(), domain.Parked)
	for f := b.takeCohort(4 * time.Hour); f != nil; f = b.takeCohort(4 * time.Hour) {
		b.settle(f, domain.Delivered)
	}
	must(t, b.Retry(context.Background(), noon.Add(4*time.Hour), b.ids(domain.StateParked)))
	b.drain()
	if f := b.takeCohort(5 * time.Hour); f != nil {
		t.Errorf("told again: %s", passengers(f))
	}
}
