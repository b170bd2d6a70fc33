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
	"personasync/store/internal/state"
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
	stays     int         // of five words, how many say that somebody is a member
	orders    []orderKind // what an operator orders; one that stands there more often is given more often
	consents  *consents   // nil: nobody asks for consent
	mixed     *mixture    // nil: nobody is held out, beyond a share, or deleted at MoEngage
	paused    map[string]bool
}

type orderKind int

const (
	ordersImport orderKind = iota
	ordersReconcile
	ordersClose
	ordersDiscard
	ordersRelease
	ordersRetry
	ordersCollapse // it is turned on or off
	ordersForget
	ordersBaseline
	ordersStatement
	ordersAsk    // a computation asks for other consent
	ordersShare  // a computation tells other users
	ordersDelete // Segment deletes a user
	ordersDrop
	ordersAllow // held deletes are released
	ordersNight // a restart takes a day
	ordersPause // a computation is paused or resumed
)

// TestEverythingAtOnceEndsInTheTruth runs random days of every method, with and without collapse and the guard, in
// the fake time of synctest. In the end MoEngage holds what is true here, no event came twice that need not, nothing
// is left over, and the files add up.
func TestEverythingAtOnceEndsInTheTruth(t *testing.T) {
	costly(t, manySeeds)
	sends := []domain.SendMethods{domain.SendAttribute, domain.SendEvent, domain.SendBoth, domain.SendAsReceived, domain.SendCohort, domain.SendList, domain.SendBoth | domain.SendCohort | domain.SendList, domain.SendAsReceived | domain.SendCohort}
	everyDay(t, seeds(16, 5000), func(t *testing.T, seed int) *everyday { return newEveryday(t, seed, sends) })
}

// TestADiscardOnAnyDayReadmitsWhoLeft has audiences lose many members again and again, and an operator who discards,
// reconciles and closes, by several methods at once.
func TestADiscardOnAnyDayReadmitsWhoLeft(t *testing.T) {
	costly(t, manySeeds)
	sends := []domain.SendMethods{
		domain.SendBoth | domain.SendCohort | domain.SendList, domain.SendAsReceived | domain.SendCohort, domain.SendAttribute | domain.SendCohort, domain.SendAsReceived,
		domain.SendEvent | domain.SendList, domain.SendAsReceived | domain.SendCohort | domain.SendList, domain.SendEvent | domain.SendCohort, domain.SendAsReceived | domain.SendList,
	}
	everyDay(t, seeds(16, 400), func(t *testing.T, seed int) *everyday {
		e := newEveryday(t, seed, sends)
		e.stays = 2
		e.orders = []orderKind{ordersImport, ordersReconcile, ordersReconcile, ordersClose, ordersDiscard, ordersDiscard, ordersRelease, ordersRetry, ordersCollapse, ordersBaseline}
		e.watched()
		must(t, e.SetRules(t.Context(), e.rules))
		return e
	})
}

// seeds are the random seeds that a test tries, from PERSONASYNC_TORTURE_SEED or 0 on: as many as PERSONASYNC_SEEDS says,
// long in a torture, full in full, and otherwise half of that.
func seeds(full, long int) []int {
	first, _ := strconv.Atoi(os.Getenv("PERSONASYNC_TORTURE_SEED"))
	n, err := strconv.Atoi(os.Getenv("PERSONASYNC_SEEDS"))
	switch {
	case err == nil:
	case os.Getenv("PERSONASYNC_TORTURE") != "":
		n = long
	case inFull:
		n = full
	default:
		n = full / 2
	}
	list := make([]int, n)
	for i := range list {
		list[i] = first + i
	}
	return list
}

func everyDay(t *testing.T, seeds []int, day func(t *testing.T, seed int) *everyday) {
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { day(t, seed).run() })
		})
	}
}

func newEveryday(t *testing.T, seed int, sends []domain.SendMethods) *everyday {
	time.Sleep(time.Until(noon.Add(time.Hour)))
	rnd := rand.New(rand.NewPCG(uint64(seed), 3))
	r := rules(sends[seed%len(sends)])
	r.Defaults.Collapse = seed/len(sends)%2 == 1
	them := newMoengage()
	them.retried = map[string]bool{}
	e := &everyday{
		rnd: rnd, rules: r, them: them, stays: 3, orders: []orderKind{
			ordersImport, ordersImport, ordersReconcile, ordersReconcile, ordersClose, ordersDiscard, ordersDiscard,
			ordersRelease, ordersRetry, ordersRetry, ordersCollapse, ordersForget,
		},
		model: map[string]*word{}, forgotten: map[string]bool{}, unsure: map[domain.ID]bool{}, came: map[domain.ID]bool{},
	}
	if rnd.IntN(4) > 0 {
		e.watched()
	}
	e.bench, e.shaky = open(t, e.rules), rnd.IntN(2) == 0
	e.upkeep.now = time.Now
	return e
}

// watched has the guard watch the audiences.
func (e *everyday) watched() {
	e.them.guarded, e.rules.Guard = true, domain.Guard{Share: 0.3, Count: 2, Window: time.Hour}
}

func (e *everyday) run() {
	for i := range 3 { // as received, a list speaks to the calls that were received
		e.say("user0", fmt.Sprint("aud", i), true)
	}
	for range 100 {
		switch n := e.rnd.IntN(20); {
		case n < 7:
			for range 1 + e.rnd.IntN(5) {
				e.say(e.user(), e.key(), e.rnd.IntN(5) >= 5-e.stays)
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

// hear has the model take in a word of a record.
func (e *everyday) hear(user, key string, record uint64, at time.Time, in bool) {
	name := user + "." + key
	if e.model[name] == nil {
		e.model[name] = &word{at: -1}
	}
	w := e.model[name]
	was := w.in
	switch w.hear(int(at.UnixNano()), in); {
	case w.in:
		w.left = 0
	case was:
		w.left = record
	}
}

// nextRecord returns the number of the record that is received next.
func (e *everyday) nextRecord() (n uint64) {
	must(e, e.Applied(context.Background()))
	must(e, e.read(func(tx *state.Tx) error { n = tx.State.Applied + 1; return nil }))
	return n
}

// say receives an identify, and a track where these are told apart.
func (e *everyday) say(user, key string, in bool) {
	time.Sleep(time.Millisecond) // each message has an id of its own
	now := e.clock()
	said := event(user, key, in, 0)
	said.Time, said.Received = now.Add(-time.Duration(e.rnd.IntN(50))*time.Minute), now
	said.MessageID = fmt.Sprint(user, key, in, now.UnixNano())
	if e.consents != nil && e.rnd.IntN(2) == 0 {
		said.Consent = e.statement(user, said.Time)
	}
	list := []*domain.Event{said}
	if e.rules.Defaults.Send.Has(domain.SendAsReceived) {
		track := *said
		asTrack("Moved")(&track)
		list = append(list, &track)
	}
	n := e.nextRecord()
	e.receive(list...)
	e.hear(user, key, n, said.Time, in)
}

func (e *everyday) order() {
	ctx, key := context.Background(), e.key()
	var err error
	switch e.orders[e.rnd.IntN(len(e.orders))] {
	case ordersImport:
		e.list(key, false)
	case ordersBaseline:
		e.list(key, true)
	case ordersReconcile:
		_, err = e.Reconcile(ctx, key, e.rnd.IntN(2) == 0, false, nil)
	case ordersClose:
		for name, w := range e.model {
			if name[6:] == key && w.in {
				w.hear(max(int(time.Now().UnixNano()), w.at), false) // it ends a membership that began in its own moment
			}
		}
		_, err = e.CloseAudience(ctx, key, e.rnd.IntN(2) == 0, false, nil)
	case ordersDiscard:
		window, readmits := e.window(key)
		_, err = e.Decide(ctx, key, true, false, nil)
		if readmits {
			e.readmit(key, window)
		}
	case ordersRelease:
		_, err = e.Decide(ctx, key, false, false, nil)
	case ordersRetry:
		e.retriesParked()
	case ordersCollapse:
		e.rules.Defaults.Collapse = !e.rules.Defaults.Collapse
		e.sections()
		err = e.SetRules(ctx, e.rules)
	case ordersForget:
		e.forgets(e.user())
	case ordersStatement:
		e.update(e.user())
	case ordersAsk:
		e.ask(key)
	case ordersShare:
		e.share(key)
	case ordersDelete:
		e.deletes(e.user())
	case ordersDrop:
		e.drops()
	case ordersAllow:
		e.allowsDeletes()
	case ordersNight:
		e.night()
	case ordersPause:
		e.pause(key)
	}
	if !errors.Is(err, domain.ErrNotFound) {
		must(e, err)
	}
}

// list imports a list of members as of a moment of the last hour, or takes it for what MoEngage knows.
func (e *everyday) list(key string, baseline bool) {
	at, listed := time.Now().Add(-time.Duration(e.rnd.IntN(60))*time.Minute), map[string]bool{}
	for range e.rnd.IntN(12) {
		listed[e.user()] = true
	}
	n := e.nextRecord()
	e.imports(Import{Key: key, AsOf: at, Users: users(slices.Sorted(maps.Keys(listed))...), Create: true, Baseline: baseline, Events: e.rnd.IntN(2) == 0})
	for i := range 10 {
		user := fmt.Sprint("user", i)
		name := user + "." + key
		w := e.model[name]
		switch {
		case !listed[user] && w.unheard():
		case baseline:
			e.consents.toldOf(name)
			e.mixed.toldOf(name)
			known := w != nil && w.at == int(at.UnixNano()) // of that moment the list says nothing new, but that a membership ended
			hearList(name, int(at.UnixNano()), listed[user], true, e.rules.Defaults.Send, e.model, e.them)
			e.mixed.takes(e, name) // the operator's list is older than the deletion
			if w = e.model[name]; w.at == int(at.UnixNano()) && !known {
				w.left = 0 // the operator has decided
			}
		default:
			e.hear(user, key, n, at, listed[user])
		}
	}
}

// window returns the record that the guard's window of an audience began with, and whether it holds exits.
func (e *everyday) window(key string) (from uint64, tripped bool) {
	must(e, e.read(func(tx *state.Tx) error {
		for _, f := range tx.State.Registry.Computations(key) {
			from, tripped = f.Exits.Seq, !f.Exits.Tripped.IsZero()
		}
		return nil
	}))
	return from, tripped
}

// readmit has the model take those for members again who left in a window that was discarded, just behind their exits.
func (e *everyday) readmit(key string, window uint64) {
	for name, w := range e.model {
		if name[6:] == key && !w.in && w.left >= window && w.left > 0 {
			w.move(true)
			w.left = 0
			w.at++
		}
	}
}

func (e *everyday) forgets(user string) {
	for len(e.under) > 0 { // it waits for them
		e.end(0, nil)
	}
	var err error
	if e.mixed != nil && e.rnd.IntN(2) == 0 {
		_, err = e.ForgetEverywhere(context.Background(), user, "root")
	} else {
		_, err = e.Forget(context.Background(), user)
	}
	if !errors.Is(err, domain.ErrNotFound) {
		must(e, err)
	}
	e.erased(user)
}

// erased has the model erase a user. MoEngage keeps what it has of them, until it deletes them.
func (e *everyday) erased(user string) {
	now := int(time.Now().UnixNano())
	for i := range 3 {
		name := fmt.Sprint(user, ".aud", i)
		e.model[name], e.forgotten[name] = &word{at: now, erased: now}, true
	}
	e.consents.forget(user)
	e.mixed.forget(user)
	time.Sleep(time.Second)
}

func (e *everyday) take() {
	o := everything(e.clock().Add(time.Second))
	if e.rnd.IntN(3) == 0 {
		o.Endpoint = domain.EndpointCohort
	}
	room := 1 + e.rnd.IntN(12)
	o.Fit = func(domain.UserChanges) bool { room--; return room >= 0 }
	f := e.takes(o)
	if f != nil {
		e.under = append(e.under, f)
	}
}

// end settles a request under way, with only as the verdict on everything, or a random one on each delivery.
func (e *everyday) end(i int, only *domain.Verdict) {
	f := e.under[i]
	e.under = slices.Delete(e.under, i, i+1)
	out := domain.Settlement{Lease: f.ID, At: time.Now()}
	for _, d := range f.Users {
		v := []domain.Verdict{domain.Delivered, domain.Delivered, domain.Untried, domain.Refused, domain.Uncertain, domain.Parked}[e.rnd.IntN(6)]
		if only != nil {
			v = *only
		}
		e.becomes(d, v)
		res := domain.Result{Verdict: v, Reason: "model"}
		if v == domain.Refused || v == domain.Uncertain {
			res.RetryAt = time.Now().Add(time.Duration(e.rnd.IntN(3000)) * time.Millisecond)
		}
		out.Results = append(out.Results, domain.UserResult{Attributes: res, Event: res})
	}
	must(e, e.Settle(context.Background(), out))
}

// becomes has MoEngage take a delivery, or not.
func (e *everyday) becomes(d domain.UserChanges, v domain.Verdict) {
	if e.mixed != nil && e.mixed.becomes(e, d, v) {
		return
	}
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
	e.cutOff()
	e.reopen(e.rules)
	e.upkeep.now = time.Now
}

// cutOff leaves open what became of the requests under way.
func (e *everyday) cutOff() {
	for _, f := range e.under {
		for _, d := range f.Users {
			e.becomes(d, domain.Uncertain)
		}
	}
	e.under = nil
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
	e.resumes()
	for _, key := range []string{"aud0", "aud1", "aud2"} {
		release(e.bench, key)
	}
	e.comply()
	e.swept()
	e.retriesParked()
	for range 8 { // where the clock is set back, what is not due yet comes behind
		if f := e.takes(everything(e.clock())); f != nil {
			e.under = append(e.under, f)
			e.end(0, &delivered)
		}
	}
	e.sendAll()
}

// sendAll sends what is pending, until nothing is left.
func (e *everyday) sendAll() {
	delivered := domain.Delivered
	for idle := 0; idle < 4; idle++ {
		for _, o := range []domain.TakeOptions{everything(time.Now().Add(time.Second)), onCohorts(time.Now().Add(time.Second))} {
			for f := e.takes(o); f != nil; f = e.takes(o) {
				e.under, idle = append(e.under, f), 0
				e.end(0, &delivered)
			}
		}
		time.Sleep(state.ProfileDelay * time.Second)
	}
}

func (e *everyday) takes(o domain.TakeOptions) *domain.Lease {
	f, _, err := e.Take(context.Background(), o)
	must(e, err)
	e.lawful(f)
	e.mixed.lawful(e, f)
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
		case w.told() && e.rules.Defaults.SendsAttributes() && told != "true":
			e.Errorf("%s came back after they were forgotten: MoEngage holds %q", name, told)
		}
		if e.rules.Defaults.Send.Has(domain.SendAsReceived) && !e.forgotten[name] && (told == "true") != w.told() {
			e.Errorf("%s: MoEngage holds %q, the membership is %v", name, told, w.in)
		}
	}
	compare(e.TB.(*testing.T), e.bench, e.rules.Defaults.Send, known, e.them)
}
