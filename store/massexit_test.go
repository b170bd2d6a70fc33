package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// watched is rules under which an audience may lose a third of its members, or one, an hour.
func watched(send domain.SendMethods) domain.Rules {
	r := rules(send)
	r.Guard = domain.Guard{Share: 0.34, Count: 2, Window: time.Hour}
	return r
}

// peopled is a store with an audience of n members, MoEngage told of them, an hour and a half ago.
func peopled(t *testing.T, r domain.Rules, n int) *bench {
	b := open(t, r)
	for i := range n {
		e := event(fmt.Sprint("user", i), "vip", true, 0)
		e.Received = minute(0)
		b.receive(e)
	}
	b.drainToday()
	b.said()
	return b
}

// at has an event be received at a minute.
func at(m int) func(*domain.Event) { return func(e *domain.Event) { e.Received = minute(m) } }

func leaves(user, m int) *domain.Event {
	return event(fmt.Sprint("user", user), "vip", false, m, at(m))
}
func enters(user, m int) *domain.Event { return event(fmt.Sprint("user", user), "vip", true, m, at(m)) }

func (b *bench) decide(discard bool) MembershipReport {
	b.Helper()
	r, err := b.Decide(context.Background(), "vip", discard, false, nil)
	must(b, err)
	return r
}

func (b *bench) wantHeld(want uint64) {
	b.Helper()
	if c := b.balance(); c.Changes.Held != want {
		b.Errorf("%d changes are held, want %d", c.Changes.Held, want)
	}
	recount(b, b)
}

// wantCounted fails the test unless the guard counts exactly the users whose rows say that they left in the window,
// and those whom a discard is still to readmit.
func (b *bench) wantCounted() {
	b.Helper()
	must(b, b.Applied(context.Background()))
	var fields []*state.Field
	must(b, b.read(func(x *state.Tx) error { fields = x.State.Registry.Fields; return nil }))
	for _, f := range fields {
		if !f.Audience() {
			continue
		}
		w, left, returning := f.Exits, uint64(0), uint64(0)
		for from, more := []byte(nil), true; more; {
			page, next, err := b.r.UserRows([]uint32{f.Number}, 0, from)
			must(b, err)
			for _, row := range page {
				switch {
				case row.Left == 0:
				case row.Left >= w.Seq:
					left++
				case w.Undone.Has(row.Left) && w.Tripped.IsZero():
					returning++
				}
			}
			from, more = next, next != nil
		}
		if left != w.Left || returning != w.Returning {
			b.Errorf("%s: the guard counts %d who left and %d to readmit, the rows have %d and %d", f.Key, w.Left, w.Returning, left, returning)
		}
	}
}

// swept waits until what waited when the guard tripped is held, too.
func (b *bench) swept() {
	b.Helper()
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		under := false
		must(b, b.read(func(x *state.Tx) error { under = len(x.State.Sweeping) > 0; return nil }))
		if !under {
			return
		}
		if time.Since(begun) > 10*time.Second {
			b.Fatal("the sweep does not end")
		}
	}
}

func TestAMassExitIsHeldAndReleased(t *testing.T) {
	b := peopled(t, watched(domain.SendBoth), 6)
	b.receive(leaves(0, 70))
	f, _, err := b.Take(context.Background(), everything(minute(70))) // in lease: it goes
	must(t, err)
	b.receive(leaves(1, 71), leaves(2, 72), leaves(3, 73), enters(9, 74))
	b.swept()
	b.wantHeld(6)
	b.settle(f, domain.Delivered)
	b.drainToday()
	b.wantSaid("user0.vip=false user0!Audience Exited user9.vip=true user9!Audience Entered")
	b.reopen(watched(domain.SendBoth))
	b.receive(leaves(4, 80))
	b.wantHeld(8)
	info, err := b.Computations()
	must(t, err)
	if info[0].Held != 8 || info[0].ExitsHeldSince != domain.Timestamp(minute(72)) || info[0].Members != 2 {
		t.Errorf("%+v", info[0])
	}

	r := b.decide(false)
	if r.Decided != 8 || r.Held != 0 {
		t.Errorf("%+v", r)
	}
	b.wantHeld(0)
	b.drainToday()
	if n := len(b.sent); n != 4 {
		t.Errorf("%d users were told of, want 4: %s", n, b.said())
	}
	info, err = b.Computations()
	must(t, err)
	if info[0].Held != 0 || info[0].ExitsHeldSince != "" {
		t.Errorf("%+v", info[0])
	}
}

func TestAMassExitThatIsDiscardedNeverWas(t *testing.T) {
	b := peopled(t, watched(domain.SendBoth), 6)
	b.receive(leaves(0, 70), leaves(1, 71), leaves(2, 72), leaves(3, 73))
	b.swept()
	b.wantHeld(8)
	b.receive(enters(3, 75))
	b.wantHeld(6)
	if r := b.decide(true); r.Decided != 6 {
		t.Errorf("%+v", r)
	}
	b.wantHeld(0)
	b.wantMembers("vip", "user0", "user1", "user2", "user3", "user4", "user5")
	b.receive(leaves(0, 70), leaves(1, 71)) // delivered again
	b.drainToday()
	b.wantSaid("")
	b.wantMembers("vip", "user0", "user1", "user2", "user3", "user4", "user5")
	b.receive(leaves(0, 76))
	b.drainToday()
	b.wantSaid("user0.vip=false user0!Audience Exited")
	recount(t, b)
}

func TestAReenterCancelsTheHeldExitAndSendsNothing(t *testing.T) {
	costly(t, manyStores)
	for _, send := range []domain.SendMethods{domain.SendAttribute, domain.SendEvent, domain.SendBoth, domain.SendAsReceived} {
		b := peopled(t, watched(send), 6)
		b.receive(leaves(0, 70), leaves(1, 71), leaves(2, 72))
		b.receive(enters(0, 73), enters(1, 74), enters(2, 75))
		b.swept()
		b.drainToday()
		b.wantSaid("")
		b.wantHeld(0)
	}
}

// TestAnExitBehindWhichTheReturnWaitsIsNotHeld: the user is back when the guard trips, and MoEngage has
// heard of neither.
func TestAnExitBehindWhichTheReturnWaitsIsNotHeld(t *testing.T) {
	costly(t, manyStores)
	const told = "user0!Audience Exited user0!Audience Entered"
	every := watched(domain.SendAttribute)
	every.Defaults.Collapse = false
	for _, c := range []struct {
		rules domain.Rules
		want  string
	}{
		{watched(domain.SendAttribute), ""},
		{watched(domain.SendEvent), told},
		{watched(domain.SendBoth), told},
		{every, "user0.vip=false user0.vip=true"},
	} {
		b := peopled(t, c.rules, 6)
		b.receive(leaves(0, 70), enters(0, 71), leaves(1, 72), leaves(2, 73), leaves(3, 74))
		b.swept()
		b.drainToday()
		b.wantSaid(c.want)
		b.wantMembers("vip", "user0", "user4", "user5")
		b.decide(false)
		b.drainToday()
		if got := b.said(); strings.Contains(got, "user0") {
			t.Errorf("told of a member once the exits were let go: %s", got)
		}
		b.wantHeld(0)
	}
}

// TestAnExitBehindWhichAQueuedReturnWaitsIsNotHeld: collapse was turned off between the two. Held, the exit left behind the
// return, and MoEngage took a member for one that left.
func TestAnExitBehindWhichAQueuedReturnWaitsIsNotHeld(t *testing.T) {
	r := watched(domain.SendAttribute)
	b, them := peopled(t, r, 6), newMoengage()
	b.receive(leaves(0, 70))
	r.Defaults.Collapse = false
	must(t, b.SetRules(t.Context(), r))
	b.receive(enters(0, 71), leaves(1, 72), leaves(2, 73), leaves(3, 74))
	b.swept()
	b.wantHeld(3)
	b.tell(them)
	b.decide(false)
	b.tell(them)
	if got := them.attributes["user0.vip"]; got != "true" {
		t.Errorf("user0 is a member, and MoEngage holds %q", got)
	}
	b.wantHeld(0)
}

// TestAnExitThatTookThePlaceOfAnEnter: the enter was never sent when the exit came, and is when the
// exit is discarded, or taken back.
func TestAnExitThatTookThePlaceOfAnEnter(t *testing.T) {
	costly(t, manyStores)
	for name, undo := range map[string]func(*bench){
		"discarded":  func(b *bench) { b.decide(true) },
		"taken back": func(b *bench) { b.receive(enters(9, 80)) },
	} {
		b := peopled(t, watched(domain.SendAttribute), 6)
		b.receive(enters(9, 70), leaves(0, 70), leaves(1, 71), leaves(2, 72), leaves(9, 73))
		b.swept()
		b.wantHeld(4)
		undo(b)
		b.drainToday()
		if got := b.said(); got != "user9.vip=true" {
			t.Errorf("%s: MoEngage was told %q", name, got)
		}
		recount(t, b)
	}
}

func TestWhatDoesNotTripTheGuard(t *testing.T) {
	costly(t, manyStores)
	for name, news := range map[string][]*domain.Event{
		"they come back":     {leaves(0, 70), leaves(1, 71), enters(0, 72), leaves(2, 73), enters(1, 74), leaves(3, 75)},
		"in two windows":     {leaves(0, 70), leaves(1, 71), leaves(2, 130)},
		"the same one":       {leaves(0, 70), enters(0, 71), leaves(0, 72), enters(0, 73), leaves(0, 74), leaves(1, 75)},
		"few of them":        {leaves(0, 70), leaves(1, 71)},
		"strangers' exits":   {leaves(11, 70), leaves(12, 71), leaves(13, 72), leaves(14, 73)},
		"another audience's": {event("user0", "x", false, 70, at(70)), leaves(0, 71), leaves(1, 72)},
	} {
		b := peopled(t, watched(domain.SendAttribute), 6)
		b.receive(news...)
		if c := b.balance(); c.Changes.Held != 0 {
			t.Errorf("%s: %d held", name, c.Changes.Held)
		}
	}
	for name, r := range map[string]func(*domain.Rules){
		"off": func(r *domain.Rules) { r.Guard.Share = 0 },
		"not his": func(r *domain.Rules) {
			r.Sections = []domain.Section{{Key: "vip", Policy: r.Defaults}}
			r.Sections[0].Policy.Unguarded = true
		},
	} {
		g := watched(domain.SendAttribute)
		r(&g)
		b := peopled(t, g, 4)
		b.receive(leaves(0, 70), leaves(1, 71), leaves(2, 72), leaves(3, 73))
		if c := b.balance(); c.Changes.Held != 0 {
			t.Errorf("%s: %d held", name, c.Changes.Held)
		}
	}
}

func TestAnImportPassesTheGuardAndACloseDoesNotAsk(t *testing.T) {
	b := peopled(t, watched(domain.SendAttribute), 6)
	r := b.imports(Import{Key: "vip", AsOf: minute(70), Users: users("user0", "user1")})
	if r.Exits != 4 {
		t.Errorf("%+v", r)
	}
	b.swept()
	b.wantHeld(4)
	_, err := b.CloseAudience(context.Background(), "vip", false, false, nil)
	must(t, err)
	b.wantHeld(4)
	b.drainToday()
	b.wantSaid("user0.vip=false user1.vip=false")
}

// TestASweepIsSlicedAndSurvivesARestart has many exits wait when the guard trips.
func TestASweepIsSlicedAndSurvivesARestart(t *testing.T) {
	costly(t, manyUsers)
	const n = 3 * outbox.SweepSlice
	r := rules(domain.SendAttribute)
	r.Guard = domain.Guard{Share: 0.5, Count: 10, Window: time.Hour}
	b := open(t, r)
	b.imports(Import{Key: "vip", AsOf: minute(1), Users: crowdOf(0, n), Create: true, Baseline: true})
	b.imports(Import{Key: "vip", AsOf: minute(2), Users: crowdOf(n-10, n)})
	b.reopen(r)
	f, _, err := b.Take(context.Background(), everything(time.Now().Add(time.Hour)))
	must(t, err)
	if f != nil {
		t.Errorf("%d exits left though the guard holds them", len(f.Users))
	}
	b.swept()
	b.wantHeld(n - 10)
	if r := b.decide(false); r.Decided != n-10 {
		t.Errorf("%+v", r)
	}
	b.wantHeld(0)
	b.drainToday()
	if len(b.sent) != n-10 {
		t.Errorf("%d of %d exits left", len(b.sent), n-10)
	}
}

// TestAnAudienceThatGrewDoesNotTripOnAFew: six of a thousand are no mass exit, whatever there were when the
// window began.
func TestAnAudienceThatGrewDoesNotTripOnAFew(t *testing.T) {
	costly(t, manyUsers)
	b := peopled(t, watched(domain.SendAttribute), 10)
	var grown []*domain.Event
	for i := range 1000 {
		grown = append(grown, enters(10+i, 70))
	}
	b.receive(grown...)
	b.receive(leaves(0, 71), leaves(1, 71), leaves(2, 71), leaves(3, 71), leaves(4, 71), leaves(5, 71))
	b.wantHeld(0)
}

// TestTheFirstWindowIsGuarded: everybody who came leaves again before the first window is over.
func TestTheFirstWindowIsGuarded(t *testing.T) {
	b := peopled(t, watched(domain.SendAttribute), 20)
	var gone []*domain.Event
	for i := range 20 {
		gone = append(gone, leaves(i, 10))
	}
	b.receive(gone...)
	b.swept()
	b.wantHeld(20)
	b.drainToday()
	b.wantSaid("")
}

// TestTheGuardCountsOnlyLeavers has the traffic of others between the exits: they trip it at the same one.
func TestTheGuardCountsOnlyLeavers(t *testing.T) {
	costly(t, manyStores)
	for _, send := range []domain.SendMethods{domain.SendAttribute, domain.SendAsReceived} {
		for _, mixed := range []bool{false, true} {
			b := peopled(t, watched(send), 30)
			trippedBy := 0
			for i := range 12 {
				if mixed { // repeats of members, a repeat of one who left, and one who comes and goes
					b.receive(enters(25+i%5, 70), leaves(i/2, 69), event("comes", "vip", true, 70+2*i, at(70)))
					b.receive(event("comes", "vip", false, 71+2*i, at(70)))
					b.receive(event("comes", "vip", true, 71+2*i, at(70), func(e *domain.Event) { e.Time = e.Time.Add(time.Second) }))
				}
				exit := leaves(i, 70)
				if mixed && i%2 == 1 {
					asTrack("Left")(exit)
				}
				if b.receive(exit); trippedBy == 0 && b.guardHolds() {
					trippedBy = i + 1
				}
			}
			want := 11 // the least that is more than 0.34 of 30
			if trippedBy != want {
				t.Errorf("send %d, mixed %v: tripped by exit %d, want %d", send, mixed, trippedBy, want)
			}
			recount(t, b)
		}
	}
}

func (b *bench) guardHolds() bool {
	b.Helper()
	info, err := b.Computations()
	must(b, err)
	return info[0].ExitsHeldSince != ""
}

// TestOneWhoComesBackByTheOtherCallIsNotCounted has identify and track of one user in two windows.
func TestOneWhomABaselineBringsBackIsNotCounted(t *testing.T) {
	b := peopled(t, watched(domain.SendAttribute), 6)
	b.receive(leaves(0, 70), leaves(1, 71))
	b.imports(Import{Key: "vip", AsOf: minute(75), Users: users("user0", "user1", "user2", "user3", "user4", "user5"), Baseline: true})
	b.receive(leaves(2, 76), leaves(3, 77))
	b.wantHeld(0)
	b.receive(leaves(4, 78))
	b.swept()
	b.wantHeld(3)
}

// TestAUserWhoLeavesTwiceIsCountedOnce has one of two users leave twice. What came in between took away the mark by
// which the guard knows whom it counted, but not the count.
func TestAUserWhoLeavesTwiceIsCountedOnce(t *testing.T) {
	costly(t, manyStores)
	r := watched(domain.SendAttribute)
	r.Guard.Window = 1e6 * time.Hour // orders are received now
	unguarded := r
	unguarded.Sections = []domain.Section{{Key: "vip", Policy: unguarded.Defaults}}
	unguarded.Sections[0].Policy.Unguarded = true
	say := func(b *bench, user string, in bool) {
		b.receive(event(user, "vip", in, 0, func(e *domain.Event) { e.Time, e.Received = time.Now(), time.Now() }))
	}
	for name, between := range map[string]func(*bench){
		"a baseline without them": func(b *bench) {
			b.imports(Import{Key: "vip", AsOf: time.Now(), Users: users("user1", "user2", "user3", "user4", "user5"), Baseline: true})
			say(b, "user0", true)
		},
		"an erasure": func(b *bench) {
			_, err := b.Forget(b.Context(), "user0")
			must(b, err)
			say(b, "user0", true)
		},
		"a return while the guard is off": func(b *bench) {
			must(b, b.SetRules(b.Context(), unguarded))
			say(b, "user0", true)
			must(b, b.SetRules(b.Context(), r))
		},
	} {
		b := peopled(t, r, 6)
		say(b, "user0", false)
		between(b)
		say(b, "user0", false)
		say(b, "user1", false)
		if b.guardHolds() {
			t.Errorf("%s: two of six left, and the guard holds their exits", name)
		}
		b.wantCounted()
		recount(t, b)
	}
}

// TestACloseEndsTheCountOfAUserWhoLeft by one call between the reading of the members and the order, which then ends the
// membership by the other. A discard counted them as a member of the next window.
func TestACloseEndsTheCountOfAUserWhoLeft(t *testing.T) {
	r := watched(domain.SendAsReceived)
	r.Guard.Window = 1e6 * time.Hour // orders are received now
	b := peopled(t, r, 6)
	for _, e := range []*domain.Event{enters(0, 69), leaves(0, 70)} {
		asTrack("Moved")(e)
		b.receive(e)
	}
	b.order(record.AppendOrder(nil, b.orderOn("vip", record.Order{Verb: record.OrderClose, Received: minute(71), Time: minute(71), Targets: []record.JobTarget{{User: "user0"}}})))
	b.receive(leaves(1, 72), leaves(2, 72), leaves(3, 72))
	b.swept()
	b.order(record.AppendOrder(nil, b.orderOn("vip", record.Order{Verb: record.OrderDiscard, Received: minute(75)})))
	must(t, b.Applied(t.Context()))
	must(t, b.read(func(x *state.Tx) error {
		if w := x.State.Registry.Computations("vip")[0].Exits; w.Returning != 3 || w.Members != 5 {
			t.Errorf("%+v: want 3 to readmit, and 5 members with them", w)
		}
		return nil
	}))
	b.wantCounted()
	b.decide(true)
	b.wantMembers("vip", "user1", "user2", "user3", "user4", "user5")
}

func TestOneWhoComesBackByTheOtherCallIsNotCounted(t *testing.T) {
	b := peopled(t, watched(domain.SendAsReceived), 6)
	track := func(e *domain.Event) *domain.Event { asTrack("Moved")(e); return e }
	b.receive(track(enters(0, 1)), track(leaves(0, 2)), enters(0, 3)) // out by track, and in by identify
	b.receive(leaves(0, 70), enters(0, 71), leaves(1, 72), leaves(2, 73))
	b.wantHeld(0)
	b.receive(leaves(3, 74))
	b.swept()
	if !b.guardHolds() {
		t.Error("three of six left, and nothing is held")
	}
}

// TestAReenterCancelsTheHeldExitOfTheOtherCall: of a computation that sends as received, an identify cancels
// the held event too, and the track that follows it makes none.
func TestAReenterCancelsTheHeldExitOfTheOtherCall(t *testing.T) {
	costly(t, manyStores)
	track := func(e *domain.Event) *domain.Event { asTrack("Moved")(e); return e }
	for name, back := range map[string][]*domain.Event{
		"identify first": {enters(0, 80), track(enters(0, 80))},
		"track first":    {track(enters(0, 80)), enters(0, 80)},
		"identify alone": {enters(0, 80)},
		"track alone":    {track(enters(0, 80))},
	} {
		b := open(t, watched(domain.SendAsReceived|domain.SendCohort))
		b.receive(enters(0, 0), track(enters(0, 0)), enters(1, 0), track(enters(1, 0)), enters(2, 0), track(enters(2, 0)),
			enters(3, 0), track(enters(3, 0)), enters(4, 0), enters(5, 0))
		them := newMoengage()
		b.tell(them)
		b.receive(leaves(0, 70), track(leaves(0, 70)), leaves(1, 70), track(leaves(1, 70)), leaves(2, 70), track(leaves(2, 70)),
			leaves(3, 70), track(leaves(3, 70)))
		b.swept()
		b.wantHeld(12)
		sent := len(them.events["user0"])
		b.receive(back...)
		b.wantHeld(9)
		b.tell(them)
		if got := len(them.events["user0"]) - sent; got != 0 {
			t.Errorf("%s: %d events were sent, want none", name, got)
		}
		if them.attributes["user0.vip"] != "true" || them.cohorts["user0.vip"] != "true" {
			t.Errorf("%s: MoEngage holds %q and %q", name, them.attributes["user0.vip"], them.cohorts["user0.vip"])
		}
		b.decide(false)
		b.tell(them)
		if them.attributes["user0.vip"] != "true" || len(them.events["user0"]) != sent {
			t.Errorf("%s: the release told of user0", name)
		}
	}
}

// TestAHeldExitDoesNotHideWhatMoEngageWasTold: the page of a user said "no" of what MoEngage knows, which reads
// as if it knew of the exit.
func TestAHeldExitDoesNotHideWhatMoEngageWasTold(t *testing.T) {
	told := func(b *bench, user string) string {
		info, err := b.User(user)
		must(t, err)
		return info.Memberships[0].Told
	}
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1), event("bob", "vip", false, 1))
	if told(b, "ann") != "nothing" || told(b, "bob") != "nothing" {
		t.Errorf("before anything was sent: ann %q, bob %q", told(b, "ann"), told(b, "bob"))
	}
	b.settle(b.take(), domain.Uncertain)
	if told(b, "ann") != "uncertain" {
		t.Errorf("without an answer: %q", told(b, "ann"))
	}
	b.drain()
	b.receive(event("ann", "vip", false, 2))
	if told(b, "ann") != "in" {
		t.Errorf("with an exit that waits: %q", told(b, "ann"))
	}
	b.drain()
	if told(b, "ann") != "out" {
		t.Errorf("after the exit: %q", told(b, "ann"))
	}
}

// TestAnExitHeldBehindAnEnterInFlightLeavesTheHeadRight: the user's head went on to say that an attribute waits,
// because nothing wrote it, and the next start would have taken that for damage.
func TestAnExitHeldBehindAnEnterInFlightLeavesTheHeadRight(t *testing.T) {
	r := rules(domain.SendAttribute)
	r.Guard = domain.Guard{Share: 0.3, Count: 1, Window: time.Hour}
	b := open(t, r)
	b.receive(event("bob", "vip", true, 0))
	b.drain()
	b.receive(event("bob", "vip", false, 1), event("ann", "vip", true, 1))
	f := b.take()
	if f == nil || len(b.ids(domain.StateHeld)) != 1 {
		t.Fatalf("taken %+v, held %v: the guard has not tripped", f, b.ids(domain.StateHeld))
	}
	b.receive(event("ann", "vip", false, 2))
	b.settle(f, domain.Delivered)
	if held := b.ids(domain.StateHeld); len(held) != 2 {
		t.Errorf("held %v", held)
	}
	b.sound()
	b.wantNoTrouble()
}

// TestAReleasedExitLeavesBehindWhatIsQueued: without collapse every membership leaves, and an exit that was
// held must not overtake the return that was queued before it.
func TestAReleasedExitLeavesBehindWhatIsQueued(t *testing.T) {
	r := watched(domain.SendBoth)
	r.Defaults.Collapse = false
	b := peopled(t, r, 6)
	b.receive(leaves(0, 70), enters(0, 71), leaves(1, 72), leaves(2, 73), leaves(3, 74), leaves(0, 75))
	b.swept()
	b.decide(false)
	b.drainToday()
	said := newMoengage()
	for _, d := range b.sent {
		said.take(d)
	}
	for i := range 4 {
		if got := said.attributes[fmt.Sprintf("user%d.vip", i)]; got != "false" {
			t.Errorf("user%d left, and MoEngage holds %q", i, got)
		}
	}
	recount(t, b)
}

// TestAnExitWithTheMessageIDOfACloseIsHeld: the guard took it for one that the operator had decided on.
func TestAnExitWithTheMessageIDOfACloseIsHeld(t *testing.T) {
	costly(t, manyStores)
	for _, id := range []string{record.OrderClose.String(), record.OrderBaseline.String(), "operator"} {
		b := peopled(t, watched(domain.SendBoth), 6)
		for i := range 3 {
			e := leaves(i, 70+i)
			e.MessageID = id
			b.receive(e)
		}
		b.swept()
		b.wantHeld(6)
		b.decide(true)
		b.wantMembers("vip", "user0", "user1", "user2", "user3", "user4", "user5")
	}
}

// TestAReturnIsToldThoughTheGuardHeldARepeatOfTheExit: MoEngage was told of the exit long before, a reconcile repeated
// it, and the return was taken for one from an exit that MoEngage never heard of.
func TestAReturnIsToldThoughTheGuardHeldARepeatOfTheExit(t *testing.T) {
	costly(t, manyStores)
	for _, send := range []domain.SendMethods{domain.SendBoth, domain.SendAsReceived} {
		b, them := open(t, watched(send)), newMoengage()
		both := func(e *domain.Event) []*domain.Event {
			track := *e
			asTrack("Moved")(&track)
			return []*domain.Event{e, &track}
		}
		for i := range 6 {
			b.receive(both(enters(i, 0))...)
		}
		b.tell(them)
		b.receive(both(leaves(5, 1))...)
		b.tell(them)
		b.receive(slices.Concat(both(leaves(0, 70)), both(leaves(1, 71)), both(leaves(2, 72)))...)
		b.swept()
		_, err := b.Reconcile(t.Context(), "vip", true, false, nil)
		must(t, err)
		b.receive(both(enters(5, 80))...)
		b.tell(them)
		events := them.events["user5"]
		if n := len(events); n != 3 || !strings.HasSuffix(events[n-1], domain.TransitionEnter.String()) {
			t.Errorf("send %d: MoEngage was told %v of a user who entered, left and came back", send, events)
		}
		recount(t, b)
	}
}
