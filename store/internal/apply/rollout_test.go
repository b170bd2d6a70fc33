package apply

import (
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// In the audience vip, ann and bob are below 0.01, ida is at 0.07, hal at 0.35, and dan and eve are above 0.85.
const few = 0.05

// rolled has a computation told to a share, and to none of a holdout.
func rolled(share, holdout float64) func(*domain.Rules) {
	return func(r *domain.Rules) { r.Defaults.Rollout = &domain.Rollout{Share: share, Holdout: holdout} }
}

// reach changes the share, and compares every user with it, as the store does after a change of the rules.
func (r *room) reach(options ...func(*domain.Rules)) {
	r.Helper()
	rules := r.State.Rules
	for _, o := range options {
		o(&rules)
	}
	r.record(record.Record{Rules: &rules}, nil)
	for under := true; under; {
		r.order(record.Order{Verb: record.OrderCompare, Received: receipt.Add(30 * time.Minute)}, "")
		r.Read(func(tx *state.Tx) { _, under = state.ReadComparing(tx.Bucket(state.BucketMeta).Get(state.MetaConsent)) })
	}
}

// wantHeld compares the counters of what the rollout holds.
func (r *room) wantHeld(key string, want uint64) {
	r.Helper()
	if f := r.field(key); f.Rollout != want || f.Held != want {
		r.Errorf("%s holds %d, %d of them for the rollout; want %d", key, f.Held, f.Rollout, want)
	}
}

func TestTheShareIsToldAndTheOthersAreHeld(t *testing.T) {
	r := sending(t, domain.SendBoth, rolled(few, 0))
	r.events(enter("ann", "vip", 1), enter("ida", "vip", 1), enter("hal", "vip", 1))
	r.deliver()
	r.wantTold("ann.vip=true(delivered) ann!Audience Entered(delivered) ida.vip=true(held) ida!Audience Entered(held) hal.vip=true(held) hal!Audience Entered(held)")
	r.wantHeld("vip", 4)
	r.wantCounts("vip", 3, 3, 0)

	r.reach(rolled(0.1, 0))
	r.wantTold("ann.vip=true(delivered) ann!Audience Entered(delivered) ida.vip=true ida!Audience Entered hal.vip=true(held) hal!Audience Entered(held)")
	for _, ch := range r.changes() {
		if ch.User == "ida" && (!state.IsBulk(ch.Lane) || !ch.Received.Equal(receipt.Add(30*time.Minute)) || ch.Reason != "" || !ch.EventTime.Equal(noon.Add(time.Minute))) {
			t.Errorf("a change that the share reached is %+v", ch)
		}
	}
	r.reach(func(r *domain.Rules) { r.Defaults.Rollout = nil })
	r.deliver()
	r.wantTold("ann.vip=true(delivered) ann!Audience Entered(delivered) ida.vip=true(delivered) ida!Audience Entered(delivered) hal.vip=true(delivered) hal!Audience Entered(delivered)")
	r.wantHeld("vip", 0)
}

func TestWhatIsHeldCollapses(t *testing.T) {
	for name, collapse := range map[string]bool{"collapse": true, "no collapse": false} {
		t.Run(name, func(t *testing.T) {
			r := sending(t, domain.SendBoth, rolled(few, 0), func(r *domain.Rules) { r.Defaults.Collapse = collapse })
			r.events(enter("ida", "vip", 1), exit("ida", "vip", 2))
			r.wantTold("ida.vip=true(superseded) ida!Audience Entered(cancelled) ida.vip=false(cancelled) ida!Audience Exited(cancelled)")
			r.wantHeld("vip", 0)
			r.events(enter("ida", "vip", 3), exit("ida", "vip", 4), enter("ida", "vip", 5))
			r.wantHeld("vip", 2)
			r.reach(rolled(1, 0))
			if told := r.ids(domain.StatePending); len(told) != 2 {
				t.Errorf("an enter is told by %d changes: %s", len(told), r.told())
			}
			r.Balance()
		})
	}
}

func TestOfATraitTheNewestValueIsHeld(t *testing.T) {
	r := sending(t, domain.SendBoth, rolled(few, 0), func(r *domain.Rules) { r.Defaults.OnNull = domain.NullUnset })
	r.events(trait("ida", "vip", 1, "vip", "1"), trait("ida", "vip", 2, "vip", "2"), trait("ida", "vip", 3, "vip", "3"))
	r.wantTold("ida.vip=1(superseded) ida!Trait Computed(superseded) ida.vip=2(superseded) ida!Trait Computed(superseded) ida.vip=3(held) ida!Trait Computed(held)")
	r.reach(rolled(1, 0))
	r.wantTold("ida.vip=1(superseded) ida!Trait Computed(superseded) ida.vip=2(superseded) ida!Trait Computed(superseded) ida.vip=3 ida!Trait Computed")
}

func TestAUserWhoWasToldGoesOnBeingTold(t *testing.T) {
	r := sending(t, domain.SendBoth|domain.SendList, rolled(0.1, 0))
	r.event(enter("ida", "vip", 1))
	r.deliver()
	r.reach(rolled(few, 0))
	r.event(exit("ida", "vip", 2))
	r.deliver()
	if open := append(r.ids(domain.StateHeld), r.ids(domain.StatePending)...); len(open) != 0 {
		t.Errorf("the exit of a told user is held: %s", r.told())
	}
	r.event(enter("hal", "vip", 2))
	if held := r.ids(domain.StateHeld); len(held) != 3 {
		t.Errorf("a user whom nobody was told of: %s", r.told())
	}
}

func TestASmallerShareHoldsWhatHasNotLeft(t *testing.T) {
	for name, collapse := range map[string]bool{"collapse": true, "no collapse": false} {
		t.Run(name, func(t *testing.T) {
			r := sending(t, domain.SendBoth, func(r *domain.Rules) { r.Defaults.Collapse = collapse })
			r.events(enter("ida", "vip", 1), enter("ann", "vip", 1), exit("ida", "vip", 2), enter("ida", "vip", 3))
			r.reach(rolled(few, 0))
			r.wantHeld("vip", 2)
			r.deliver()
			for _, ch := range r.changes() {
				if ch.User == "ida" && ch.State == domain.StateDelivered {
					t.Errorf("beyond the share, and told: %s", r.told())
				}
			}
			r.reach(rolled(1, 0))
			r.deliver()
			r.wantHeld("vip", 0)
			if n := len(r.ids(domain.StateDelivered)); n != 4 {
				t.Errorf("%d were delivered: %s", n, r.told())
			}
			r.Balance()
		})
	}
}

// TestAMissedComparisonIsMadeUpForAtTheLease: the walk has not come to the user yet, or a change was retried.
func TestAMissedComparisonIsMadeUpForAtTheLease(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.event(enter("ida", "vip", 1))
	rules := r.State.Rules
	rolled(few, 0)(&rules)
	r.record(record.Record{Rules: &rules}, nil)
	if f := r.take(); f != nil {
		t.Errorf("leased: %+v", f)
	}
	r.wantTold("ida.vip=true(held) ida!Audience Entered(held)")
}

func TestAParkedChangeBeyondTheShareIsHeldOnRetry(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.event(enter("ida", "vip", 1))
	r.park()
	r.reach(rolled(few, 0))
	r.action(record.Action{Verb: record.ActionRetry, IDs: r.ids(domain.StateParked)})
	r.deliver()
	r.wantTold("ida.vip=true(held) ida!Audience Entered(held)")
}

func TestAnEventLeavesBehindWhatTheShareHasReached(t *testing.T) {
	r := sending(t, domain.SendEvent, rolled(few, 0))
	r.event(enter("ida", "vip", 1))
	rules := r.State.Rules
	rolled(1, 0)(&rules)
	r.record(record.Record{Rules: &rules}, nil) // nobody is compared yet
	r.event(exit("ida", "vip", 2))
	r.deliver()
	r.wantTold("ida!Audience Entered(delivered) ida!Audience Exited(delivered)")
}

func TestAnOldEventIsNotSentWhenTheShareReachesIt(t *testing.T) {
	r := sending(t, domain.SendBoth, rolled(few, 0), func(r *domain.Rules) { r.Defaults.MaxEventAge = 90 * time.Minute })
	r.events(enter("ida", "vip", -35), enter("hal", "vip", 30))
	r.reach(rolled(1, 0)) // at 13:30
	r.wantTold("ida.vip=true ida!Audience Entered(cancelled) hal.vip=true hal!Audience Entered")
}

func TestTheHoldoutIsNeverTold(t *testing.T) {
	r := sending(t, domain.SendBoth|domain.SendCohort, rolled(few, 0.15))
	r.events(enter("dan", "vip", 1), enter("ida", "vip", 1))
	r.wantTold("dan@vip=true(withheld) dan.vip=true(withheld) dan!Audience Entered(withheld) ida@vip=true(held) ida.vip=true(held) ida!Audience Entered(held)")
	r.reach(rolled(1, 0.15))
	r.events(exit("dan", "vip", 2), enter("dan", "vip", 3))
	r.deliver()
	for _, ch := range r.changes() {
		if ch.User == "dan" && (ch.State != domain.StateWithheld && ch.State != domain.StateCancelled || ch.State == domain.StateWithheld && ch.Reason != domain.ReasonHoldout) {
			t.Errorf("of the holdout: %s %+v", r.told(), ch)
		}
	}
	if f := r.field("vip"); f.Withheld != 1 {
		t.Errorf("%d are withheld", f.Withheld)
	}
}

// TestAHoldoutTakesBackWhatWasTold: a control group that is in the audience at MoEngage is none.
func TestAHoldoutTakesBackWhatWasTold(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.events(enter("dan", "vip", 1), enter("ann", "vip", 1))
	r.deliver()
	r.reach(rolled(1, 0.15))
	r.wantTold("dan.vip=true(delivered) dan!Audience Entered(delivered) ann.vip=true(delivered) ann!Audience Entered(delivered) dan.vip=false")
	r.deliver()
	r.reach(rolled(1, 0))
	r.wantTold("dan.vip=true(delivered) dan!Audience Entered(delivered) ann.vip=true(delivered) ann!Audience Entered(delivered) dan.vip=false(delivered) dan.vip=true")
}

func TestWhatIsHeldOfTheHoldoutIsWithheld(t *testing.T) {
	r := sending(t, domain.SendBoth, rolled(few, 0))
	r.event(enter("dan", "vip", 1))
	r.reach(rolled(few, 0.15))
	r.wantTold("dan.vip=true(superseded) dan!Audience Entered(withheld) dan.vip=false(cancelled)")
	r.wantHeld("vip", 0)
}

func TestTheGuardCountsAndHoldsWhatTheShareReaches(t *testing.T) {
	r := sending(t, domain.SendBoth, guarded, rolled(few, 0), func(r *domain.Rules) { r.Defaults.UnknownExit = true })
	for _, user := range []string{"ann", "bob", "ida", "hal"} {
		r.event(enter(user, "vip", 1))
	}
	r.deliver()
	r.events(exit("ida", "vip", 2), exit("hal", "vip", 2), exit("ann", "vip", 2))
	if r.field("vip").Exits.Tripped.IsZero() {
		t.Fatal("the guard did not count the exits of users beyond the share")
	}
	r.reach(rolled(1, 0))
	for _, ch := range r.changes() {
		if ch.Transition == domain.TransitionExit && ch.State == domain.StatePending {
			t.Errorf("the guard lets an exit go that the share reached: %s", r.told())
		}
	}
	r.Balance()
}

func TestOrdersRespectTheShare(t *testing.T) {
	r := sending(t, domain.SendBoth, rolled(few, 0))
	r.event(enter("ann", "vip", 1))
	r.deliver()
	both := []record.JobTarget{{User: "ann", In: true}, {User: "ida", In: true}}
	r.order(record.Order{Verb: record.OrderImport, Targets: both, Events: true}, "vip")
	r.wantTold("ann.vip=true(delivered) ann!Audience Entered(delivered) ida.vip=true(held) ida!Audience Entered(held)")
	r.action(record.Action{Verb: record.ActionDrop, IDs: r.ids(domain.StateHeld)})
	r.order(record.Order{Verb: record.OrderReconcile, Targets: both}, "vip")
	r.wantTold("ann.vip=true(delivered) ann!Audience Entered(delivered) ida.vip=true(dropped) ida!Audience Entered(dropped) ann.vip=true ida.vip=true(held)")
	r.order(record.Order{Verb: record.OrderClose, Targets: []record.JobTarget{{User: "ann"}, {User: "ida"}}}, "vip")
	r.wantHeld("vip", 0)
	r.wantCounts("vip", 0, 2, 2)
	r.deliver()
	if told := r.told(); told != "ann.vip=true(delivered) ann!Audience Entered(delivered) ida.vip=true(dropped) ida!Audience Entered(dropped) ann.vip=true(superseded) ida.vip=true(superseded) ann.vip=false(delivered) ida.vip=false(cancelled)" {
		t.Errorf("after the close: %s", told)
	}
}

// TestAnAdoptedAudienceKeepsItsSample: the key is the same.
func TestAnAdoptedAudienceKeepsItsSample(t *testing.T) {
	r := sending(t, domain.SendAttribute, rolled(few, 0))
	r.events(enter("ida", "vip", 1), enter("ida", "vip", 2, in("spa_1", "aud_new")), enter("ann", "vip", 2, in("spa_1", "aud_new")))
	into, from, err := Adoption(r.State.Registry, "vip", "aud_new")
	r.Must(err)
	r.order(record.Order{Verb: record.OrderAdopt, Field: into.Number, Other: from[0].Number}, "")
	r.order(record.Order{Verb: record.OrderAdopt, Field: into.Number, Other: from[0].Number, Targets: []record.JobTarget{{User: "ida", In: true}, {User: "ann", In: true}}}, "")
	r.deliver()
	r.wantHeld("vip", 1)
	if told := r.ids(domain.StateDelivered); len(told) != 1 {
		t.Errorf("after the adoption: %s", r.told())
	}
}

// TestAForwardedTraitGoesWithItsComputation: it belongs to none, and no share holds it but that of the computation.
func TestAForwardedTraitGoesWithItsComputation(t *testing.T) {
	r := sending(t, domain.SendAttribute, func(r *domain.Rules) {
		r.Defaults.ForwardTraits = []string{"plan"}
		own := r.Defaults
		own.Rollout = &domain.Rollout{Share: few}
		r.Sections = []domain.Section{{ID: "aud_vip", Policy: own}}
	})
	r.event(enter("ida", "vip", 1, in("spa_1", "aud_vip"), statetest.WithTraits("plan", `"gold"`)))
	r.wantTold(`ida.vip=true(held) ida.plan="gold"(held)`)
	r.reach(func(r *domain.Rules) { r.Sections = nil })
	r.wantTold(`ida.vip=true ida.plan="gold"`)
}

// TestAForwardedTraitIsInNoHoldout: it is told like its computation, whatever the holdout of the others is, also behind a
// request that MoEngage refused, and when an operator sends it again.
func TestAForwardedTraitIsInNoHoldout(t *testing.T) {
	r := sending(t, domain.SendAttribute, rolled(1, 0.5), func(r *domain.Rules) {
		r.Defaults.ForwardTraits = []string{"plan"}
		own := r.Defaults
		own.Rollout = nil
		r.Sections = []domain.Section{{ID: "aud_vip", Policy: own}}
	})
	users := []string{"ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"}
	say := func(minute int, plan string) {
		for _, user := range users {
			r.event(enter(user, "vip", minute, in("spa_1", "aud_vip"), statetest.WithTraits("vip", "true", "plan", plan)))
		}
	}
	say(1, `"gold"`)
	f := r.take()
	say(2, `"silver"`)
	r.settle(f, domain.Parked)
	if n := strings.Count(r.told(), "(cancelled)"); n > 0 {
		t.Errorf("behind a refused request %d of %d are cancelled: %s", n, len(users), r.told())
	}
	r.park()
	r.action(record.Action{Verb: record.ActionRetry, IDs: r.ids(domain.StateParked)})
	r.deliver()
	if n := strings.Count(r.told(), `plan="silver"(delivered)`); n != len(users) {
		t.Errorf("%d of %d were told: %s", n, len(users), r.told())
	}
	r.Balance()
}

func TestAForgottenUserLeavesNothingHeld(t *testing.T) {
	r := sending(t, domain.SendBoth|domain.SendCohort, rolled(few, 0))
	r.event(enter("ida", "vip", 1))
	r.Do(func(tx *state.Tx) { Forget(tx, tx.User("ida"), receipt) })
	r.wantHeld("vip", 0)
	if keys := r.Keys(state.BucketHeld); len(keys) != 0 {
		t.Errorf("%d held changes of nobody", len(keys))
	}
	r.Balance()
}

func TestAListOfUsersIsKeptApartFromTheRules(t *testing.T) {
	r := sending(t, domain.SendAttribute)
	r.reach(func(r *domain.Rules) {
		r.Defaults.Rollout = &domain.Rollout{Share: 1, List: "pilot"}
		r.Lists = map[string]domain.UserList{"pilot": domain.NewUserList([]string{"ida"})}
	})
	r.Reopen()
	r.events(enter("ann", "vip", 1), enter("ida", "vip", 1))
	r.wantTold("ann.vip=true(held) ida.vip=true")
	r.reach(func(r *domain.Rules) {
		r.Lists = map[string]domain.UserList{"pilot": domain.NewUserList([]string{"ida", "ann"})}
	})
	r.wantTold("ann.vip=true ida.vip=true")
	r.reach(func(r *domain.Rules) { r.Defaults.Rollout, r.Lists = nil, nil })
	if keys := r.Keys(state.BucketLists); len(keys) != 0 {
		t.Errorf("the list is still kept: %q", keys)
	}
}

// TestNothingReleasedOvertakesWhatTheShareHasReached: the guard held the exit, the share the enter, and the walk of a
// larger share has not come to the user when an operator releases the exit.
func TestNothingReleasedOvertakesWhatTheShareHasReached(t *testing.T) {
	r := sending(t, domain.SendEvent, guarded)
	r.events(enter("ann", "vip", 1), enter("bob", "vip", 1), enter("cid", "vip", 1))
	r.deliver()
	r.event(enter("ida", "vip", 1))
	r.events(exit("bob", "vip", 2), exit("cid", "vip", 2), exit("ida", "vip", 2))
	r.reach(rolled(few, 0))
	var released []domain.ID
	for _, ch := range r.changes() {
		switch {
		case ch.User == "ida" && ch.Transition == domain.TransitionEnter && ch.Reason != domain.ReasonRollout:
			t.Fatalf("the share does not hold the enter: %s", r.told())
		case ch.State == domain.StateHeld && ch.Reason == "mass_exit":
			released = append(released, ch.ID)
		}
	}
	rules := r.State.Rules
	rolled(1, 0)(&rules)
	r.record(record.Record{Rules: &rules}, nil)
	r.order(record.Order{Verb: record.OrderRelease}, "vip")
	r.order(record.Order{Verb: record.OrderRelease, IDs: released}, "vip")
	var left []string
	for f := r.take(); f != nil; f = r.take() {
		for _, u := range f.Users {
			if u.User == "ida" {
				left = append(left, u.Event.Transition.String())
			}
		}
		r.settle(f, domain.Delivered)
	}
	if got := strings.Join(left, " "); got != "enter exit" {
		t.Errorf("of the user there leave: %s", got)
	}
	r.wantHeld("vip", 0)
	r.Balance()
}

// TestAReconcileLeavesBehindWhatTheShareHasReached, if the comparison has not come to the user yet.
func TestAReconcileLeavesBehindWhatTheShareHasReached(t *testing.T) {
	r := sending(t, domain.SendBoth, rolled(few, 0))
	r.event(enter("ida", "vip", 1))
	rules := r.State.Rules
	rolled(1, 0)(&rules)
	r.record(record.Record{Rules: &rules}, nil)
	r.order(record.Order{Verb: record.OrderReconcile, Targets: words("ida"), Events: true}, "vip")
	r.wantTold("ida.vip=true ida!Audience Entered ida!Audience Entered")
	r.wantHeld("vip", 0)
}
