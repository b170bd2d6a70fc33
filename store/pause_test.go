package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"personasync/store/domain"
)

// TestPausesOnAnyDayEndInTheTruth has an operator pause and resume computations on random days, with news, orders,
// requests under way, restarts, the guard and consent. No lease may have a change of a paused computation, and after
// everything was resumed MoEngage holds the truth and every event once.
func TestPausesOnAnyDayEndInTheTruth(t *testing.T) {
	costly(t, manySeeds)
	sends := []domain.SendMethods{domain.SendAttribute, domain.SendEvent, domain.SendBoth, domain.SendAsReceived, domain.SendCohort, domain.SendList, domain.SendBoth | domain.SendCohort | domain.SendList, domain.SendAsReceived | domain.SendCohort}
	everyDay(t, seeds(16, 5000), func(t *testing.T, seed int) *everyday {
		e := newEveryday(t, seed, sends)
		e.them.guarded = true // a pause lets events of other audiences of the user go first
		e.paused = map[string]bool{}
		e.orders = append(slices.Repeat([]orderKind{ordersPause}, 10), append(e.orders, ordersBaseline)...)
		if e.rnd.IntN(2) == 0 {
			e.consents = &consents{of: map[string]*agreement{}, tried: map[string]bool{}}
			e.orders = append(slices.Repeat([]orderKind{ordersStatement}, 4), append(e.orders, ordersAsk)...)
			for i := range 3 {
				e.ask(fmt.Sprint("aud", i))
			}
		}
		return e
	})
}

// pause pauses a computation, or resumes it. The users may be compared at once, or later.
func (e *everyday) pause(key string) {
	var err error
	if e.paused[key] {
		_, err = e.ResumeComputation(e.Context(), key)
	} else {
		_, err = e.PauseComputation(e.Context(), key, domain.Pause{Since: time.Now(), Why: "model"})
	}
	if errors.Is(err, domain.ErrNotFound) {
		return
	}
	must(e, err)
	e.paused[key] = !e.paused[key]
	must(e, e.Applied(e.Context()))
	if e.rnd.IntN(2) == 0 {
		_, err = e.CompareConsent(e.Context())
		must(e, err)
		e.comply()
	}
}

// resumes ends every pause.
func (e *everyday) resumes() {
	for key, paused := range e.paused {
		if paused {
			e.pause(key)
		}
	}
	_, err := e.CompareConsent(e.Context())
	must(e, err)
}

func TestPausesAreKeptAndEndByThemselves(t *testing.T) {
	r := rules(domain.SendAttribute)
	b := open(t, r)
	ctx := t.Context()
	if _, err := b.PauseComputation(ctx, "vip", domain.Pause{Why: "freeze"}); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("nobody has heard of it: %v", err)
	}
	b.receive(event("ann", "vip", true, 1), event("ann", "big", true, 1))
	now := time.Now()
	for _, p := range []domain.Pause{{Why: "first"}, {Why: "second", By: "otto", Until: now.Add(time.Hour)}} {
		if _, err := b.PauseComputation(ctx, "vip", p); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.PauseComputation(ctx, "big", domain.Pause{Why: "third"}); err != nil {
		t.Fatal(err)
	}
	wantPauses := func(want string) {
		t.Helper()
		must(t, b.Applied(ctx))
		list, err := b.Pauses()
		must(t, err)
		infos, err := b.Computations()
		must(t, err)
		var kept, in string
		for _, p := range list {
			kept += p.Name() + " " + p.Why + ","
		}
		for _, i := range infos {
			if i.Pause != nil {
				in += i.Key + " " + i.Pause.Why + ","
			}
		}
		if kept != want || in != want {
			t.Errorf("kept are %q, in force are %q; want %q", kept, in, want)
		}
	}
	wantPauses("big third,vip second,")
	must(t, b.SetRules(ctx, r)) // a reload
	wantPauses("big third,vip second,")
	b.reopen(r)
	wantPauses("big third,vip second,")
	b.rules.appended = nil // as if the process had ended before the rules were recorded
	if _, err := b.PauseComputation(ctx, "big", domain.Pause{Why: "fourth"}); err != nil {
		t.Fatal(err)
	}
	must(t, b.SetRules(ctx, r))
	wantPauses("big fourth,vip second,")
	if over, err := b.EndPauses(ctx, now.Add(time.Hour-1)); err != nil || over != nil {
		t.Errorf("ended too early: %+v, %v", over, err)
	}
	if over, err := b.EndPauses(ctx, now.Add(time.Hour)); err != nil || len(over) != 1 || over[0].By != "otto" {
		t.Errorf("ended: %+v, %v", over, err)
	}
	wantPauses("big fourth,")
	if was, err := b.ResumeComputation(ctx, "vip"); err != nil || was != nil {
		t.Errorf("not paused: %+v, %v", was, err)
	}
	if was, err := b.ResumeComputation(ctx, "big"); err != nil || was == nil || was.Why != "fourth" {
		t.Errorf("resumed: %+v, %v", was, err)
	}
	wantPauses("")
	if _, err := b.CompareConsent(ctx); err != nil {
		t.Fatal(err)
	}
	recount(t, b)
}

// TestAPauseByIDHoldsOneOfSeveralUntilTheyAreOne names a computation whose key another one has, too.
func TestAPauseByIDHoldsOneOfSeveralUntilTheyAreOne(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	ctx := t.Context()
	of := func(e *domain.Event, id string) *domain.Event { e.ComputationID, e.Space = id, "spa_1"; return e }
	b.receive(of(event("ann", "vip", true, 1), "aud_1"), of(event("ann", "vip", true, 2), "aud_2"))
	if _, err := b.PauseComputation(ctx, "vip", domain.Pause{Why: "freeze"}); !errors.As(err, new(*AmbiguousError)) {
		t.Fatalf("a key of two: %v", err)
	}
	p, err := b.PauseComputation(ctx, "aud_2", domain.Pause{Why: "freeze"})
	if err != nil || p.Computation != "vip" || p.ID != "aud_2" {
		t.Fatalf("paused %+v, %v", p, err)
	}
	paused := func() (ids []string) {
		must(t, b.Applied(ctx))
		infos, err := b.Computations()
		must(t, err)
		for _, i := range infos {
			if i.Pause != nil {
				ids = append(ids, i.ID)
			}
		}
		return ids
	}
	if ids := paused(); !slices.Equal(ids, []string{"aud_2"}) {
		t.Errorf("paused are %v", ids)
	}
	_, err = b.Adopt(ctx, "aud_1", "aud_2", false, nil)
	must(t, err)
	if ids := paused(); !slices.Equal(ids, []string{"aud_2"}) {
		t.Errorf("after the adoption, paused are %v", ids)
	}
	if was, err := b.ResumeComputation(ctx, "aud_2"); err != nil || was == nil {
		t.Errorf("resumed %+v, %v", was, err)
	}
}

// TestAnOlderRemovalDoesNotLeaveBehindANewerValue: it was held by a pause, and values do not collapse. When the pause had
// ended, a new consent queued the newer value, and the guard took the removal for an exit: released later, it told MoEngage
// "no member" of a member.
func TestAnOlderRemovalDoesNotLeaveBehindANewerValue(t *testing.T) {
	r := rules(domain.SendAttribute)
	r.Defaults.Collapse, r.Defaults.Consent = false, []string{"Marketing"}
	r.Guard = domain.Guard{Share: 0.3, Count: 2, Window: time.Hour}
	b, them, ctx := open(t, r), newMoengage(), t.Context()
	states := func(minute int, given ...string) {
		b.receive(event("ann", "big", true, minute, func(e *domain.Event) { e.Consent = &domain.Preferences{Given: given} }))
	}
	b.receive(event("ann", "vip", true, 1), event("bob", "vip", true, 1), event("cid", "vip", true, 1))
	states(2, "Marketing")
	b.tell(them)
	_, err := b.PauseComputation(ctx, "vip", domain.Pause{Why: "freeze"})
	must(t, err)
	states(3)
	if n := len(b.ids(domain.StateHeld)); n != 1 || them.attributes["ann.vip"] != "true" {
		t.Fatalf("%d are held, and MoEngage holds %q: this shows nothing", n, them.attributes["ann.vip"])
	}
	b.receive(event("bob", "vip", false, 3), event("cid", "vip", false, 3))
	_, err = b.ResumeComputation(ctx, "vip")
	must(t, err)
	states(4, "Marketing")
	_, err = b.CompareConsent(ctx)
	must(t, err)
	b.tell(them)
	release(b, "vip")
	b.tell(them)
	if got := them.attributes["ann.vip"]; got != "true" {
		t.Errorf("MoEngage holds %q of a member with consent", got)
	}
	recount(t, b)
}

// TestAReleaseUnderAPauseLosesNoHeldChange: the guard held the exit of a member, whose consent was withdrawn then. A pause that
// had not come to the user yet held the removal instead of the exit when the exit was released, and nothing led to it.
func TestAReleaseUnderAPauseLosesNoHeldChange(t *testing.T) {
	r := rules(domain.SendAttribute)
	r.Defaults.Collapse, r.Defaults.Consent = false, []string{"Marketing"}
	r.Guard = domain.Guard{Share: 0.3, Count: 2, Window: time.Hour}
	b, them, ctx := open(t, r), newMoengage(), t.Context()
	users := []string{"cid", "bob", "ann"}
	for _, user := range users {
		b.receive(event(user, "vip", true, 1, consented("Marketing")))
	}
	b.tell(them)
	for _, user := range users {
		b.receive(event(user, "vip", false, 2))
	}
	b.receive(event("ann", "big", false, 3, consented()))
	_, err := b.PauseComputation(ctx, "vip", domain.Pause{Why: "freeze"})
	must(t, err)
	if held, pending := len(b.ids(domain.StateHeld)), len(b.ids(domain.StatePending)); held == 0 || pending == 0 {
		t.Fatalf("%d are held and %d pending: this shows nothing", held, pending)
	}
	release(b, "vip")
	recount(t, b)
	_, err = b.ResumeComputation(ctx, "vip")
	must(t, err)
	_, err = b.CompareConsent(ctx)
	must(t, err)
	b.tell(them)
	recount(t, b)
	for _, user := range users {
		if got := them.attributes[user+".vip"]; got != "false" {
			t.Errorf("MoEngage holds %q of %s", got, user)
		}
	}
}
