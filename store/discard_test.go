package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
)

// methods is every way to send a membership, and two together.
var methods = map[string]domain.SendMethods{
	"attribute": domain.SendAttribute, "event": domain.SendEvent, "both": domain.SendBoth, "cohort": domain.SendCohort, "list": domain.SendList,
	"as received": domain.SendAsReceived, "all": domain.SendBoth | domain.SendCohort | domain.SendList, "as received and cohort": domain.SendAsReceived | domain.SendCohort,
}

const peopleOf = 100

// massExit is a store of an audience of a hundred whom MoEngage knows, of whom sixty leave: the exits of
// twenty have left for MoEngage when the guard trips, ten more are in a request that ends as verdict.
func massExit(t *testing.T, send domain.SendMethods, collapse bool, verdict domain.Verdict) (*bench, *moengage) {
	t.Helper()
	r := watched(send)
	r.Defaults.Collapse = collapse
	b, them := open(t, r), newMoengage()
	moved := func(from, to, m int, in bool) {
		var list []*domain.Event
		for i := from; i < to; i++ {
			e := event(fmt.Sprintf("user%02d", i), "vip", in, m, at(m))
			if list = append(list, e); send.Has(domain.SendAsReceived) {
				e := *e
				asTrack("Moved")(&e)
				list = append(list, &e)
			}
		}
		b.receive(list...)
	}
	moved(0, peopleOf, 0, true)
	b.tell(them)
	moved(0, 20, 70, false)
	b.tell(them)
	moved(20, 30, 71, false)
	var flights []*domain.Lease
	for _, o := range []domain.TakeOptions{everything(time.Now().Add(2 * time.Hour)), onCohorts(time.Now().Add(4 * time.Hour))} {
		f, _, err := b.Take(context.Background(), o)
		must(t, err)
		if f != nil {
			flights = append(flights, f)
		}
	}
	moved(30, 60, 72, false)
	for _, f := range flights {
		if verdict != domain.Refused && verdict != domain.Parked {
			for _, d := range f.Users {
				them.take(d)
			}
		}
		b.settle(f, verdict)
	}
	b.swept()
	if !b.guardHolds() {
		t.Fatal("the guard holds nothing")
	}
	return b, them
}

// wantAll fails the test unless MoEngage holds everybody for a member by each way that it is told of.
func (m *moengage) wantAll(t *testing.T, name string, send domain.SendMethods) {
	t.Helper()
	for channel, held := range map[domain.SendMethods]map[string]string{domain.SendAttribute | domain.SendAsReceived: m.attributes, domain.SendCohort: m.cohorts, domain.SendList: m.lists} {
		if send&channel == 0 {
			continue
		}
		members := 0
		for _, value := range held {
			if value == "true" {
				members++
			}
		}
		if members != peopleOf {
			t.Errorf("%s: MoEngage holds %d members on channel %d, want %d", name, members, channel, peopleOf)
		}
	}
}

// TestADiscardReadmitsEverybodyWhoLeft: those whose exits had left before the guard tripped, those of whom
// only the event was held, and those in a request under way; by every method, and no event is made of it.
func TestADiscardReadmitsEverybodyWhoLeft(t *testing.T) {
	costly(t, manyStores)
	for name, send := range methods {
		for _, verdict := range []domain.Verdict{domain.Delivered, domain.Refused, domain.Uncertain} {
			for _, collapse := range []bool{true, false} {
				name := fmt.Sprintf("%s, verdict %d, collapse %v", name, verdict, collapse)
				b, them := massExit(t, send, collapse, verdict)
				sent := them.exits()
				r := b.decide(true)
				if r.Enters != 60 || r.Held != 0 {
					t.Errorf("%s: %+v", name, r)
				}
				b.wantHeld(0)
				var want []string
				for i := range peopleOf {
					want = append(want, fmt.Sprintf("user%02d", i))
				}
				b.wantMembers("vip", want...)
				b.tell(them)
				them.wantAll(t, name, send)
				if got := them.exits(); !slices.Equal(got, sent) {
					t.Errorf("%s: events were sent that nobody received: %q, before %q", name, got, sent)
				}
				if c := b.balance(); c.Changes.Pending+c.Changes.Held != 0 {
					t.Errorf("%s: left over %+v", name, c.Changes)
				}
				recount(t, b)
				if t.Failed() {
					return
				}
			}
		}
	}
}

// TestARetryAfterADiscardSendsNoExit: exits that MoEngage refused for good were parked when the window was discarded.
// An operator who then had all that is parked sent again told MoEngage of members that they had left.
func TestARetryAfterADiscardSendsNoExit(t *testing.T) {
	costly(t, manyStores)
	for name, send := range methods {
		for _, collapse := range []bool{true, false} {
			b, them := massExit(t, send, collapse, domain.Parked)
			sent := them.exits()
			b.decide(true)
			must(t, b.Retry(context.Background(), time.Now(), append(b.ids(domain.StateParked), domain.ID{Seq: 1})))
			b.tell(them)
			them.wantAll(t, name, send)
			if got := them.exits(); !slices.Equal(got, sent) {
				t.Errorf("%s, collapse %v: exits of members were sent: %q, before %q", name, collapse, got, sent)
			}
			if c := b.balance(); c.Changes.Pending+c.Changes.Held+c.Changes.Parked != 0 {
				t.Errorf("%s, collapse %v: left over %+v", name, collapse, c.Changes)
			}
			recount(t, b)
		}
	}
}

// exits lists the events that MoEngage got beside the first enters, in order.
func (m *moengage) exits() (list []string) {
	for user, ids := range m.events {
		for _, id := range ids[min(1, len(ids)):] {
			list = append(list, user+" "+id)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// TestADiscardThatIsCutShortIsFinished: the agent ends behind the first record of the order. A user who is
// met before the order is given again is readmitted first, and a newer exit of theirs stands.
func TestADiscardThatIsCutShortIsFinished(t *testing.T) {
	b, them := massExit(t, domain.SendBoth|domain.SendCohort, true, domain.Delivered)
	discard := b.orderOn("vip", record.Order{Verb: record.OrderDiscard, Received: time.Now()})
	b.order(record.AppendOrder(nil, discard))
	must(t, b.Applied(context.Background()))
	b.reopen(watched(domain.SendBoth | domain.SendCohort))
	b.receive(event("user00", "vip", false, 80, at(80)), event("user01", "vip", false, 60, at(80)), event("user40", "vip", false, 80, at(80)))
	r := b.decide(true)
	if r.Enters != 57 || r.Held != 0 {
		t.Errorf("%+v", r)
	}
	b.wantHeld(0)
	if again := b.decide(true); again.Enters+again.Decided+again.Created != 0 {
		t.Errorf("given once more: %+v", again)
	}
	b.tell(them)
	for user, want := range map[string]string{"user00.vip": "false", "user40.vip": "false", "user01.vip": "true", "user59.vip": "true", "user99.vip": "true"} {
		if got := them.attributes[user]; got != want {
			t.Errorf("MoEngage holds %s %q, want %q", user, got, want)
		}
	}
	recount(t, b)
}

// TestAReleaseFinishesADiscardThatWasCutShort: it sent the exits that the discard had not come to, and nobody was
// readmitted any more.
func TestAReleaseFinishesADiscardThatWasCutShort(t *testing.T) {
	b, them := massExit(t, domain.SendBoth|domain.SendCohort, true, domain.Delivered)
	discard := b.orderOn("vip", record.Order{Verb: record.OrderDiscard, Received: time.Now()})
	b.order(record.AppendOrder(nil, discard))
	must(t, b.Applied(context.Background()))
	b.reopen(watched(domain.SendBoth | domain.SendCohort))
	b.decide(false)
	b.wantHeld(0)
	list, err := b.Computations()
	must(t, err)
	if list[0].Members != 100 {
		t.Errorf("%d of 100 are members", list[0].Members)
	}
	b.tell(them)
	for _, user := range []string{"user00.vip", "user59.vip", "user99.vip"} {
		if got := them.attributes[user]; got != "true" {
			t.Errorf("MoEngage holds %s %q", user, got)
		}
	}
	recount(t, b)
}

// TestADiscardMakesNobodyAMemberWhoNeverWas: Segment fans exits out to identifiers that nobody has heard of.
func TestADiscardMakesNobodyAMemberWhoNeverWas(t *testing.T) {
	b := peopled(t, watched(domain.SendAttribute), 6)
	b.receive(leaves(11, 70), leaves(0, 70), leaves(1, 71), leaves(2, 72), leaves(12, 73))
	b.swept()
	b.decide(true)
	b.wantMembers("vip", "user0", "user1", "user2", "user3", "user4", "user5")
	b.drainToday()
	b.wantSaid("")
	recount(t, b)
}

// TestADiscardDoesNotDependOnBatches applies the records of a mass exit and its discard one by one, and all
// at once, with events between the pages of the order.
func TestADiscardDoesNotDependOnBatches(t *testing.T) {
	costly(t, manyStores)
	var dumps []string
	for _, alone := range []bool{true, false} {
		b := open(t, watched(domain.SendBoth|domain.SendList))
		var frames [][]byte
		add := func(e *domain.Event) { frames = append(frames, record.AppendEvent(nil, e)) }
		say := func(o record.Order) {
			o.Received = minute(75)
			frames = append(frames, record.AppendOrder(nil, &o))
		}
		for i := range 8 {
			add(event(fmt.Sprint("user", i), "vip", true, 0, at(0)))
		}
		for i := range 5 {
			add(leaves(i, 70))
		}
		say(record.Order{Verb: record.OrderDiscard})
		add(leaves(0, 76))
		add(enters(1, 76))
		say(record.Order{Verb: record.OrderDiscard, Targets: []record.JobTarget{{User: "user0", In: true}, {User: "user2", In: true}, {User: "user7", In: true}}})
		add(leaves(3, 76))
		say(record.Order{Verb: record.OrderDiscard, Targets: []record.JobTarget{{User: "user3", In: true}, {User: "user4", In: true}}})
		say(record.Order{Verb: record.OrderDiscarded})
		if alone {
			for _, f := range frames {
				b.order(f)
				must(t, b.Applied(context.Background()))
				b.swept()
			}
		} else {
			b.order(frames...)
			must(t, b.Applied(context.Background()))
		}
		b.wantMembers("vip", "user1", "user2", "user4", "user5", "user6", "user7")
		b.drainToday()
		said := b.said()
		recount(t, b)
		dumps = append(dumps, said)
	}
	if dumps[0] != dumps[1] {
		t.Errorf("one by one MoEngage is told %q, all at once %q", dumps[0], dumps[1])
	}
}

// TestADiscardUnderWayDoesNotShrinkTheAudience: those who are still to be readmitted are members of the new
// window, so that two who leave are not most of it.
func TestADiscardUnderWayDoesNotShrinkTheAudience(t *testing.T) {
	b := peopled(t, watched(domain.SendAttribute), 10)
	b.receive(leaves(0, 70), leaves(1, 70), leaves(2, 70), leaves(3, 70), leaves(4, 70), leaves(5, 70))
	b.swept()
	discard := b.orderOn("vip", record.Order{Verb: record.OrderDiscard, Received: minute(75)})
	b.order(record.AppendOrder(nil, discard))
	must(t, b.Applied(context.Background()))
	b.receive(leaves(6, 76), leaves(7, 76))
	if b.guardHolds() {
		t.Error("two of ten left, and the guard holds their exits")
	}
	recount(t, b)
}

// TestAnEnterDuringADiscardCountsAgainstTheWholeAudience has a new member set the base of the guard while one of two
// users is still to be readmitted. The base left that one out, and the guard held the exits of too few.
func TestAnEnterDuringADiscardCountsAgainstTheWholeAudience(t *testing.T) {
	costly(t, manyStores)
	r := watched(domain.SendAttribute)
	r.Guard.Share = 0.3
	for _, reopened := range []bool{false, true} {
		b := peopled(t, r, 6)
		b.receive(leaves(0, 70), leaves(1, 70))
		b.swept()
		discard := b.orderOn("vip", record.Order{Verb: record.OrderDiscard, Received: minute(75)})
		one := *discard
		one.Targets = []record.JobTarget{{User: "user0", In: true}}
		b.order(record.AppendOrder(nil, discard), record.AppendOrder(nil, &one))
		must(t, b.Applied(context.Background()))
		if reopened {
			b.reopen(r)
		}
		b.receive(enters(6, 76), leaves(2, 77), leaves(3, 77)) // two of seven
		if b.guardHolds() {
			t.Errorf("reopened %v: two of seven left, and the guard holds their exits", reopened)
		}
		b.receive(leaves(4, 78))
		b.swept()
		b.wantHeld(4) // and the one who is still to be readmitted
		b.wantCounted()
		b.decide(true)
		b.wantCounted()
		b.wantMembers("vip", "user0", "user1", "user2", "user3", "user4", "user5", "user6")
	}
}

// TestAHeldExitNeverLeavesBehindANewerOne has the guard hold the exit event of a user whom an import without events made
// a member again. The user leaves once more by an exit that is not held, and then the held one is decided on.
func TestAHeldExitNeverLeavesBehindANewerOne(t *testing.T) {
	costly(t, manyStores)
	r := watched(domain.SendEvent)
	r.Guard.Window = 1e6 * time.Hour // an import is received now
	unguarded := r
	unguarded.Sections = []domain.Section{{Key: "vip", Policy: unguarded.Defaults}}
	unguarded.Sections[0].Policy.Unguarded = true
	begin := func(b *bench, o record.Order) {
		o.Received = minute(75)
		b.order(record.AppendOrder(nil, b.orderOn("vip", o)))
	}
	for name, leave := range map[string]func(*bench) (discard bool){
		"during a discard": func(b *bench) bool {
			begin(b, record.Order{Verb: record.OrderDiscard})
			b.receive(leaves(0, 80))
			return true
		},
		"during a discard, by an import without events": func(b *bench) bool {
			begin(b, record.Order{Verb: record.OrderDiscard})
			b.imports(Import{Key: "vip", AsOf: minute(80), Users: users("user1", "user2", "user3", "user4", "user5")})
			return true
		},
		"during a release": func(b *bench) bool {
			begin(b, record.Order{Verb: record.OrderRelease})
			b.receive(leaves(0, 80))
			return false
		},
		"by a close": func(b *bench) bool {
			_, err := b.CloseAudience(b.Context(), "vip", true, false, nil)
			must(b, err)
			return false
		},
		"with the guard off": func(b *bench) bool {
			must(b, b.SetRules(b.Context(), unguarded))
			b.receive(leaves(0, 80))
			return false
		},
	} {
		b, them := peopled(t, r, 6), newMoengage()
		b.receive(leaves(0, 70))
		b.imports(Import{Key: "vip", AsOf: minute(71), Users: users("user0", "user1", "user2", "user3", "user4", "user5")})
		b.receive(leaves(1, 72), leaves(2, 72), leaves(3, 72))
		b.swept()
		b.wantHeld(4)
		discard := leave(b)
		b.tell(them)
		want := slices.Clone(them.events["user0"])
		b.decide(discard)
		b.tell(them)
		if got := them.events["user0"]; !slices.Equal(got, want) {
			t.Errorf("%s: MoEngage was sent %v of the user, and before the decision %v", name, got, want)
		}
		b.wantHeld(0)
	}
}

// TestADiscardReadmitsNobodyWhoLeftBeforeTheWindow: the guard held the exit that a reconcile repeated of them, and
// the discard took it for one of the mass.
func TestADiscardReadmitsNobodyWhoLeftBeforeTheWindow(t *testing.T) {
	costly(t, manyStores)
	for name, send := range methods {
		for _, first := range []bool{false, true} {
			b, them := peopled(t, watched(send), 6), newMoengage()
			b.receive(leaves(5, 10))
			b.tell(them)
			b.receive(leaves(0, 70), leaves(1, 71), leaves(2, 72), leaves(3, 73))
			b.swept()
			_, err := b.Reconcile(t.Context(), "vip", true, false, nil)
			must(t, err)
			if first { // they are met before the discard comes to them
				b.receive(enters(5, 9))
			}
			b.decide(true)
			b.wantMembers("vip", "user0", "user1", "user2", "user3", "user4")
			b.tell(them)
			if them.holdsMember("user5.vip") {
				t.Errorf("%s: MoEngage holds a user for a member who left before the window", name)
			}
			b.wantHeld(0)
		}
	}
}

// TestACloseIsNotHeldByAGuardThatTripsLater: the operator has decided about these exits, and a discard made some of
// the users members again.
func TestACloseIsNotHeldByAGuardThatTripsLater(t *testing.T) {
	costly(t, manyStores)
	for name, send := range methods {
		for _, collapse := range []bool{true, false} {
			r := watched(send)
			r.Defaults.Collapse = collapse
			b, them := open(t, r), newMoengage()
			say := func(user string, in bool) {
				e := event(user, "vip", in, 0, func(e *domain.Event) { e.Time, e.Received = time.Now(), time.Now() })
				track := *e
				asTrack("Moved")(&track)
				b.receive(e, &track)
			}
			for i := range 4 {
				say(fmt.Sprint("old", i), true)
			}
			_, err := b.CloseAudience(t.Context(), "vip", true, false, nil)
			must(t, err)
			for i := range 4 {
				say(fmt.Sprint("new", i), true)
			}
			for i := range 3 {
				say(fmt.Sprint("new", i), false)
			}
			b.swept()
			if !b.guardHolds() {
				t.Fatal("the guard holds nothing")
			}
			b.decide(true)
			b.wantMembers("vip", "new0", "new1", "new2", "new3")
			b.tell(them)
			for held, who := range map[string]map[string]string{"attribute": them.attributes, "cohort": them.cohorts, "list": them.lists} {
				for i := range 4 {
					if who[fmt.Sprint("old", i, ".vip")] == "true" {
						t.Errorf("%s, collapse %v: the %s holds a user of before the close for a member", name, collapse, held)
					}
				}
			}
			b.wantHeld(0)
		}
	}
}

// TestADiscardReadmitsNobodyWhomACloseMadeLeave in the same window: the guard held the exit event that a reconcile
// repeated of them, and the discard took it for one of the mass. Sent as received, the attribute stayed false.
func TestADiscardReadmitsNobodyWhomACloseMadeLeave(t *testing.T) {
	costly(t, manyStores)
	for name, send := range methods {
		for _, first := range []bool{false, true} {
			b, them := open(t, watched(send)), newMoengage()
			say := func(user string, in bool) {
				e := event(user, "vip", in, 0, func(e *domain.Event) { e.Time, e.Received = time.Now(), time.Now() })
				track := *e
				asTrack("Moved")(&track)
				b.receive(e, &track)
			}
			say("old", true)
			b.tell(them)
			_, err := b.CloseAudience(t.Context(), "vip", true, false, nil)
			must(t, err)
			for i := range 4 {
				say(fmt.Sprint("new", i), true)
			}
			for i := range 3 {
				say(fmt.Sprint("new", i), false)
			}
			b.swept()
			_, err = b.Reconcile(t.Context(), "vip", true, false, nil)
			must(t, err)
			if first { // they are met before the discard comes to them
				b.receive(event("old", "vip", true, 0, func(e *domain.Event) { e.Time, e.Received = time.Now().Add(-time.Hour), time.Now() }))
			}
			b.decide(true)
			b.wantMembers("vip", "new0", "new1", "new2", "new3")
			b.tell(them)
			if them.holdsMember("old.vip") {
				t.Errorf("%s: MoEngage holds a user for a member who left by a close", name)
			}
			b.wantHeld(0)
		}
	}
}

// TestADiscardKeepsTheWithdrawalThatACloseFound: consent was withdrawn of a member, and a close found that pending. The guard
// held it, and the discard ended it: MoEngage held a member who had left.
func TestADiscardKeepsTheWithdrawalThatACloseFound(t *testing.T) {
	r := watched(domain.SendList)
	r.Guard.Window = 1e6 * time.Hour // the close is received now
	b, them := peopled(t, r, 1), newMoengage()
	them.lists["user0.vip"] = "true"
	for _, asks := range [][]string{{"Marketing"}, nil} {
		r.Defaults.Consent = asks
		must(t, b.SetRules(t.Context(), r))
		_, err := b.CompareConsent(t.Context())
		must(t, err)
		if asks == nil {
			continue
		}
		_, err = b.CloseAudience(t.Context(), "vip", false, false, nil)
		must(t, err)
	}
	for i := range 5 {
		b.receive(enters(10+i, 80))
	}
	b.receive(leaves(10, 81), leaves(11, 82), leaves(12, 83))
	b.swept()
	b.decide(true)
	b.tell(them)
	if them.holdsMember("user0.vip") {
		t.Error("user0 left by a close, and MoEngage holds a member")
	}
	b.wantHeld(0)
}

// TestADiscardDoesNotUndoABaseline: the operator has said who is a member, and an exit event that the guard held since
// before made one of them again.
func TestADiscardDoesNotUndoABaseline(t *testing.T) {
	costly(t, manyStores)
	for name, send := range methods {
		b, them := peopled(t, watched(send), 6), newMoengage()
		for i := range 3 {
			track := leaves(i, 70+i)
			asTrack("Moved")(track)
			b.receive(leaves(i, 70+i), track)
		}
		b.swept()
		b.imports(Import{Key: "vip", AsOf: minute(80), Users: users("user1", "user2", "user3", "user4", "user5"), Baseline: true})
		b.decide(true)
		b.wantMembers("vip", "user1", "user2", "user3", "user4", "user5")
		b.tell(them)
		if them.holdsMember("user0.vip") {
			t.Errorf("%s: MoEngage holds a user for a member of whom the baseline says that they left", name)
		}
		b.wantHeld(0)
	}
}

// TestADiscardLeavesACallThatSaidTheExitBeforeTheWindow alone: sent as received, a member by identify who had left by
// track was one by track, too, after a discard, and the return by track was told to nobody.
func TestADiscardLeavesACallThatSaidTheExitBeforeTheWindow(t *testing.T) {
	b, them := peopled(t, watched(domain.SendAsReceived), 6), newMoengage()
	for _, e := range []*domain.Event{enters(5, 0), leaves(5, 1)} {
		asTrack("Moved")(e)
		b.receive(e)
	}
	b.receive(enters(5, 2))
	b.tell(them)
	b.receive(leaves(0, 70), leaves(1, 71), leaves(2, 72))
	b.swept()
	_, err := b.Reconcile(t.Context(), "vip", true, false, nil)
	must(t, err)
	b.wantHeld(4)
	b.decide(true)
	b.wantMembers("vip", "user0", "user1", "user2", "user3", "user4", "user5")
	b.wantHeld(0)
	back := enters(5, 90)
	asTrack("Moved")(back)
	b.receive(back)
	b.tell(them)
	if events := them.events["user5"]; len(events) != 3 || !strings.HasSuffix(events[2], domain.TransitionEnter.String()) {
		t.Errorf("MoEngage was told %v of a user who left and came back by track", events)
	}
}
