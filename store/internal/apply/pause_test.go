package apply

import (
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// pausing has the computation of a key paused.
func pausing(key string) func(*domain.Rules) {
	return func(r *domain.Rules) { r.Paused = []domain.Pause{{Computation: key, Why: "freeze"}} }
}

func resumed(r *domain.Rules) { r.Paused = nil }

// wantPaused compares the counters of what a pause holds.
func (r *room) wantPaused(key string, want uint64) {
	r.Helper()
	if f := r.field(key); f.Paused != want || f.Held != want {
		r.Errorf("%s holds %d, %d of them for the pause; want %d", key, f.Held, f.Paused, want)
	}
}

func TestAPauseHoldsToldAndUntoldUsersAndNoOtherComputation(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.event(enter("ann", "vip", 1))
	r.deliver()
	r.reach(pausing("vip"))
	r.events(exit("ann", "vip", 2), enter("bob", "vip", 2), enter("bob", "big", 2))
	r.deliver()
	r.wantTold("ann.vip=true(delivered) ann!Audience Entered(delivered) ann.vip=false(held) ann!Audience Exited(held) bob.vip=true(held) bob!Audience Entered(held) bob.big=true(delivered) bob!Audience Entered(delivered)")
	r.wantPaused("vip", 4)
	r.wantPaused("big", 0)
	r.wantCounts("vip", 1, 2, 1)
	r.reach(resumed)
	r.deliver()
	r.wantTold("ann.vip=true(delivered) ann!Audience Entered(delivered) ann.vip=false(delivered) ann!Audience Exited(delivered) bob.vip=true(delivered) bob!Audience Entered(delivered) bob.big=true(delivered) bob!Audience Entered(delivered)")
	r.wantPaused("vip", 0)
	r.Balance()
}

func TestAPauseCostsTheNetDifferenceAndKeepsEveryEvent(t *testing.T) {
	for name, collapse := range map[string]bool{"collapse": true, "no collapse": false} {
		t.Run(name, func(t *testing.T) {
			r := sending(t, domain.SendBoth|domain.SendList, func(r *domain.Rules) { r.Defaults.Collapse = collapse })
			r.event(enter("ann", "vip", 1))
			r.deliver()
			r.reach(pausing("vip"))
			before := len(r.ids(domain.StateDelivered))
			r.events(exit("ann", "vip", 2), enter("ann", "vip", 3))
			r.wantPaused("vip", 2)
			r.reach(resumed)
			r.deliver()
			if n := len(r.ids(domain.StateDelivered)) - before; n != 2 {
				t.Errorf("an exit and a return cost %d requests beside their events: %s", n-2, r.told())
			}
			if open := append(r.ids(domain.StateHeld), r.ids(domain.StatePending)...); len(open) != 0 {
				t.Errorf("left over: %s", r.told())
			}
			r.Balance()
		})
	}
}

func TestOfATraitAPauseKeepsTheNewestValue(t *testing.T) {
	r := sending(t, domain.SendAttribute)
	r.event(trait("ann", "ltv", 1, "ltv", "1", "orders", "1"))
	r.deliver()
	r.reach(pausing("ltv"))
	r.events(trait("ann", "ltv", 2, "ltv", "2", "orders", "2"), trait("ann", "ltv", 3, "ltv", "3", "orders", "1"))
	r.reach(resumed)
	r.deliver()
	r.wantTold("ann.ltv=1(delivered) ann.orders=1(delivered) ann.ltv=2(superseded) ann.orders=2(superseded) ann.ltv=3(delivered) ann.orders=1(cancelled)")
}

// TestAPauseLetsARequestUnderWayEnd: but however it ends, nothing of it leaves again before the pause is over.
func TestAPauseLetsARequestUnderWayEnd(t *testing.T) {
	for name, verdict := range map[string]domain.Verdict{"delivered": domain.Delivered, "refused": domain.Refused, "uncertain": domain.Uncertain, "parked": domain.Parked} {
		for how, collapse := range map[string]bool{"collapse": true, "no collapse": false} {
			t.Run(name+" "+how, func(t *testing.T) {
				r := sending(t, domain.SendBoth, func(r *domain.Rules) { r.Defaults.Collapse = collapse })
				r.event(enter("ann", "vip", 1))
				f := r.take()
				r.reach(pausing("vip"))
				r.events(exit("ann", "vip", 2), enter("ann", "vip", 3), exit("ann", "vip", 4))
				r.settle(f, verdict)
				if again := r.take(); again != nil {
					t.Errorf("leased during the pause: %+v", again)
				}
				r.action(record.Action{Verb: record.ActionRetry, IDs: r.ids(domain.StateParked)})
				if again := r.take(); again != nil {
					t.Errorf("a retried change is leased during the pause: %+v", again)
				}
				r.reach(resumed)
				r.deliver()
				r.wantPaused("vip", 0)
				if open := append(r.ids(domain.StateHeld), r.ids(domain.StatePending)...); len(open) != 0 {
					t.Errorf("left over: %s", r.told())
				}
				r.Balance()
			})
		}
	}
}

func TestAMissedPauseIsMadeUpForAtTheLeaseAndAtTheEvent(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.events(enter("ann", "vip", 1), enter("bob", "vip", 1))
	rules := r.State.Rules
	pausing("vip")(&rules)
	r.record(record.Record{Rules: &rules}, nil) // nobody is compared yet
	r.event(exit("ann", "vip", 2))
	r.wantTold("ann.vip=true(superseded) ann!Audience Entered(held) bob.vip=true bob!Audience Entered ann.vip=false(cancelled) ann!Audience Exited(held)")
	if f := r.take(); f != nil {
		t.Errorf("leased: %+v", f)
	}
	r.wantPaused("vip", 4)
}

// TestARolloutHoldsOnWhenAPauseEnds: and what it holds collapses then, its events too.
func TestARolloutHoldsOnWhenAPauseEnds(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.reach(pausing("vip"))
	r.events(enter("ida", "vip", 1), exit("ida", "vip", 2), enter("ida", "vip", 3), enter("ann", "vip", 3))
	r.wantPaused("vip", 6)
	r.reach(rolled(few, 0), resumed)
	r.wantHeld("vip", 2)
	r.deliver()
	r.wantTold("ida.vip=true(superseded) ida!Audience Entered(cancelled) ida.vip=false(cancelled) ida!Audience Exited(cancelled) ida.vip=true(held) ida!Audience Entered(held) ann.vip=true(delivered) ann!Audience Entered(delivered)")

	r.reach(pausing("vip"))
	r.reach(rolled(1, 0)) // the share grows during the pause
	r.wantPaused("vip", 2)
	r.reach(resumed)
	r.deliver()
	r.wantPaused("vip", 0)
	r.Balance()
}

func TestTheHoldoutIsTakenBackWhenThePauseEnds(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.event(enter("dan", "vip", 1))
	r.deliver()
	r.reach(pausing("vip"), rolled(1, 0.15))
	r.wantTold("dan.vip=true(delivered) dan!Audience Entered(delivered) dan.vip=false(held)")
	r.reach(resumed)
	r.deliver()
	if told := r.ids(domain.StateDelivered); len(told) != 3 {
		t.Errorf("the control group is in the audience at MoEngage: %s", r.told())
	}
	r.Balance()
}

func TestTheGuardHoldsWhatLeftDuringAPause(t *testing.T) {
	r := sending(t, domain.SendBoth, guarded)
	for _, user := range []string{"ann", "bob", "ida", "hal"} {
		r.event(enter(user, "vip", 1))
	}
	r.deliver()
	r.reach(pausing("vip"))
	r.events(exit("ida", "vip", 2), exit("hal", "vip", 2), exit("ann", "vip", 2), enter("ann", "vip", 3))
	if r.field("vip").Exits.Tripped.IsZero() {
		t.Fatal("the guard did not count the exits of a paused audience")
	}
	r.reach(resumed)
	if f := r.field("vip"); f.Paused != 0 || f.Held != 4 {
		t.Errorf("%d are held, %d of them by the pause: %s", f.Held, f.Paused, r.told())
	}
	r.deliver()
	for _, ch := range r.changes() {
		if ch.User == "ann" && ch.Kind == domain.KindEvent && ch.State != domain.StateDelivered {
			t.Errorf("an exit that a return followed: %s", r.told())
		}
	}
	r.Balance()
}

func TestADiscardEndsWhatAPauseHolds(t *testing.T) {
	r := sending(t, domain.SendBoth|domain.SendCohort, guarded)
	for _, user := range []string{"ann", "bob", "ida", "hal"} {
		r.event(enter(user, "vip", 1))
	}
	r.deliver()
	r.reach(pausing("vip"))
	r.events(exit("ida", "vip", 2), exit("hal", "vip", 2), exit("ann", "vip", 2))
	r.order(record.Order{Verb: record.OrderDiscard}, "vip")
	r.order(record.Order{Verb: record.OrderDiscard, Targets: words("ann ida hal")}, "vip")
	r.order(record.Order{Verb: record.OrderDiscarded}, "vip")
	r.wantPaused("vip", 0)
	r.reach(resumed)
	if f := r.take(); f != nil {
		t.Errorf("an exit that was discarded leaves: %s", r.told())
	}
	r.wantCounts("vip", 4, 4, 0)
	r.Balance()
}

func TestOrdersRespectAPause(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.event(enter("ann", "vip", 1))
	r.deliver()
	r.reach(pausing("vip"))
	both := []record.JobTarget{{User: "ann", In: true}, {User: "ida", In: true}}
	r.order(record.Order{Verb: record.OrderImport, Targets: both, Events: true}, "vip")
	r.order(record.Order{Verb: record.OrderReconcile, Targets: both}, "vip")
	r.wantTold("ann.vip=true(delivered) ann!Audience Entered(delivered) ida.vip=true(held) ida!Audience Entered(held) ann.vip=true(held)")
	r.action(record.Action{Verb: record.ActionDrop, IDs: r.ids(domain.StateHeld)})
	r.wantPaused("vip", 0)
	r.order(record.Order{Verb: record.OrderClose, Targets: []record.JobTarget{{User: "ann"}, {User: "ida"}}}, "vip")
	r.wantPaused("vip", 1)
	r.reach(resumed)
	r.deliver()
	if f := r.take(); f != nil {
		t.Errorf("left over: %s", r.told())
	}
	r.Balance()
}

func TestAPauseOfAKeyOutlastsAnAdoption(t *testing.T) {
	r := sending(t, domain.SendAttribute)
	r.events(enter("ann", "vip", 1), enter("ann", "vip", 2, in("spa_1", "aud_new")), enter("ida", "vip", 2, in("spa_1", "aud_new")))
	r.reach(pausing("vip"))
	into, from, err := Adoption(r.State.Registry, "vip", "aud_new")
	r.Must(err)
	r.order(record.Order{Verb: record.OrderAdopt, Field: into.Number, Other: from[0].Number}, "")
	r.order(record.Order{Verb: record.OrderAdopt, Field: into.Number, Other: from[0].Number, Targets: []record.JobTarget{{User: "ida", In: true}, {User: "ann", In: true}}}, "")
	if f := r.take(); f != nil {
		t.Errorf("an adopted audience is not paused: %s", r.told())
	}
	r.reach(resumed)
	r.deliver()
	r.wantPaused("vip", 0)
	r.Balance()
}

func TestAForwardedTraitIsPausedWithItsComputation(t *testing.T) {
	r := sending(t, domain.SendAttribute, func(r *domain.Rules) { r.Defaults.ForwardTraits = []string{"plan"} })
	r.reach(pausing("vip"))
	r.event(enter("ida", "vip", 1, statetest.WithTraits("plan", `"gold"`)))
	r.wantTold(`ida.vip=true(held) ida.plan="gold"(held)`)
	r.reach(resumed)
	r.wantTold(`ida.vip=true ida.plan="gold"`)
}

func TestAForgottenUserLeavesNothingPaused(t *testing.T) {
	r := sending(t, domain.SendBoth|domain.SendCohort)
	r.event(enter("ida", "vip", 1))
	r.deliver()
	r.reach(pausing("vip"))
	r.event(exit("ida", "vip", 2))
	r.Do(func(tx *state.Tx) { Forget(tx, tx.User("ida"), receipt) })
	r.wantPaused("vip", 0)
	if keys := r.Keys(state.BucketHeld); len(keys) != 0 {
		t.Errorf("%d held changes of nobody", len(keys))
	}
	r.Balance()
}

func TestAWithdrawnConsentIsToldWhenThePauseEnds(t *testing.T) {
	r := sending(t, domain.SendBoth, func(r *domain.Rules) { r.Defaults.Consent = []string{"Marketing"} })
	r.event(enter("ann", "vip", 1, stating("Marketing")))
	r.deliver()
	r.reach(pausing("vip"))
	r.event(enter("ann", "vip", 2, stating()))
	if f := r.take(); f != nil {
		t.Errorf("leased during the pause: %+v", f)
	}
	r.wantPaused("vip", 1)
	r.reach(resumed)
	r.deliver()
	r.wantPaused("vip", 0)
	if e := r.told(); e == "" {
		t.Error("nothing is told")
	}
	r.Balance()
}
