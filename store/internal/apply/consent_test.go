package apply

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// asking has every computation ask for Marketing.
func asking(r *domain.Rules) { r.Defaults.Consent = []string{"Marketing"} }

// stating has an event state consent: the categories that were given.
func stating(given ...string) statetest.Option {
	return func(e *domain.Event) { e.Consent = &domain.Preferences{Given: given} }
}

var yes, no = stating("Marketing"), stating()

// update is Segment's reserved event, at a minute after noon.
func update(user string, minute int, given ...string) *domain.Event {
	return &domain.Event{
		Received: receipt, Time: at(minute), Call: domain.CallTrack, Name: domain.ConsentEvent, MessageID: fmt.Sprint("consent-", user, minute, given),
		User: domain.Identifier{ID: user}, Raw: []byte("{}"), Consent: &domain.Preferences{Given: given},
	}
}

// withheld is how many members, or values, of a computation are withheld.
func (r *room) wantWithheld(key string, want uint64) {
	r.Helper()
	if got := r.field(key).Withheld; got != want {
		r.Errorf("%d of %s are withheld, want %d", got, key, want)
	}
}

// TestConsentDecidesWhatMoEngageIsTold runs a story for each way of sending. "| " stands where MoEngage accepts what is
// due.
func TestConsentDecidesWhatMoEngageIsTold(t *testing.T) {
	type story = []any // events, and "deliver"
	byTrack := trait("ann", "score", 1, "score", "5")
	statetest.AsTrack("Scored")(byTrack)
	for _, tc := range []struct {
		name string
		send domain.SendMethods
		do   story
		want string
	}{
		{"nothing is known of the consent", domain.SendBoth, story{enter("ann", "vip", 1)},
			"ann.vip=true(withheld) ann!Audience Entered(withheld)"},
		{"it is refused by the event itself", domain.SendBoth, story{enter("ann", "vip", 1, no)},
			"ann.vip=true(withheld) ann!Audience Entered(withheld)"},
		{"it is given by the event itself", domain.SendBoth, story{enter("ann", "vip", 1, yes)},
			"ann.vip=true ann!Audience Entered"},
		{"it is given before", domain.SendBoth, story{update("ann", 1, "Marketing"), enter("ann", "vip", 2)},
			"ann.vip=true ann!Audience Entered"},
		{"another category is given", domain.SendBoth, story{update("ann", 1, "Analytics"), enter("ann", "vip", 2)},
			"ann.vip=true(withheld) ann!Audience Entered(withheld)"},
		{"it is given later: the newest value, and no event", domain.SendBoth, story{enter("ann", "vip", 1), update("ann", 2, "Marketing")},
			"ann.vip=true(withheld) ann!Audience Entered(withheld) ann.vip=true"},
		{"it is withdrawn after MoEngage was told", domain.SendBoth, story{enter("ann", "vip", 1, yes), "deliver", update("ann", 2)},
			"ann.vip=true(delivered) ann!Audience Entered(delivered) ann.vip=false"},
		{"it is withdrawn before anything left: nothing leaves", domain.SendBoth, story{enter("ann", "vip", 1, yes), update("ann", 2)},
			"ann.vip=true(withheld) ann!Audience Entered(withheld)"},
		{"withdrawn and given again during an outage: nothing leaves", domain.SendAttribute, story{enter("ann", "vip", 1, yes), "deliver", update("ann", 2), update("ann", 3, "Marketing")},
			"ann.vip=true(delivered) ann.vip=false(superseded) ann.vip=true(cancelled)"},
		{"an exit after a withdrawal says nothing more", domain.SendBoth, story{enter("ann", "vip", 1, yes), "deliver", update("ann", 2), "deliver", exit("ann", "vip", 3)},
			"ann.vip=true(delivered) ann!Audience Entered(delivered) ann.vip=false(delivered) ann.vip=false(cancelled) ann!Audience Exited(withheld)"},
		{"MoEngage is not told that somebody is no member of whom it never knew", domain.SendBoth, story{enter("ann", "vip", 1, no), exit("ann", "vip", 2)},
			"ann.vip=true(withheld) ann!Audience Entered(withheld) ann.vip=false(cancelled) ann!Audience Exited(withheld)"},
		{"an older statement changes nothing", domain.SendBoth, story{update("ann", 5, "Marketing"), update("ann", 4), enter("ann", "vip", 1, no)},
			"ann.vip=true ann!Audience Entered"},
		{"of two of one time the refusal wins", domain.SendAttribute, story{update("ann", 5), update("ann", 5, "Marketing"), enter("ann", "vip", 6)},
			"ann.vip=true(withheld)"},
		{"an event without a statement leaves it as it is", domain.SendAttribute, story{update("ann", 5, "Marketing"), enter("ann", "vip", 6), exit("ann", "vip", 7)},
			"ann.vip=true(superseded) ann.vip=false(cancelled)"},
		{"a withdrawal by the event of another audience", domain.SendAttribute, story{enter("ann", "vip", 1, yes), "deliver", enter("ann", "new", 2, no)},
			"ann.vip=true(delivered) ann.vip=false ann.new=true(withheld)"},
		{"a cohort and a list", domain.SendCohort | domain.SendList, story{enter("ann", "vip", 1, yes), update("ann", 2), update("ann", 3, "Marketing")},
			"ann@vip=true(withheld) ann.segment_audiences=true(withheld) ann@vip=true ann.segment_audiences=true"},
		{"a list that was told", domain.SendList, story{enter("ann", "vip", 1, yes), "deliver", update("ann", 2)},
			"ann.segment_audiences=true(delivered) ann.segment_audiences=false"},
		{"as received", domain.SendAsReceived, story{enter("ann", "vip", 1, yes), enter("ann", "vip", 1, statetest.AsTrack("Joined")), "deliver", update("ann", 2), enter("ann", "vip", 3, statetest.AsTrack("Joined")), update("ann", 4, "Marketing")},
			"ann.vip=true(delivered) ann!Joined(delivered) ann.vip=false(superseded) ann.vip=true(cancelled)"},
		{"a trait", domain.SendBoth, story{trait("ann", "score", 1, "score", "5"), update("ann", 2, "Marketing"), trait("ann", "score", 3, "score", "6")},
			"ann.score=5(withheld) ann!Trait Computed(withheld) ann.score=5(superseded) ann.score=6 ann!Trait Computed"},
		{"a pending trait is not sent after a withdrawal", domain.SendAttribute, story{trait("ann", "score", 1, "score", "5"), update("ann", 2, "Marketing"), update("ann", 3), trait("ann", "score", 4, "score", "6")},
			"ann.score=5(withheld) ann.score=5(withheld) ann.score=6(withheld)"},
		{"a trait that came by track alone, as received", domain.SendAsReceived, story{byTrack, update("ann", 2, "Marketing")},
			"ann!Scored(withheld)"},
		{"a SQL row", domain.SendAttribute, story{trait("ann", "row", 1, "a", "1", "b", "2"), update("ann", 2, "Marketing")},
			"ann.a=1(withheld) ann.b=2(withheld) ann.a=1 ann.b=2"},
		{"a step that passes through", domain.SendAsReceived, story{enter("ann", "vip", 1, statetest.AsStep("Step", "s1")), update("ann", 2, "Marketing"), enter("ann", "vip", 3, statetest.AsStep("Step", "s2"))},
			"ann!Step(withheld) ann!Step"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := sending(t, tc.send, asking)
			for _, step := range tc.do {
				if e, is := step.(*domain.Event); is {
					r.event(e)
				} else {
					r.deliver()
				}
			}
			r.wantTold(tc.want)
			r.Reopen()
			r.wantTold(tc.want)
		})
	}
}

func TestWithoutTheKeyConsentChangesNothing(t *testing.T) {
	r := sending(t, domain.SendBoth)
	if got := r.events(enter("ann", "vip", 1, no), update("ann", 2), update("bob", 2, "Marketing")); got != "transition ignored ignored" {
		t.Errorf("the events come to %s", got)
	}
	r.wantTold("ann.vip=true ann!Audience Entered")
	r.Read(func(tx *state.Tx) {
		if c := state.ConsentOf(tx, tx.User("ann")); c != nil {
			t.Errorf("%+v is kept", c)
		}
	})
}

func TestAStatementHasAnOutcome(t *testing.T) {
	r := sending(t, domain.SendBoth, asking)
	anonymous := update("", 2, "Marketing")
	anonymous.Anonymous.ID = "anon"
	silent := update("ann", 9)
	silent.Consent = nil
	got := r.events(update("ann", 2, "Marketing"), update("ann", 2, "Marketing"), update("ann", 3, "Marketing"), update("ann", 1), update("ann", 4), anonymous, silent)
	if want := "transition duplicate unchanged stale transition ignored ignored"; got != want {
		t.Errorf("the statements come to %s, want %s", got, want)
	}
}

func TestConsentStaysKnownWhileNobodyAsks(t *testing.T) {
	r := sending(t, domain.SendAttribute, asking)
	r.events(update("ann", 1, "Marketing"), enter("ann", "vip", 2))
	r.deliver()
	none := statetest.Rules(domain.SendAttribute)
	r.record(record.Record{Rules: &none}, nil)
	r.events(update("ann", 3), update("bob", 3, "Marketing"))
	again := none
	asking(&again)
	r.record(record.Record{Rules: &again}, nil)
	r.compareAll()
	r.wantTold("ann.vip=true(delivered) ann.vip=false")
}

// compareAll appends orders to compare until all users are.
func (r *room) compareAll() (records int) {
	r.Helper()
	for under := true; under; {
		r.Read(func(tx *state.Tx) { _, under = state.ReadComparing(tx.Bucket(state.BucketMeta).Get(state.MetaConsent)) })
		if under {
			if records++; records > 100 {
				r.Fatal("the comparison does not end")
			}
			r.order(record.Order{Verb: record.OrderCompare}, "")
		}
	}
	return records
}

// TestAChangedConfigurationComparesEveryUser, in slices, and those who come meanwhile are neither left out nor counted twice.
func TestAChangedConfigurationComparesEveryUser(t *testing.T) {
	r := sending(t, domain.SendAttribute)
	const users = comparedAtOnce + 20
	for i := range users {
		r.event(enter(fmt.Sprintf("user%04d", i), "vip", 1))
	}
	r.deliver()
	rules := statetest.Rules(domain.SendAttribute)
	asking(&rules)
	r.record(record.Record{Rules: &rules}, nil)
	r.order(record.Order{Verb: record.OrderCompare}, "")
	r.Read(func(tx *state.Tx) {
		if at, under := state.ReadComparing(tx.Bucket(state.BucketMeta).Get(state.MetaConsent)); !under || at.Done != comparedAtOnce {
			t.Errorf("after the first slice: %+v", at)
		}
	})
	r.Reopen()
	r.events(enter("zoe", "vip", 2), enter("adam", "vip", 2, yes))
	if n := r.compareAll(); n != 1 {
		t.Errorf("%d more records compare the rest", n)
	}
	r.wantWithheld("vip", users+1)
	if n := strings.Count(r.told(), "vip=false"); n != users {
		t.Errorf("MoEngage is told that %d are no members, want %d", n, users)
	}
	r.deliver()
	none := statetest.Rules(domain.SendAttribute)
	r.record(record.Record{Rules: &none}, nil)
	r.compareAll()
	r.wantWithheld("vip", 0)
	r.deliver()
	if got := r.told(); strings.Count(got, "vip=true(delivered)") != 2*users+2 {
		t.Errorf("after the key is gone: %s", got)
	}
	r.Balance()
	r.record(record.Record{Rules: &none}, nil)
	if r.compareAll() != 0 {
		t.Error("equal rules compare again")
	}
}

// TestNothingForbiddenLeavesBeforeTheComparison: the lease itself withholds.
func TestNothingForbiddenLeavesBeforeTheComparison(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.event(enter("ann", "vip", 1))
	rules := statetest.Rules(domain.SendBoth)
	asking(&rules)
	r.record(record.Record{Rules: &rules}, nil)
	if f := r.take(); f != nil {
		t.Errorf("%+v leaves", f)
	}
	r.wantTold("ann.vip=true(withheld) ann!Audience Entered(withheld)")
}

// TestAWithdrawalFollowsARequestInFlight for each outcome of it.
func TestAWithdrawalFollowsARequestInFlight(t *testing.T) {
	for verdict, want := range map[domain.Verdict]string{
		domain.Delivered: "ann.vip=true(delivered) ann!Audience Entered(delivered) ann.vip=false",
		domain.Refused:   "ann.vip=true(superseded) ann!Audience Entered(withheld) ann.vip=false(cancelled)",
		domain.Uncertain: "ann.vip=true(superseded) ann!Audience Entered(withheld) ann.vip=false",
		domain.Parked:    "ann.vip=true(superseded) ann!Audience Entered(parked) ann.vip=false(cancelled)",
	} {
		r := sending(t, domain.SendBoth, asking)
		r.event(enter("ann", "vip", 1, yes))
		f := r.take()
		r.event(update("ann", 2))
		r.settle(f, verdict)
		if again := r.take(); again != nil { // what became forbidden is withheld as it would leave
			r.settle(again, domain.Untried)
		}
		r.wantTold(want)
	}
}

func TestNothingThatAnOperatorSendsAgainPassesConsent(t *testing.T) {
	r := sending(t, domain.SendBoth, asking)
	r.event(enter("ann", "vip", 1, yes))
	r.park()
	parked := r.ids(domain.StateParked)
	r.event(update("ann", 2))
	r.action(record.Action{Verb: record.ActionRetry, IDs: parked})
	r.order(record.Order{Verb: record.OrderReconcile, Targets: words("ann"), Events: true}, "vip")
	if f := r.take(); f != nil {
		t.Errorf("%+v leaves", f)
	}
	r.order(record.Order{Verb: record.OrderBaseline, Time: at(5), Targets: words("ann")}, "vip")
	for _, ch := range r.changes() {
		if ch.State == domain.StatePending && string(ch.Value) != "false" {
			t.Errorf("after the baseline %s of %s is pending", ch.Kind, ch.User)
		}
	}
	if got := r.told(); !strings.HasSuffix(got, "ann.vip=false") {
		t.Errorf("the baseline, by which MoEngage has ann, is not taken back: %s", got)
	}
	r.Balance()
}

// TestTheGuardHoldsNoWithdrawal: it is law, and no accident.
func TestTheGuardHoldsNoWithdrawal(t *testing.T) {
	r := sending(t, domain.SendAttribute, asking, func(r *domain.Rules) { r.Guard = domain.Guard{Share: 0.1, Count: 1, Window: time.Hour} })
	r.events(enter("ann", "vip", 1, yes), enter("bob", "vip", 1, yes), enter("cid", "vip", 1, yes))
	r.deliver()
	r.events(exit("ann", "vip", 2), update("bob", 2))
	delivered := "ann.vip=true(delivered) bob.vip=true(delivered) cid.vip=true(delivered) "
	r.wantTold(delivered + "ann.vip=false(held) bob.vip=false")
	r.wantCounts("vip", 2, 3, 1)
	r.event(update("ann", 3)) // her exit was held, and MoEngage has her for a member
	r.wantTold(delivered + "ann.vip=false(superseded) bob.vip=false ann.vip=false")
	r.deliver()
	r.order(record.Order{Verb: record.OrderDiscard}, "vip")
	r.order(record.Order{Verb: record.OrderDiscard, Targets: words("ann")}, "vip")
	r.order(record.Order{Verb: record.OrderDiscarded}, "vip")
	if f := r.take(); f != nil {
		t.Errorf("a discard tells MoEngage of members without consent: %+v", f)
	}
	r.wantWithheld("vip", 2)
	r.Balance()
}

// asks has the computations ask for categories from now on. Users are compared later.
func (r *room) asks(send domain.SendMethods, guard domain.Guard, categories ...string) {
	rules := statetest.Rules(send)
	rules.Defaults.Consent, rules.Guard = categories, guard
	r.record(record.Record{Rules: &rules}, nil)
}

// TestWhatIsRetriedWithoutConsentIsSentOnceItSuffices: the retry came between a configuration that asked for more and the
// comparison with it, and its change was closed without a mark, so that the next comparison found nothing to send.
func TestWhatIsRetriedWithoutConsentIsSentOnceItSuffices(t *testing.T) {
	for _, send := range []domain.SendMethods{domain.SendAttribute, domain.SendList} {
		r := sending(t, send, asking)
		r.event(enter("ann", "vip", 1, yes))
		r.park()
		r.asks(send, domain.Guard{}, "Analytics", "Marketing")
		r.action(record.Action{Verb: record.ActionRetry, IDs: r.ids(domain.StateParked)})
		if f := r.take(); f != nil {
			t.Errorf("%+v leaves", f)
		}
		r.wantWithheld("vip", 1)
		r.asks(send, domain.Guard{}, "Marketing")
		r.compareAll()
		r.wantWithheld("vip", 0)
		r.deliver()
		if got := r.told(); !strings.Contains(got, "(withheld)") || !strings.HasSuffix(got, "true(delivered)") {
			t.Errorf("%v: %s", send, got)
		}
		r.Balance()
	}
}

// TestTheGuardHoldsNoWithdrawalThatIsToBeUndone: under a configuration that asks for less, what took a value back looked
// like an exit until the user was compared. It was held, and released after MoEngage was told of the member again.
func TestTheGuardHoldsNoWithdrawalThatIsToBeUndone(t *testing.T) {
	guard := domain.Guard{Share: 0.1, Count: 1, Window: time.Hour}
	r := sending(t, domain.SendAttribute, asking, func(r *domain.Rules) { r.Guard = guard })
	r.events(enter("bob", "vip", 1, yes), enter("cid", "vip", 1, yes))
	r.deliver()
	r.order(record.Order{Verb: record.OrderBaseline, Time: at(1), Targets: words("ann")}, "vip")
	r.asks(domain.SendAttribute, guard)
	r.event(exit("bob", "vip", 2))
	for len(r.State.Sweeping) > 0 {
		r.Do(outbox.Sweep)
	}
	r.wantTold("bob.vip=true(delivered) cid.vip=true(delivered) ann.vip=false bob.vip=false(held)")
	r.compareAll()
	r.wantTold("bob.vip=true(delivered) cid.vip=true(delivered) ann.vip=false(superseded) bob.vip=false(held) ann.vip=true(cancelled)")
	r.Balance()
}

func TestOnNullDecidesWhatATraitBecomes(t *testing.T) {
	for policy, want := range map[domain.NullPolicy]string{
		domain.NullSkip: "ann.score=5(delivered)", domain.NullUnset: "ann.score=5(delivered) ann.score=null", domain.NullEmpty: `ann.score=5(delivered) ann.score=""`,
	} {
		r := sending(t, domain.SendAttribute, asking, func(r *domain.Rules) { r.Defaults.OnNull = policy })
		r.events(update("ann", 1, "Marketing"), trait("ann", "score", 1, "score", "5"))
		r.deliver()
		r.event(update("ann", 2))
		r.wantTold(want)
		r.wantWithheld("score", 1)
		r.deliver()
		before := len(r.changes())
		r.event(update("ann", 3, "Marketing"))
		if again := r.changes()[before:]; policy != domain.NullSkip && (len(again) != 1 || string(again[0].Value) != "5") || policy == domain.NullSkip && len(again) != 0 {
			t.Errorf("%s: given again it sends %s", policy, r.told())
		}
		r.wantWithheld("score", 0)
	}
}

func TestValuesThatDoNotCollapseAreTakenBackInOrder(t *testing.T) {
	r := sending(t, domain.SendAttribute, asking, func(r *domain.Rules) { r.Defaults.Collapse = false })
	r.events(enter("ann", "vip", 1, yes), exit("ann", "vip", 2), enter("ann", "vip", 3))
	f := r.take() // the first one
	r.event(update("ann", 4))
	r.wantTold("ann.vip=true ann.vip=false ann.vip=true(withheld)")
	r.settle(f, domain.Delivered)
	r.deliver()
	r.events(exit("ann", "vip", 5), enter("ann", "vip", 6))
	r.wantTold("ann.vip=true(delivered) ann.vip=false(delivered) ann.vip=true(withheld) ann.vip=false(cancelled) ann.vip=true(withheld)")
}

func TestAForgottenUserHasNoConsent(t *testing.T) {
	r := sending(t, domain.SendAttribute, asking)
	r.events(update("ann", 1, "Marketing"), enter("ann", "vip", 2, no), update("bob", 1, "Marketing"))
	r.wantWithheld("vip", 1)
	r.Do(func(tx *state.Tx) { Forget(tx, tx.User("ann"), at(3)) })
	r.wantWithheld("vip", 0)
	if keys := r.Keys(state.BucketRows); len(keys) != 1 {
		t.Errorf("%d rows are left, want that of bob", len(keys))
	}
	if got := r.events(update("ann", 2, "Marketing"), update("ann", 40, "Marketing")); got != "ignored transition" {
		t.Errorf("statements of before and after come to %s", got)
	}
}

func TestAnAdoptedAudienceKeepsWhatIsWithheld(t *testing.T) {
	r := sending(t, domain.SendAttribute, asking)
	again := in("spa_1", "aud_new")
	r.events(enter("ann", "vip", 1, yes), enter("bob", "vip", 1, no))
	r.deliver()
	r.events(enter("ann", "vip", 5, again), enter("bob", "vip", 5, again))
	into, from := r.adopt("ann bob")
	if into.Withheld != 1 || from[0].Withheld != 0 {
		t.Errorf("%d are withheld, %d of the former one", into.Withheld, from[0].Withheld)
	}
	if f := r.take(); f != nil {
		t.Errorf("%+v leaves", f)
	}
}

// TestAWithdrawalIsToldOnceOfAnAdoptedAudience: MoEngage has one attribute of the two.
func TestAWithdrawalIsToldOnceOfAnAdoptedAudience(t *testing.T) {
	r := sending(t, domain.SendAttribute, asking)
	again := in("spa_1", "aud_new")
	r.events(enter("ann", "vip", 1, yes), enter("ann", "vip", 5, again))
	r.deliver()
	r.adopt("ann")
	r.event(update("ann", 9))
	if n := strings.Count(r.told(), "=false"); n != 1 {
		t.Errorf("told %d times: %s", n, r.told())
	}
}

// TestAForwardedTraitNeedsTheConsentOfItsComputation as well.
func TestAForwardedTraitNeedsTheConsentOfItsComputation(t *testing.T) {
	r := sending(t, domain.SendAttribute, asking, func(r *domain.Rules) { r.Defaults.ForwardTraits = []string{"city"} })
	withCity := statetest.WithTraits("vip", "true", "city", `"Rome"`)
	r.events(enter("ann", "vip", 1, withCity), update("ann", 2, "Marketing"))
	r.wantTold(`ann.vip=true(withheld) ann.city="Rome"(withheld) ann.vip=true ann.city="Rome"`)
}

// TestAWithdrawalOfAUserInVeryManyAudiencesStopsWhereItsRecordHasNoIDsLeft: an id is never used twice. The log says what
// to do about the rest.
func TestAWithdrawalOfAUserInVeryManyAudiencesStopsWhereItsRecordHasNoIDsLeft(t *testing.T) {
	const audiences, slots = 12, 8
	was := outbox.MaxSlots
	t.Cleanup(func() { outbox.MaxSlots = was })
	r := sending(t, domain.SendAttribute, asking)
	for i := range audiences {
		r.event(enter("ann", fmt.Sprint("a", i), 1, yes))
	}
	r.deliver()
	before := len(r.changes())
	outbox.MaxSlots = slots
	r.event(update("ann", 2))
	if n := len(r.changes()) - before; n == 0 || n > slots || !strings.Contains(r.Logged(), "reconcile those that ask for consent") {
		t.Errorf("%d changes, logged %q", n, r.Logged())
	}
	r.Balance()
}

// TestAReturnIsSentAfterAWithdrawalThatFollowedAHeldExit: the exit that the guard held is cancelled, and the removal that
// is in flight beside it is not.
func TestAReturnIsSentAfterAWithdrawalThatFollowedAHeldExit(t *testing.T) {
	r := sending(t, domain.SendAttribute, asking, func(r *domain.Rules) {
		r.Defaults.Collapse = false
		r.Guard = domain.Guard{Share: 0.1, Count: 1, Window: time.Hour}
	})
	r.event(enter("ann", "vip", 1, yes))
	r.deliver()
	r.events(exit("ann", "vip", 2), update("ann", 3))
	f := r.take()
	r.events(update("ann", 4, "Marketing"), enter("ann", "vip", 5))
	r.settle(f, domain.Delivered)
	r.wantTold("ann.vip=true(delivered) ann.vip=false(cancelled) ann.vip=false(delivered) ann.vip=true")
}

// TestAnEventBeforeTheComparisonMakesNoDifference: a configuration that asks for less sends what was withheld first, whichever of the two
// comes to the user first.
func TestAnEventBeforeTheComparisonMakesNoDifference(t *testing.T) {
	for name, e := range map[string]*domain.Event{
		"an exit": exit("ann", "vip", 2), "a repeat": enter("ann", "vip", 2), "a value": trait("ann", "score", 2, "score", "6"), "the value again": trait("ann", "score", 2, "score", "5"),
	} {
		var told [2]string
		for i := range told {
			r := sending(t, domain.SendBoth|domain.SendList, asking)
			r.events(enter("ann", "vip", 1), trait("ann", "score", 1, "score", "5"))
			none := statetest.Rules(domain.SendBoth | domain.SendList)
			r.record(record.Record{Rules: &none}, nil)
			if i == 0 {
				r.compareAll()
			}
			r.event(e)
			r.compareAll()
			words := strings.Fields(r.told())
			slices.Sort(words)
			told[i] = strings.Join(words, " ")
			r.wantWithheld("score", 0)
			r.Balance()
		}
		if told[0] != told[1] {
			t.Errorf("%s behind the comparison:\n\t%s\nbefore it:\n\t%s", name, told[0], told[1])
		}
	}
}
