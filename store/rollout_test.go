package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
)

// rollouts is a model of whom MoEngage may be told. It knows of each user and audience whether MoEngage was ever told.
type rollouts struct {
	b     *bench
	rules domain.Rules // in force
	told  map[string]bool
}

// standing is what may leave about a user and an audience.
func (m *rollouts) standing(user, key string) (beyond, heldOut bool) {
	p := m.rules.For(key, "aud_"+key)
	heldOut = p.HoldsOut(user)
	return !heldOut && !p.Reaches(user) && !m.told[user+"."+key], heldOut
}

// take checks what leaves for a user, and remembers it.
func (m *rollouts) take(d domain.UserChanges) {
	m.b.Helper()
	changes := d.Attributes
	if d.Event != nil {
		changes = append(changes[:len(changes):len(changes)], *d.Event)
	}
	for _, ch := range changes {
		switch beyond, heldOut := m.standing(d.User, ch.Computation); {
		case heldOut && (ch.Kind == domain.KindEvent || string(ch.Value) != "false"):
			m.b.Errorf("%s is in the holdout of %s, and is told %s %s of %s", d.User, ch.Computation, ch.Kind, ch.Value, ch.ID)
		case beyond:
			m.b.Errorf("%s is beyond the share of %s, and is told %s %s of %s", d.User, ch.Computation, ch.Kind, ch.Value, ch.ID)
		}
	}
	for _, ch := range d.Attributes { // an event beside them counts as told with them
		m.told[d.User+"."+ch.Computation] = true
	}
}

// change has another part of the users told from now on, and perhaps lets the comparison come to them at once.
func (m *rollouts) change(rnd *rand.Rand, r *domain.Rollout) {
	m.b.Helper()
	m.rules.Defaults.Rollout = r
	must(m.b, m.b.SetRules(context.Background(), m.rules))
	must(m.b, m.b.Applied(context.Background()))
	if rnd.IntN(2) == 0 {
		m.compare()
	}
}

func (m *rollouts) compare() {
	m.b.Helper()
	_, err := m.b.CompareConsent(context.Background())
	must(m.b, err)
}

func randomRollout(rnd *rand.Rand) *domain.Rollout {
	r := &domain.Rollout{Share: []float64{0, 0.3, 0.6, 1}[rnd.IntN(4)], Holdout: []float64{0, 0, 0.4}[rnd.IntN(3)]}
	if rnd.IntN(3) == 0 {
		r.List = "pilot"
	}
	if rnd.IntN(6) == 0 {
		return nil
	}
	return r
}

// TestAgainstAModelOfARollout throws random news and random shares at the store. At no moment may a user leave who is
// beyond the share and was not told before, or in the holdout. Once everybody is told, MoEngage holds what it would hold
// without any of it.
func TestAgainstAModelOfARollout(t *testing.T) {
	costly(t, manySeeds)
	for _, seed := range seeds(24, 300) { // every way to send is among them
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			runRollout(t, rand.New(rand.NewPCG(uint64(seed), 11)))
		})
	}
}

func runRollout(t *testing.T, rnd *rand.Rand) {
	send := []domain.SendMethods{domain.SendAttribute, domain.SendEvent, domain.SendBoth, domain.SendAsReceived, domain.SendCohort, domain.SendList, domain.SendBoth | domain.SendCohort | domain.SendList, domain.SendAsReceived | domain.SendCohort | domain.SendList}[rnd.IntN(8)]
	r := rules(send)
	r.Defaults.Collapse = rnd.IntN(3) > 0
	r.Lists = map[string]domain.UserList{"pilot": domain.NewUserList([]string{"user0", "user3"})}
	r.Defaults.Rollout = randomRollout(rnd)
	if rnd.IntN(2) == 0 {
		r.Guard = domain.Guard{Share: 0.3, Count: 2, Window: time.Hour}
	}
	b := open(t, r)
	them := newMoengage()
	them.guarded = true // what is held goes when it may
	m := &rollouts{b: b, rules: r, told: make(map[string]bool)}
	model := make(map[string]*word)
	clock := time.Now()
	for range 120 {
		switch n := rnd.IntN(14); {
		case n == 13:
			m.change(rnd, randomRollout(rnd))
		case n == 12:
			m.operate(rnd, send, model, them)
		case n == 11:
			m.compare()
		case n < 7:
			for range 1 + rnd.IntN(4) {
				m.event(rnd, send, model)
			}
		case n < 10:
			clock = clock.Add(time.Duration(rnd.IntN(3)) * time.Second)
			m.fly(rnd, clock, send, model, them)
		default:
			recount(t, b)
			b.reopen(m.rules)
		}
	}
	m.change(rnd, nil)
	m.compare()
	for _, key := range []string{"aud0", "aud1"} {
		release(b, key)
	}
	b.tell(them)
	compare(t, b, send, model, them)
	if c, err := b.Counts(); err != nil || c.Changes.Held+c.Rollout != 0 || c.Comparing != nil {
		t.Errorf("something is held: %+v %v", c, err)
	}
}

func (m *rollouts) event(rnd *rand.Rand, send domain.SendMethods, model map[string]*word) {
	m.b.Helper()
	user, key := fmt.Sprint("user", rnd.IntN(5)), fmt.Sprint("aud", rnd.IntN(2))
	at, in := rnd.IntN(28), rnd.IntN(2) == 0
	e := event(user, key, in, at)
	e.Received = time.Now() // as the comparisons are
	if send.Has(domain.SendAsReceived) && rnd.IntN(2) == 0 {
		asTrack("Moved")(e)
	}
	must(m.b, m.b.Append(context.Background(), e))
	w := model[user+"."+key]
	if w == nil {
		w = &word{at: -1}
		model[user+"."+key] = w
	}
	w.hear(at*moment, in)
}

// operate gives a random order. A baseline says that MoEngage knows the users.
func (m *rollouts) operate(rnd *rand.Rand, send domain.SendMethods, model map[string]*word, them *moengage) {
	m.b.Helper()
	key := fmt.Sprint("aud", rnd.IntN(2))
	switch rnd.IntN(4) {
	case 0:
		release(m.b, key)
	case 1:
		user := fmt.Sprint("user", rnd.IntN(5))
		_, err := m.b.Forget(context.Background(), user)
		must(m.b, err)
		for _, key := range []string{"aud0", "aud1"} {
			model[user+"."+key] = &word{gone: true}
			delete(m.told, user+"."+key)
		}
	default:
		_, err := m.b.Reconcile(context.Background(), key, rnd.IntN(2) == 0, false, nil)
		if !errors.Is(err, domain.ErrNotFound) {
			must(m.b, err)
		}
	}
}

// fly sends what is due, and lets a random thing become of each part.
func (m *rollouts) fly(rnd *rand.Rand, now time.Time, send domain.SendMethods, model map[string]*word, them *moengage) {
	m.b.Helper()
	o := everything(now)
	if rnd.IntN(3) == 0 {
		o = onCohorts(now)
	}
	if real := time.Now(); real.After(now) { // by which the comparisons go
		now = real
	}
	room := 1 + rnd.IntN(4)
	o.Fit = func(domain.UserChanges) bool { room--; return room >= 0 }
	f, _, err := m.b.Take(context.Background(), o)
	must(m.b, err)
	if f == nil {
		return
	}
	if rnd.IntN(4) == 0 { // meanwhile
		m.event(rnd, send, model)
	}
	out := domain.Settlement{Lease: f.ID, At: now}
	for _, d := range f.Users {
		was := maps.Clone(m.told)
		m.take(d)
		v := []domain.Verdict{domain.Untried, domain.Delivered, domain.Delivered, domain.Refused, domain.Uncertain}[rnd.IntN(5)]
		switch {
		case v == domain.Delivered || v == domain.Uncertain && rnd.IntN(2) == 0:
			them.take(d)
		case v != domain.Uncertain:
			m.told = was
		}
		res := domain.Result{Verdict: v, RetryAt: now.Add(time.Duration(rnd.IntN(2000)) * time.Millisecond), Reason: "model"}
		out.Results = append(out.Results, domain.UserResult{Attributes: res, Event: res})
	}
	must(m.b, m.b.Settle(context.Background(), out))
}

// TestAUserSaysWhyATraitIsNotTold: of a membership the page of a user said it, and of a trait nothing.
func TestAUserSaysWhyATraitIsNotTold(t *testing.T) {
	r := rules(domain.SendBoth)
	b := open(t, r)
	for _, c := range []struct {
		rollout *domain.Rollout
		want    string
	}{
		{&domain.Rollout{Share: 1, Holdout: 1}, "the user is in the holdout of 100 %"},
		{&domain.Rollout{Share: 0}, "the user is not in the share of 0 %"},
		{nil, ""},
	} {
		r.Defaults.Rollout = c.rollout
		must(t, b.SetRules(t.Context(), r))
		b.receive(trait("ann", "spent", 1, "spent", "5"))
		u, err := b.User("ann")
		must(t, err)
		if len(u.Traits) != 1 || u.NotTold["spent"] != c.want {
			t.Errorf("%+v: %q is said of %v, want %q", c.rollout, u.NotTold, u.Traits, c.want)
		}
	}
}

// TestAnExitDoesNotOvertakeAnEnterThatARolloutHeld: the guard held the exit, and a smaller share the enter. Both were let go,
// the enter by rules without a rollout, which had not come to the user when the next request was made.
func TestAnExitDoesNotOvertakeAnEnterThatARolloutHeld(t *testing.T) {
	r := rules(domain.SendEvent)
	r.Guard = domain.Guard{Share: 0.3, Count: 2, Window: time.Hour}
	b, them, ctx := open(t, r), newMoengage(), t.Context()
	for _, user := range []string{"ann", "bob", "cid"} {
		b.receive(event(user, "vip", true, 1))
	}
	for _, user := range []string{"cid", "bob", "ann"} {
		b.receive(event(user, "vip", false, 2))
	}
	r.Defaults.Rollout = &domain.Rollout{Share: 0}
	must(t, b.SetRules(ctx, r))
	_, err := b.CompareConsent(ctx)
	must(t, err)
	release(b, "vip")
	if n := len(b.ids(domain.StateHeld)); n == 0 || len(b.ids(domain.StatePending)) == 0 {
		t.Fatalf("%d are held: this shows nothing", n)
	}
	r.Defaults.Rollout = nil
	must(t, b.SetRules(ctx, r))
	must(t, b.Applied(ctx))
	b.tell(them)
	moves := them.events["ann"]
	if len(moves) != 2 || !strings.HasSuffix(moves[0], "enter") || !strings.HasSuffix(moves[1], "exit") {
		t.Errorf("MoEngage was told %v, want an enter and then an exit", moves)
	}
	recount(t, b)
}
