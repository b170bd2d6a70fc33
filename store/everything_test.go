package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store/domain"
)

// everyday is a store and all that may happen to it at once: news, orders, requests that overlap, and their outcomes.
type everyday struct {
	*bench
	rnd       *rand.Rand
	rules     domain.Rules
	them      *moengage
	model     map[string]*word // by user.key; at is in nanoseconds
	forgotten map[string]bool  // by user.key: MoEngage may hold what nobody knows any more
	under     []*domain.Lease
	shaky     bool               // the clock is set back by seconds, again and again: events of what was not due come later
	unsure    map[domain.ID]bool // events that may arrive again
	came      map[domain.ID]bool
}

// TestEverythingAtOnceEndsInTheTruth runs random days of every method, with and without collapse and the guard, in
// the fake time of synctest. In the end MoEngage holds what is true here, no event came twice that need not, nothing
// is left over, and the files add up.
func TestEverythingAtOnceEndsInTheTruth(t *testing.T) {
	seeds := 32
	switch n, err := strconv.Atoi(os.Getenv("PERSONASYNC_SEEDS")); {
	case err == nil:
		seeds = n
	case os.Getenv("PERSONASYNC_TORTURE") != "":
		seeds = 5000
	case testing.Short():
		seeds = 8
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newEveryday(t, seed).run() })
		})
	}
}

func newEveryday(t *testing.T, seed int) *everyday {
	time.Sleep(time.Until(noon.Add(time.Hour)))
	sends := []domain.SendMethods{domain.SendAttribute, domain.SendEvent, domain.SendBoth, domain.SendAsReceived, domain.SendCohort, domain.SendList, domain.SendBoth | domain.SendCohort | domain.SendList, domain.SendAsReceived | domain.SendCohort}
	rnd := rand.New(rand.NewPCG(uint64(seed), 3))
	r := rules(sends[seed%len(sends)])
	r.Defaults.Collapse = seed/len(sends)%2 == 1
	them := newMoengage()
	them.retried = map[string]bool{}
	if them.guarded = rnd.IntN(4) > 0; them.guarded {
		r.Guard = domain.Guard{Share: 0.3, Count: 2, Window: time.Hour}
	}
	e := &everyday{
		bench: open(t, r), rnd: rnd, rules: r, shaky: rnd.IntN(2) == 0, them: them,
		model: map[string]*word{}, forgotten: map[string]bool{}, unsure: map[domain.ID]bool{}, came: map[domain.ID]bool{},
	}
	e.Store.now = time.Now
	return e
}

func (e *everyday) run() {
	for i := range 3 { // as received, a list speaks to the calls that were received
		e.say("user0", fmt.Sprint("aud", i), true)
	}
	for range 100 {
		switch n := e.rnd.IntN(20); {
		case n < 7:
			for range 1 + e.rnd.IntN(5) {
				e.say(e.user(), e.key(), e.rnd.IntN(5) > 1)
			}
		case n < 10:
			e.order()
		case n < 14:
			e.take()
		case n < 17:
			if len(e.under) > 0 {
				e.end(e.rnd.IntN(len(e.under)), nil)
			}
		case n < 19:
			time.Sleep(time.Duration(e.rnd.IntN(90)) * time.Second)
		default:
			e.restart()
		}
	}
	e.finish()
	e.compare()
}

func (e *everyday) user() string { return fmt.Sprint("user", e.rnd.IntN(10)) }
func (e *everyday) key() string  { return fmt.Sprint("aud", e.rnd.IntN(3)) }

// clock reads the clock, which may have been set back.
func (e *everyday) clock() time.Time {
	if e.shaky {
		return time.Now().Add(-time.Duration(e.rnd.IntN(40)) * time.Second)
	}
	return time.Now()
}

// hear has the model take in a word.
func (e *everyday) hear(user, key string, at time.Time, in bool) {
	name := user + "." + key
	if e.model[name] == nil {
		e.model[name] = &word{at: -1}
	}
	e.model[name].hear(int(at.UnixNano()), in)
}

// say receives an identify, and a track where these are told apart.
func (e *everyday) say(user, key string, in bool) {
	now := e.clock()
	said := event(user, key, in, 0)
	said.Time, said.Received = now.Add(-time.Duration(e.rnd.IntN(50))*time.Minute), now
	said.MessageID = fmt.Sprint(user, key, in, now.UnixNano())
	list := []*domain.Event{said}
	if e.rules.Defaults.Send.Has(domain.SendAsReceived) {
		track := *said
		asTrack("Moved")(&track)
		list = append(list, &track)
	}
	e.receive(list...)
	e.hear(user, key, said.Time, in)
}

func (e *everyday) order() {
	ctx, key := context.Background(), e.key()
	var err error
	switch e.rnd.IntN(12) {
	case 0, 1:
		at, listed := time.Now().Add(-time.Duration(e.rnd.IntN(60))*time.Minute), map[string]bool{}
		for range e.rnd.IntN(12) {
			listed[e.user()] = true
		}
		e.imports(Import{Key: key, AsOf: at, Users: users(slices.Sorted(maps.Keys(listed))...), Create: true, Events: e.rnd.IntN(2) == 0})
		for i := range 10 {
			if user := fmt.Sprint("user", i); listed[user] || e.model[user+"."+key] != nil {
				e.hear(user, key, at, listed[user])
			}
		}
	case 2, 3:
		_, err = e.Reconcile(ctx, key, e.rnd.IntN(2) == 0, false, nil)
	case 4:
		for name, w := range e.model {
			if name[6:] == key && w.in {
				w.hear(int(time.Now().UnixNano()), false)
			}
		}
		_, err = e.CloseAudience(ctx, key, e.rnd.IntN(2) == 0, false, nil)
	case 5, 6:
		_, err = e.Decide(ctx, key, true, false, nil)
		e.learn(key)
	case 7:
		_, err = e.Decide(ctx, key, false, false, nil)
	case 8, 9:
		e.retriesParked()
	case 10:
		e.rules.Defaults.Collapse = !e.rules.Defaults.Collapse
		err = e.SetRules(ctx, e.rules)
	case 11:
		e.forgets(e.user())
	}
	if !errors.Is(err, ErrNotFound) {
		must(e, err)
	}
}

// learn takes from the store who is a member after a discard: whom it concerns is for other tests.
func (e *everyday) learn(key string) {
	for i := range 10 {
		user := fmt.Sprint("user", i)
		info, err := e.User(user)
		if err != nil {
			continue
		}
		for _, m := range info.Memberships {
			if w := e.model[user+"."+key]; m.Computation == key && w != nil && m.In && !w.in {
				w.in = true
				w.at++
			}
		}
	}
}

func (e *everyday) forgets(user string) {
	for len(e.under) > 0 { // it waits for them
		e.end(0, nil)
	}
	_, err := e.Forget(context.Background(), user)
	if !errors.Is(err, ErrNotFound) {
		must(e, err)
	}
	for i := range 3 {
		name := fmt.Sprint(user, ".aud", i)
		e.model[name], e.forgotten[name] = &word{at: int(time.Now().UnixNano())}, true
	}
	time.Sleep(time.Second)
}

func (e *everyday) take() {
	o := everything(e.clock().Add(time.Second))
	if e.rnd.IntN(3) == 0 {
		o.Endpoint = domain.EndpointCohort
	}
	room := 1 + e.rnd.IntN(12)
	o.Fit = func(domain.Delivery) bool { room--; return room >= 0 }
	f, _, err := e.Take(context.Background(), o)
	must(e, err)
	if f != nil {
		e.under = append(e.under, f)
	}
}

// end settles a request under way, with only as the verdict on everything, or a random one on each delivery.
func (e *everyday) end(i int, only *domain.Verdict) {
	f := e.under[i]
	e.under = slices.Delete(e.under, i, i+1)
	out := domain.Settlement{Lease: f.ID, At: time.Now()}
	for _, d := range f.Deliveries {
		v := []domain.Verdict{domain.Delivered, domain.Delivered, domain.Untried, domain.Refused, domain.Uncertain, domain.Parked}[e.rnd.IntN(6)]
		if only != nil {
			v = *only
		}
		e.becomes(d, v)
		res := domain.Result{Verdict: v, Reason: "model"}
		if v == domain.Refused || v == domain.Uncertain {
			res.RetryAt = time.Now().Add(time.Duration(e.rnd.IntN(3000)) * time.Millisecond)
		}
		out.Results = append(out.Results, domain.DeliveryResult{Attributes: res, Event: res})
	}
	must(e, e.Settle(context.Background(), out))
}

// becomes has MoEngage take a delivery, or not.
func (e *everyday) becomes(d domain.Delivery, v domain.Verdict) {
	if d.Event != nil && v == domain.Uncertain {
		e.unsure[d.Event.ID] = true
	}
	if v == domain.Parked || e.shaky {
		e.them.retried[d.User] = true
	}
	if v != domain.Delivered && (v != domain.Uncertain || e.rnd.IntN(2) == 0) {
		return
	}
	e.them.take(d)
	if d.Event == nil {
		return
	}
	if e.came[d.Event.ID] && !e.unsure[d.Event.ID] {
		e.Errorf("event %s of %s arrived twice", d.Event.ID, d.User)
	}
	e.came[d.Event.ID] = true
}

func (e *everyday) restart() {
	for _, f := range e.under {
		for _, d := range f.Deliveries {
			e.becomes(d, domain.Uncertain)
		}
	}
	e.under = nil
	e.reopen(e.rules)
	e.Store.now = time.Now
}

// finish ends what is under way, releases and retries everything, and sends it.
func (e *everyday) finish() {
	delivered := domain.Delivered
	for range 5 { // news and orders of one moment
		e.order()
		e.say(e.user(), e.key(), e.rnd.IntN(2) == 0)
	}
	for len(e.under) > 0 {
		e.end(0, &delivered)
	}
	for _, key := range []string{"aud0", "aud1", "aud2"} {
		release(e.bench, key)
	}
	e.swept()
	e.retriesParked()
	for range 8 { // where the clock is set back, what is not due yet comes behind
		if f := e.takes(everything(e.clock())); f != nil {
			e.under = append(e.under, f)
			e.end(0, &delivered)
		}
	}
	for idle := 0; idle < 4; idle++ {
		for _, o := range []domain.TakeOptions{everything(time.Now().Add(time.Second)), onCohorts(time.Now().Add(time.Second))} {
			for f := e.takes(o); f != nil; f = e.takes(o) {
				e.under, idle = append(e.under, f), 0
				e.end(0, &delivered)
			}
		}
		time.Sleep(introduction * time.Second)
	}
}

func (e *everyday) takes(o domain.TakeOptions) *domain.Lease {
	f, _, err := e.Take(context.Background(), o)
	must(e, err)
	return f
}

// compare also holds the model against users who were forgotten, and attributes sent as received.
func (e *everyday) compare() {
	known := map[string]*word{}
	for name, w := range e.model {
		told := e.them.attributes[name]
		switch {
		case !e.forgotten[name]:
			known[name] = w
		case w.in && e.rules.Defaults.SendsAttributes() && told != "true":
			e.Errorf("%s came back after they were forgotten: MoEngage holds %q", name, told)
		}
		if e.rules.Defaults.Send.Has(domain.SendAsReceived) && !e.forgotten[name] && (told == "true") != w.in {
			e.Errorf("%s: MoEngage holds %q, the membership is %v", name, told, w.in)
		}
	}
	compare(e.TB.(*testing.T), e.bench, e.rules.Defaults.Send, known, e.them)
}
