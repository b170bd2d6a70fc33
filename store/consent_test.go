package store

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"personasync/store/domain"
)

// consents is the model of what users have consented to, beside the store. A nil one is of a day without consent.
type consents struct {
	of    map[string]*agreement // by user
	tried map[string]bool       // by user.key: MoEngage may have been told of a membership
}

// agreement is the newest statement of a user.
type agreement struct {
	known bool
	at    int64 // an older one is stale
	given []string
}

// TestConsentAtAnyTimeEndsInTheTruth has users give and withdraw consent by events of audiences and by the reserved one,
// late and early, while the configuration asks for other categories again and again. No lease may have what consent
// forbids at that moment, and nobody of whom MoEngage was never told is told to be no member.
func TestConsentAtAnyTimeEndsInTheTruth(t *testing.T) {
	costly(t, manySeeds)
	sends := []domain.SendMethods{domain.SendAttribute, domain.SendEvent, domain.SendBoth, domain.SendAsReceived, domain.SendCohort, domain.SendList, domain.SendBoth | domain.SendCohort | domain.SendList, domain.SendAsReceived | domain.SendCohort}
	everyDay(t, seeds(16, 5000), func(t *testing.T, seed int) *everyday {
		e := newEveryday(t, seed, sends)
		e.consents = &consents{of: map[string]*agreement{}, tried: map[string]bool{}}
		e.orders = append(slices.Repeat([]orderKind{ordersStatement}, 8), append(e.orders, ordersAsk, ordersAsk, ordersBaseline)...)
		for i := range 3 {
			e.ask(fmt.Sprint("aud", i))
		}
		return e
	})
}

var categories = [][]string{nil, {"Marketing"}, {"Analytics", "Marketing"}}

// ask has a computation ask for some consent.
func (e *everyday) ask(key string) {
	p := e.rules.Defaults
	p.Consent, p.Rollout = categories[e.rnd.IntN(len(categories))], e.rules.For(key, "").Rollout
	e.section(key, p)
}

// section gives a computation a policy, and perhaps compares the users with it at once.
func (e *everyday) section(key string, p domain.Policy) {
	e.rules.Sections = slices.DeleteFunc(slices.Clone(e.rules.Sections), func(s domain.Section) bool { return s.Key == key })
	e.rules.Sections = append(e.rules.Sections, domain.Section{Key: key, Policy: p})
	must(e, e.SetRules(e.Context(), e.rules))
	must(e, e.Applied(e.Context()))
	if e.rnd.IntN(2) == 0 {
		e.comply()
	}
}

// comply compares the users with the consent that is asked for.
func (e *everyday) comply() {
	if e.consents == nil {
		return
	}
	_, err := e.CompareConsent(e.Context())
	must(e, err)
	for name, w := range e.model {
		w.withheld = !e.consents.allows(name[:5], e.asked(name[6:]))
	}
}

// sections gives the sections what the defaults say, but for whom they tell.
func (e *everyday) sections() {
	e.rules.Sections = slices.Clone(e.rules.Sections)
	for i := range e.rules.Sections {
		s := &e.rules.Sections[i]
		asked, rollout := s.Policy.Consent, s.Policy.Rollout
		s.Policy = e.rules.Defaults
		s.Policy.Consent, s.Policy.Rollout = asked, rollout
	}
}

func (e *everyday) asked(key string) []string {
	p := e.rules.For(key, "")
	return p.Consent
}

// statement makes a statement of a user at a time, and has the model hear it.
func (e *everyday) statement(user string, at time.Time) *domain.Preferences {
	given := [][]string{nil, {"Marketing"}, {"Marketing"}, {"Analytics"}, {"Analytics", "Marketing"}}[e.rnd.IntN(5)]
	a := e.consents.of[user]
	if a == nil {
		a = &agreement{at: -1}
		e.consents.of[user] = a
	}
	ns := at.UnixNano()
	switch {
	case !a.known && !e.rules.AsksConsent(), ns < a.at, ns == a.at && !a.known:
	case ns == a.at:
		a.given = slices.DeleteFunc(slices.Clone(a.given), func(c string) bool { return !slices.Contains(given, c) })
	default:
		*a = agreement{true, ns, given}
	}
	return &domain.Preferences{Given: given}
}

// update receives the reserved event.
func (e *everyday) update(user string) {
	time.Sleep(time.Millisecond)
	now := e.clock()
	at := now.Add(-time.Duration(e.rnd.IntN(50)) * time.Minute)
	e.receive(&domain.Event{
		Received: now, Time: at, Call: domain.CallTrack, Name: domain.ConsentEvent, MessageID: fmt.Sprint("consent", user, now.UnixNano()),
		User: domain.Identifier{ID: user}, Raw: []byte("{}"), Consent: e.statement(user, at),
	})
}

func (c *consents) allows(user string, asked []string) bool {
	return len(asked) == 0 || c.of[user] != nil && !slices.ContainsFunc(asked, func(a string) bool { return !slices.Contains(c.of[user].given, a) })
}

// forget has the model forget a user. What was stated before now counts no more.
func (c *consents) forget(user string) {
	if c != nil {
		c.of[user] = &agreement{at: time.Now().UnixNano()}
	}
}

// toldOf notes that MoEngage may know of a membership.
func (c *consents) toldOf(name string) {
	if c != nil {
		c.tried[name] = true
	}
}

// lawful fails the test for what consent, or a pause, forbids in a lease.
func (e *everyday) lawful(f *domain.Lease) {
	if f == nil {
		return
	}
	for _, d := range f.Users {
		for _, c := range append(slices.Clone(d.Attributes), *cmp.Or(d.Event, new(domain.Change))) {
			if e.paused[c.Computation] {
				e.Errorf("%s of %s.%s leaves, %s, while it is paused", c.Kind, d.User, c.Computation, c.Transition)
			}
		}
	}
	if e.consents == nil {
		return
	}
	for _, d := range f.Users {
		list := d.Attributes
		if d.Event != nil {
			list = append(slices.Clone(list), *d.Event)
		}
		for _, c := range list {
			name := d.User + "." + c.Computation
			removes := c.Kind != domain.KindEvent && string(c.Value) == "false"
			if !removes && !e.consents.allows(d.User, e.asked(c.Computation)) {
				e.Errorf("%s of %s leaves, %s, without consent to %v", c.Kind, name, c.Transition, e.asked(c.Computation))
			}
			if removes && !e.consents.tried[name] && !e.mixed.mayDrop() {
				e.Errorf("MoEngage is told that %s is no member, of whom it never knew", name)
			}
			if !removes && c.Kind != domain.KindEvent {
				e.consents.toldOf(name)
			}
		}
	}
}

// TestARemovalBehindAQueuedValueIsReplaced: a request had the membership under way, and a pause held the removal that the
// withdrawn consent asked for. Consent given again then found the same membership queued, and let the removal be the last word.
func TestARemovalBehindAQueuedValueIsReplaced(t *testing.T) {
	r := rules(domain.SendAttribute)
	r.Defaults.Collapse, r.Defaults.Consent = false, []string{"Marketing"}
	b, them, ctx := open(t, r), newMoengage(), t.Context()
	b.receive(event("ann", "vip", true, 1, consented("Marketing")))
	f := b.take()
	_, err := b.PauseComputation(ctx, "vip", domain.Pause{Why: "freeze"})
	must(t, err)
	b.receive(event("ann", "vip", true, 2, consented()))
	if n := len(b.ids(domain.StateHeld)); n != 1 {
		t.Fatalf("%d are held: this shows nothing", n)
	}
	b.receive(event("ann", "vip", true, 3, consented("Marketing")))
	them.take(f.Users[0])
	b.settle(f, domain.Delivered)
	_, err = b.ResumeComputation(ctx, "vip")
	must(t, err)
	_, err = b.CompareConsent(ctx)
	must(t, err)
	b.tell(them)
	if got := them.attributes["ann.vip"]; got != "true" {
		t.Errorf("MoEngage holds %q of a member with consent", got)
	}
	recount(t, b)
}

// TestAQueuedRemovalIsFollowedByTheValue: what was sent is the value still, but the queue has its removal.
func TestAQueuedRemovalIsFollowedByTheValue(t *testing.T) {
	r := rules(domain.SendAttribute)
	r.Defaults.Collapse, r.Defaults.Consent, r.Defaults.OnNull = false, []string{"Marketing"}, domain.NullUnset
	b, them := open(t, r), newMoengage()
	states := func(minute int, given ...string) { b.receive(event("ann", "big", false, minute, consented(given...))) }
	states(1, "Marketing")
	b.receive(trait("ann", "spent", 2, "spent", "5"))
	b.tell(them)
	states(3)
	if n := len(b.ids(domain.StatePending)); n != 1 || them.attributes["ann.spent"] != "5" {
		t.Fatalf("%d are pending, and MoEngage holds %v: this shows nothing", n, them.attributes)
	}
	states(4, "Marketing")
	b.tell(them)
	if got := them.attributes["ann.spent"]; got != "5" {
		t.Errorf("MoEngage holds %q of a user with consent", got)
	}
	recount(t, b)
}

// consented is a statement of consent with an event.
func consented(given ...string) func(*domain.Event) {
	return func(e *domain.Event) { e.Consent = &domain.Preferences{Given: given} }
}
