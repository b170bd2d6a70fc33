package store

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/repair"
	"personasync/store/internal/state"
)

// received has an event come in while the clock is off by so much.
func received(off time.Duration) func(*domain.Event) {
	return func(e *domain.Event) { e.Received = e.Received.Add(off) }
}

// jumps are how far a clock is off: an hour, a day of the year on which clocks change, years.
var jumps = []time.Duration{time.Hour, 25 * time.Hour, 366 * 24 * time.Hour, 20 * 366 * 24 * time.Hour}

// TestWhatCameInUnderAClockThatWasAheadLeavesOnceItIsSetBack: its due time lies years ahead, and is not
// waited for; in each lane, and in order with what comes in afterwards.
func TestWhatCameInUnderAClockThatWasAheadLeavesOnceItIsSetBack(t *testing.T) {
	costly(t, manyStores)
	for _, off := range jumps {
		t.Run(off.String(), func(t *testing.T) {
			b := open(t, rules(domain.SendBoth))
			b.receive(event("ann", "vip", true, 1, received(off)), event("bob", "vip", true, 2, received(off)))
			b.receive(event("ann", "vip", false, 3), event("cid", "vip", true, 3))
			b.drain()
			b.wantSaid("ann!Audience Entered cid.vip=true cid!Audience Entered bob.vip=true bob!Audience Entered ann!Audience Exited")
			b.balance()
		})
	}
}

// TestACronJobLetsOutWhatCameInUnderAClockThatWasAhead, and not before its time.
func TestACronJobLetsOutWhatCameInUnderAClockThatWasAhead(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1, received(24*time.Hour)))
	o := everything(noon.Add(time.Hour))
	o.Due = func(string) time.Time { return time.Time{} }
	if f, _, err := b.Take(t.Context(), o); err != nil || f != nil {
		t.Fatalf("it left while its job was closed: %v", err)
	}
	o.Due = func(string) time.Time { return noon.Add(40 * time.Minute) }
	if f, _, err := b.Take(t.Context(), o); err != nil || f == nil {
		t.Fatalf("its job's run let nothing out: %v", err)
	}
}

// TestARetryPutOffUnderAClockThatWasAheadIsDue, while one whose time can be true waits for it.
func TestARetryPutOffUnderAClockThatWasAheadIsDue(t *testing.T) {
	b := open(t, rules(domain.SendEvent))
	b.receive(event("ann", "vip", true, 1))
	f := b.take()
	at := noon.Add(24 * time.Hour)
	must(t, b.Settle(t.Context(), domain.Settlement{Lease: f.ID, At: at, Results: []domain.UserResult{{Event: domain.Result{Verdict: domain.Refused, RetryAt: at.Add(time.Minute)}}}}))
	o := everything(noon.Add(time.Hour))
	o.Longest = 25 * time.Hour
	if f, _, err := b.Take(t.Context(), o); err != nil || f != nil {
		t.Fatalf("a retry left before its time: %v", err)
	}
	o.Longest = time.Hour
	if f, _, err := b.Take(t.Context(), o); err != nil || f == nil {
		t.Fatalf("a retry waits for the time of another clock: %v", err)
	}
}

// TestACohortChangePutOffUnderAClockThatWasAheadIsDue: MoEngage accepted the user, by that clock,
// tomorrow.
func TestACohortChangePutOffUnderAClockThatWasAheadIsDue(t *testing.T) {
	b := open(t, rules(domain.SendBoth|domain.SendCohort))
	b.receive(event("ann", "vip", true, 1))
	for f := b.take(); f != nil; f = b.take() {
		o := domain.Settlement{Lease: f.ID, At: noon.Add(24 * time.Hour), Results: make([]domain.UserResult, len(f.Users))}
		for i := range o.Results {
			o.Results[i] = domain.UserResult{Attributes: domain.Result{Verdict: domain.Delivered}, Event: domain.Result{Verdict: domain.Delivered}}
		}
		must(t, b.Settle(t.Context(), o))
	}
	o := onCohorts(noon.Add(time.Hour))
	o.Longest = time.Hour
	if f, _, err := b.Take(t.Context(), o); err != nil || f == nil {
		t.Fatalf("the cohort waits for the time of another clock: %v", err)
	}
}

// TestHistoryClosedUnderAClockThatWasAheadDoesNotBlockRetention.
func TestHistoryClosedUnderAClockThatWasAheadDoesNotBlockRetention(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.SetRetention(Options{Delivered: time.Hour})
	close := func(user string, at time.Time) {
		b.receive(event(user, "vip", true, 1))
		f := b.take()
		must(t, b.Settle(t.Context(), domain.Settlement{Lease: f.ID, At: at, Results: []domain.UserResult{{Attributes: domain.Result{Verdict: domain.Delivered}}}}))
	}
	close("ann", noon.Add(366*24*time.Hour))
	close("bob", noon.Add(time.Hour))
	inspectable := func(user string) int {
		info, err := b.User(user)
		must(t, err)
		return len(info.History)
	}
	for _, step := range []struct {
		at       time.Duration
		ann, bob int
	}{{time.Hour + time.Minute, 1, 1}, {2 * time.Hour, 1, 1}, {3 * time.Hour, 0, 0}} {
		_, err := b.Prune(t.Context(), noon.Add(step.at))
		must(t, err)
		if ann, bob := inspectable("ann"), inspectable("bob"); ann != step.ann || bob != step.bob {
			t.Errorf("after %s there are %d and %d, want %d and %d", step.at, ann, bob, step.ann, step.bob)
		}
	}
	b.balance()
}

// TestAClockThatJumpsAheadExpiresNothingUnannounced: what it makes look old enough is announced, which is
// taken back with the clock; and by an honest clock it takes its month, of which the last week is announced.
func TestAClockThatJumpsAheadExpiresNothingUnannounced(t *testing.T) {
	onFiles(t)
	b := &bench{TB: t, dir: t.TempDir()}
	var err error
	b.Store, err = Open(b.dir, Options{Log: slog.New(slog.DiscardHandler), Parked: 30 * state.Day})
	must(t, err)
	t.Cleanup(func() { b.Store.Close() })
	must(t, b.SetRules(t.Context(), rules(domain.SendBoth)))
	fault := func(e *domain.Event) { e.Fault = "undetermined" }
	b.receive(event("ann", "vip", true, 1, fault))
	discarded := func(at time.Time) uint64 {
		t.Helper()
		_, err := b.Prune(t.Context(), at)
		must(t, err)
		c, err := b.Counts()
		must(t, err)
		return c.Events.Discarded
	}
	for _, off := range jumps {
		for _, at := range []time.Duration{off, off + time.Hour, off + 6*state.Day, 0} {
			if discarded(noon.Add(time.Hour+at)) != 0 {
				t.Fatalf("it expired %s after it came in, unannounced", at)
			}
		}
	}
	for d := range 35 {
		at := noon.Add(time.Duration(d)*state.Day + time.Hour)
		gone := discarded(at) == 1
		said, err := b.Expiring(at, 30*state.Day)
		must(t, err)
		if want := d >= 31; gone != want && d != 30 {
			t.Errorf("on day %d it is gone: %v", d, gone)
		}
		if want := d >= 23 && !gone; (said != nil) != want && d != 22 {
			t.Errorf("on day %d it is announced: %v", d, said)
		}
	}
	b.balance()
}

// TestTheGuardCountsAnewOnceTheClockIsSetBack: else one window would last for a year, and churn that is
// usual within a year would trip it.
func TestTheGuardCountsAnewOnceTheClockIsSetBack(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	guarded := rules(domain.SendBoth)
	guarded.Guard = domain.Guard{Share: 0.3, Count: 3, Window: time.Hour}
	must(t, b.SetRules(t.Context(), guarded))
	for i := range 6 {
		b.receive(event(fmt.Sprint("user", i), "vip", true, 1))
	}
	b.receive(event("user0", "vip", false, 2, received(366*24*time.Hour)))
	for i := 1; i < 4; i++ { // one a day
		b.receive(event(fmt.Sprint("user", i), "vip", false, 3, received(time.Duration(i)*24*time.Hour)))
	}
	if c := b.balance(); c.Changes.Held != 0 {
		t.Errorf("%d changes are held", c.Changes.Held)
	}
}

// jumped has an event come in after the clock jumped ahead under a running agent.
func jumped(by time.Duration) func(*domain.Event) {
	return func(e *domain.Event) { e.Received, e.ClockAhead = e.Received.Add(by), by }
}

// TestAJumpOfTheClockOpensNoWindowOfTheGuard: an exit that came in under it began a new window, the next one another,
// and those who had left before were not counted in them.
func TestAJumpOfTheClockOpensNoWindowOfTheGuard(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	guarded := rules(domain.SendBoth)
	guarded.Guard = domain.Guard{Share: 0.3, Count: 3, Window: time.Hour}
	must(t, b.SetRules(t.Context(), guarded))
	for i := range 6 {
		b.receive(event(fmt.Sprint("user", i), "vip", true, 1))
	}
	b.receive(event("user0", "vip", false, 2), event("user1", "vip", false, 3, jumped(366*state.Day)), event("user2", "vip", false, 4))
	if c := b.balance(); c.Changes.Held == 0 {
		t.Error("the exits of half of the members are not held")
	}
}

// TestWhatLeftUnderAClockThatWasAheadIsForgotten: it does not count against the limits at each start
// until the clock is there.
func TestWhatLeftUnderAClockThatWasAheadIsForgotten(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	fly := func(user string, at time.Time) {
		b.receive(event(user, "vip", true, 1))
		f, _, err := b.Take(t.Context(), everything(at))
		must(t, err)
		b.settle(f, domain.Delivered)
	}
	fly("ann", noon.Add(24*time.Hour))
	fly("bob", noon.Add(time.Hour))
	sent, err := b.Sent(time.Time{})
	must(t, err)
	if len(sent) != 1 || !sent[0].At.Equal(noon.Add(time.Hour)) {
		t.Errorf("remembered is %+v", sent)
	}
}

// TestATimeBelievedAgainstTheClockIsSentAsItIs: sent with the time of a clock that is a year behind, it
// would look older at MoEngage than what was sent before.
func TestATimeBelievedAgainstTheClockIsSentAsItIs(t *testing.T) {
	for _, c := range []struct{ ahead, sent time.Duration }{
		{-time.Hour, -time.Hour}, {0, -time.Second}, {domain.MaxAhead, -time.Second}, {366 * 24 * time.Hour, 366 * 24 * time.Hour},
	} {
		if got := outbox.SendTime(&domain.Event{Received: noon, Time: noon.Add(c.ahead)}); !got.Equal(noon.Add(c.sent)) {
			t.Errorf("%s ahead is sent as %s ahead", c.ahead, got.Sub(noon))
		}
	}
}

// TestTheStoreKnowsWhenItWasWrittenTo, for the clock of a start that may be behind.
func TestTheStoreKnowsWhenItWasWrittenTo(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	if !b.Written().IsZero() {
		t.Errorf("a new store was written to at %s", b.Written())
	}
	before := time.Now().Add(-time.Second)
	b.receive(event("ann", "vip", true, 1))
	b.reopen(rules(domain.SendAttribute))
	if b.Written().Before(before) || b.Written().After(time.Now()) {
		t.Errorf("it was written to at %s, not before %s", b.Written(), before)
	}
}

// untimed has an event come in without a time of its own while the clock is off: its time is its receipt.
func untimed(off time.Duration) func(*domain.Event) {
	return func(e *domain.Event) { e.Received = noon.Add(30*time.Minute + off); e.Time = e.Received }
}

// TestAWordOfAClockThatWasAheadBlocksNoMembership: whatever was said in those two seconds made everything stale
// until the clock was there, a year later, also after a restart.
func TestAWordOfAClockThatWasAheadBlocksNoMembership(t *testing.T) {
	costly(t, manyStores)
	for _, send := range []domain.SendMethods{domain.SendAttribute, domain.SendBoth | domain.SendCohort, domain.SendAsReceived} {
		for _, off := range append(jumps, domain.MaxAhead+31*time.Minute) {
			t.Run(fmt.Sprint(send, off), func(t *testing.T) {
				b := open(t, rules(send))
				b.receive(event("ann", "vip", true, 0, untimed(off)), event("bob", "vip", false, 0, untimed(off)), event("cid", "vip", true, 0, untimed(off)))
				b.receive(event("cid", "vip", true, 10, asTrack("Seen"), untimed(off)))
				b.reopen(rules(send))
				b.receive(event("ann", "vip", false, 20), event("bob", "vip", true, 20), event("cid", "vip", false, 20), event("cid", "vip", false, 20, asTrack("Seen")))
				b.wantMembers("vip", "bob")
				b.receive(event("ann", "vip", true, 19), event("bob", "vip", false, 19)) // older than what is believed now
				b.wantMembers("vip", "bob")
				b.receive(event("ann", "vip", true, 21))
				b.wantMembers("vip", "ann", "bob")
				b.balance()
				recount(t, b)
			})
		}
	}
}

// TestOfTwoCallsTheOneOfAClockThatWasAheadHidesNotTheOther: identify and track are kept apart, and the newest
// of both is what is shown.
func TestOfTwoCallsTheOneOfAClockThatWasAheadHidesNotTheOther(t *testing.T) {
	b := open(t, rules(domain.SendAsReceived))
	b.receive(event("ann", "vip", true, 0, untimed(366*24*time.Hour)))
	b.receive(event("ann", "vip", false, 20, asTrack("Gone")))
	b.wantMembers("vip")
	b.balance()
	recount(t, b)
}

// TestAStoredTimeIsBelievedUpToFiveMinutesAhead: clocks differ that much without being wrong.
func TestAStoredTimeIsBelievedUpToFiveMinutesAhead(t *testing.T) {
	for ahead, want := range map[time.Duration][]string{domain.MaxAhead: {"ann"}, domain.MaxAhead + time.Second: nil} {
		b := open(t, rules(domain.SendAttribute))
		b.receive(event("ann", "vip", true, 30, func(e *domain.Event) { e.Time = e.Time.Add(ahead) }))
		b.receive(event("ann", "vip", false, 30))
		b.wantMembers("vip", want...)
	}
}

// TestADeletionUnderAClockThatWasAheadIgnoresNobodyForAYear, of Segment or of an operator.
func TestADeletionUnderAClockThatWasAheadIgnoresNobodyForAYear(t *testing.T) {
	for name, remove := range map[string]func(b *bench){
		"Segment's": func(b *bench) {
			b.receive(&domain.Event{Call: domain.CallDelete, User: domain.Identifier{ID: "ann"}, MessageID: "d", Raw: []byte(`{}`), Received: noon.Add(366 * 24 * time.Hour), Time: noon})
		},
		"an operator's": func(b *bench) {
			b.upkeep.now = func() time.Time { return noon.Add(366 * 24 * time.Hour) }
			_, err := b.Forget(b.Context(), "ann")
			must(b, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, rules(domain.SendAttribute))
			b.receive(event("ann", "vip", true, 1))
			remove(b)
			b.wantMembers("vip")
			b.reopen(rules(domain.SendAttribute))
			b.receive(event("ann", "vip", true, 29))
			b.wantMembers("vip", "ann")
			b.balance()
		})
	}
}

// TestAForgetUnderAClockThatIsBehindLetsNoOlderEventIn: the tombstone was older than the events from before it.
func TestAForgetUnderAClockThatIsBehindLetsNoOlderEventIn(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 20))
	b.upkeep.now = func() time.Time { return noon.Add(-time.Hour) }
	_, err := b.Forget(t.Context(), "ann")
	must(t, err)
	b.receive(event("ann", "vip", true, 10), event("ann", "vip", true, 25)) // heard of until half past
	b.wantMembers("vip")
	b.receive(event("ann", "vip", true, 31, untimed(2*time.Minute)))
	b.wantMembers("vip", "ann")
}

// TestAListIsTakenInOverAWordOfAClockThatWasAhead: it counted as newer, for as long.
func TestAListIsTakenInOverAWordOfAClockThatWasAhead(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	ahead := func(e *domain.Event) { e.Received = time.Now().Add(366 * 24 * time.Hour); e.Time = e.Received }
	b.receive(event("ann", "vip", false, 0, ahead), event("bob", "vip", true, 0, ahead))
	if r := b.imports(Import{Key: "vip", AsOf: time.Now(), Users: users("ann")}); r.Newer != 0 || r.Enters != 1 || r.Exits != 1 {
		t.Errorf("%+v", r)
	}
	b.wantMembers("vip", "ann")
	_, err := b.CloseAudience(t.Context(), "vip", false, false, nil)
	must(t, err)
	b.wantMembers("vip")
}

// TestAListThatAgreesTakesTheTimeOfAClockThatWasAhead: it left the time alone, and whatever happened until then
// was older once the clock was there.
func TestAListThatAgreesTakesTheTimeOfAClockThatWasAhead(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	year := 366 * 24 * time.Hour
	ahead := func(e *domain.Event) { e.Received = time.Now().Add(year); e.Time = e.Received }
	b.receive(event("ann", "vip", true, 0, ahead), event("bob", "vip", false, 0, ahead))
	asOf := time.Now()
	if r := b.imports(Import{Key: "vip", AsOf: asOf, Users: users("ann")}); r.Unchanged != 2 || r.Newer != 0 {
		t.Errorf("%+v", r)
	}
	for user, in := range map[string]bool{"ann": true, "bob": false} {
		u, err := b.User(user)
		must(t, err)
		since, err := time.Parse(time.RFC3339Nano, u.Memberships[0].Since)
		must(t, err)
		if since.After(asOf) {
			t.Errorf("%s is what they are since %s", user, since)
		}
		// The clock comes to the time that was stored, and what happened a moment before is told.
		b.receive(event(user, "vip", !in, 0, func(e *domain.Event) { e.Received = asOf.Add(year); e.Time = e.Received.Add(-time.Minute) }))
	}
	b.wantMembers("vip", "bob")
}

// TestAForgetIsNotUndoneByAComputationThatHeardFromTheFuture: what it heard under a clock that was ahead is not
// believed, and the time of the command still holds.
func TestAForgetIsNotUndoneByAComputationThatHeardFromTheFuture(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 20), event("bob", "vip", true, 0, untimed(366*24*time.Hour)))
	for range 2 { // the second time from a clock that is behind
		_, err := b.Forget(t.Context(), "ann")
		must(t, err)
		b.upkeep.now = func() time.Time { return noon.Add(-time.Hour) }
	}
	b.receive(event("ann", "vip", true, 25))
	b.wantMembers("vip", "bob")
	b.receive(event("ann", "vip", true, 32, untimed(2*time.Minute)))
	b.wantMembers("vip", "ann", "bob")
	must(t, b.Store.Close())
	if r, err := repair.Check(t.Context(), b.dir, nil); err != nil || !r.OK() {
		t.Errorf("check: %+v, %v", r, err)
	}
}

// TestEachChangePutOffUnderAClockThatWasAheadIsLookedAtOnce: where none but such were left, a user whose cohort waited
// for the profile was listed twice, and the second time taken for a contradiction of the rows.
func TestEachChangePutOffUnderAClockThatWasAheadIsLookedAtOnce(t *testing.T) {
	var log bytes.Buffer
	b := &bench{TB: t, dir: t.TempDir()}
	var err error
	b.Store, err = b.openStore(Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	t.Cleanup(func() { b.Store.Close() })
	must(t, b.SetRules(t.Context(), rules(domain.SendAttribute|domain.SendCohort)))
	b.receive(event("ann", "vip", true, 1), event("bob", "vip", true, 1))
	b.settleAt(b.take(), noon.Add(24*time.Hour), domain.Result{Verdict: domain.Delivered})
	o := onCohorts(noon.Add(time.Hour))
	o.Longest = time.Hour
	if f, _, err := b.Take(t.Context(), o); err != nil || f == nil || len(f.Users) != 2 {
		t.Fatalf("leased: %+v, %v", f, err)
	}
	recount(t, b)
	if strings.Contains(log.String(), "contradict") {
		t.Errorf("the log says:\n%s", &log)
	}
}
