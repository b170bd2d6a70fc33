package store

import (
	"fmt"
	"testing"
	"time"

	"personasync/store/domain"
)

// TestARetriedAttributeDoesNotOverwriteANewerOne where attributes do not collapse: what was parked says what was true
// then, and MoEngage keeps what comes last.
func TestARetriedAttributeDoesNotOverwriteANewerOne(t *testing.T) {
	costly(t, manyStores)
	for _, send := range []domain.SendMethods{domain.SendAttribute, domain.SendBoth, domain.SendAsReceived} {
		for _, turned := range []string{"off", "off later", "on later"} {
			for _, underWay := range []bool{false, true} {
				t.Run(fmt.Sprint(send, " ", turned, " ", underWay), func(t *testing.T) {
					rulesOf := func(collapse bool) domain.Rules {
						r := rules(send)
						r.Defaults.Collapse = collapse
						return r
					}
					b, them := open(t, rulesOf(turned == "off later")), newMoengage()
					b.receive(event("ann", "vip", true, 1))
					b.tell(them)
					b.receive(event("ann", "vip", false, 2))
					b.settle(b.take(), domain.Parked)
					must(t, b.SetRules(t.Context(), rulesOf(turned == "on later")))
					b.receive(event("ann", "vip", true, 3), event("ann", "vip", false, 4))
					b.tell(them)
					b.receive(event("ann", "vip", true, 5))
					if f := b.take(); underWay {
						b.retriesParked()
						for _, d := range f.Users {
							them.take(d)
						}
						b.settle(f, domain.Delivered)
					} else {
						b.settle(f, domain.Delivered)
						for _, d := range f.Users {
							them.take(d)
						}
						b.retriesParked()
					}
					b.tell(them)
					if got := them.attributes["ann.vip"]; got != "true" {
						t.Errorf("MoEngage holds %q of a member", got)
					}
					if c := b.balance(); c.Changes.Pending+c.Changes.Parked > 0 {
						t.Errorf("%+v", c.Changes)
					}
					recount(t, b)
				})
			}
		}
	}
}

// TestAReleasedExitFollowsTheEnterThatIsStillQueued where attributes do not collapse: MoEngage knew of no membership
// when the exit was released, so it was taken for needless, and the enter left all the same.
func TestAReleasedExitFollowsTheEnterThatIsStillQueued(t *testing.T) {
	costly(t, manyStores)
	for _, send := range []domain.SendMethods{domain.SendAttribute, domain.SendBoth, domain.SendAsReceived} {
		r := watched(send)
		r.Defaults.Collapse = false
		b := peopled(t, r, 6)
		them := newMoengage()
		b.receive(leaves(0, 70), leaves(1, 71), leaves(2, 72), leaves(3, 73))
		b.swept()
		b.receive(enters(9, 74), leaves(9, 75))
		b.decide(false)
		b.tell(them)
		if got := them.attributes["user9.vip"]; got == "true" {
			t.Errorf("send %d: MoEngage holds %q of somebody who left", send, got)
		}
		b.balance()
		recount(t, b)
	}
}

// TestABaselineIsNotUndoneByWhatIsStillQueued where attributes do not collapse: pending changes were true before the list.
func TestABaselineIsNotUndoneByWhatIsStillQueued(t *testing.T) {
	r := rules(domain.SendAttribute)
	r.Defaults.Collapse = false
	b, them := open(t, r), newMoengage()
	b.receive(event("ann", "vip", true, 1))
	b.tell(them)
	b.receive(event("ann", "vip", false, 2))
	b.imports(Import{Key: "vip", AsOf: minute(3), Users: users("ann"), Baseline: true})
	b.wantMembers("vip", "ann")
	b.tell(them)
	if got := them.attributes["ann.vip"]; got != "true" {
		t.Errorf("MoEngage holds %q of a member", got)
	}
	b.balance()
	recount(t, b)
}

// TestACohortThatTookAStrangerIsToldOfTheExit: what it was told counted as nothing, because MoEngage may not have
// known the user; and it may have.
func TestACohortThatTookAStrangerIsToldOfTheExit(t *testing.T) {
	b, them := open(t, rules(domain.SendAttribute|domain.SendCohort)), newMoengage()
	b.receive(event("ann", "vip", true, 1))
	b.settle(b.take(), domain.Parked)
	f := b.takeCohort(3 * time.Hour)
	b.retriesParked()
	for _, d := range f.Users {
		them.take(d)
	}
	b.settle(f, domain.Delivered)
	b.settle(b.take(), domain.Parked)
	f = b.takeCohort(5 * time.Hour)
	b.settle(f, domain.Parked)
	b.receive(event("ann", "vip", false, 2))
	b.tell(them)
	if got := them.cohorts["ann.vip"]; got != "false" {
		t.Errorf("the cohort holds %q of somebody who left", got)
	}
	recount(t, b)
}

// TestAValueDoesNotOvertakeOneThatWaitsForAnotherSchedule where attributes do not collapse: MoEngage keeps what comes
// last, and that was the value of before the schedule was changed.
func TestAValueDoesNotOvertakeOneThatWaitsForAnotherSchedule(t *testing.T) {
	for _, collapsed := range []bool{false, true} {
		r := rules(domain.SendBoth)
		r.Defaults.Collapse = collapsed
		b, them := open(t, r), newMoengage()
		b.receive(event("ann", "vip", true, 1))
		p := policy(domain.SendBoth)
		p.Job, p.Collapse = "computation:vip", false
		r.Sections = []domain.Section{{Key: "vip", Policy: p}}
		must(t, b.SetRules(t.Context(), r))
		b.receive(event("ann", "vip", false, 2))
		o := everything(noon.Add(time.Hour))
		o.Due = func(job string) time.Time {
			if job == "" {
				return time.Time{} // it is nightly
			}
			return o.Now
		}
		b.leave(o, them)
		b.tell(them)
		if got := them.attributes["ann.vip"]; got != "false" {
			t.Errorf("collapsed before: %v: MoEngage holds %q of a user who left", collapsed, got)
		}
		recount(t, b)
	}
}

// TestAValueDoesNotOvertakeOneThatCameUnderAClockAhead of the present one by seconds: the older value was not due yet.
func TestAValueDoesNotOvertakeOneThatCameUnderAClockAhead(t *testing.T) {
	r := rules(domain.SendAttribute)
	r.Defaults.Collapse = false
	b, them := open(t, r), newMoengage()
	ahead := time.Now()
	b.imports(Import{Key: "vip", AsOf: ahead.Add(-time.Hour), Users: users("ann"), Create: true})
	b.receive(event("ann", "vip", false, 0, func(e *domain.Event) { e.Time, e.Received = ahead.Add(-time.Minute), ahead.Add(-20*time.Second) }))
	b.leave(everything(ahead.Add(-10*time.Second)), them)
	b.tell(them)
	if got := them.attributes["ann.vip"]; got != "false" {
		t.Errorf("MoEngage holds %q of a user who left", got)
	}
	recount(t, b)
}
