package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store"
	"personasync/store/domain"
	"personasync/sync/sandbox"
)

// TestMoEngageEndsAsTheModelSays sends random events in random order, repeated and late, through outages,
// restarts, crashes and operator actions. It then compares MoEngage's state with the model: everything arrived,
// each event once (at least once where a request was uncertain), in each user's order, without a broken rule or
// an exceeded limit.
//
// `make torture` does it with thousands of seeds. PERSONASYNC_TORTURE_SEED is the first of them, and
// PERSONASYNC_TORTURE_BOX limits the time. To repeat one:
//
//	PERSONASYNC_TORTURE_SEED=4711 go test ./sync -run 'TestMoEngageEndsAsTheModelSays/seed_4711$'
func TestMoEngageEndsAsTheModelSays(t *testing.T) {
	first, count, until := 0, 32, time.Now().Add(time.Hour)
	if testing.Short() {
		count = 16
	}
	long := torturing()
	if long {
		first, count = rand.IntN(1<<30), 3000
	}
	if text := os.Getenv("PERSONASYNC_TORTURE_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 62)
		if err != nil {
			t.Fatalf("PERSONASYNC_TORTURE_SEED: %v", err)
		}
		first = int(seed)
	}
	if text := os.Getenv("PERSONASYNC_TORTURE_BOX"); text != "" && long {
		box, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("PERSONASYNC_TORTURE_BOX: %v", err)
		}
		count, until = 1<<30, time.Now().Add(box)
	}
	t.Logf("PERSONASYNC_TORTURE_SEED=%d", first)
	done := 0
	for ; done < count && time.Now().Before(until); done++ {
		seed := first + done
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newOrdeal(t, seed).run() })
		})
	}
	t.Logf("%d seeds", done)
}

// ordeal is one run. Its seed decides which options it uses.
type ordeal struct {
	*station
	*model
	rnd  *rand.Rand
	past []*domain.Event

	certain bool // no request becomes uncertain, so every event arrives exactly once
	hands   bool // the operator parks, retries, drops, erases, and imports wrong lists
	guarded bool // a mass exit is held
	cron    bool // one audience has a schedule

	jumbled map[string]bool            // users whose events an operator sent again out of order
	refused bool                       // changes may have been parked, and superseded by others since
	perhaps map[string]bool            // dropped events that may have arrived before
	then    map[string]sandbox.Profile // MoEngage's data about users at their erasure
}

var modelChannels = []domain.SendMethods{
	domain.SendAttribute, domain.SendEvent, domain.SendBoth, domain.SendAsReceived, domain.SendList,
	domain.SendAttribute | domain.SendCohort, domain.SendBoth | domain.SendCohort | domain.SendList,
	domain.SendAsReceived | domain.SendCohort | domain.SendList,
}

// certainFaults leave no doubt about the outcome of a request; the others do.
var (
	certainFaults = []string{
		"status=503,for=30s", "status=429,retry_after=3,for=5s", "status=429,ratelimit=epoch,for=5s", "status=401,for=2m",
		"status=403,for=90s", "status=400,type=Blacklisted,for=70s", "slow=2s,for=20s", "on=cohortsync,status=409,for=2m",
		"user=user-1,status=503,for=40s", "status=413,count=2",
	}
	uncertainFaults = []string{
		"reset,for=10s", "reset,when=after,for=10s", "hang,for=40s", "truncate,count=2", "body=html,count=2",
		"status=500,for=10s", "status=502,when=after,for=10s", "status=200,error=AttributeError,count=2",
		"user=user-2,status=500,for=30s", "user=user-3,reset,for=20s",
	}
	// poison makes a user's changes be parked.
	poison = []string{"user=user-1,for=20s", "user=user-4,for=1m", "user=user-5,on=cohortsync,for=1m"}
)

// nightly is the job of the audience with a schedule.
const nightly = "nightly"

func newOrdeal(t *testing.T, seed int) *ordeal {
	rnd := rand.New(rand.NewPCG(uint64(seed), 4))
	send := modelChannels[seed%len(modelChannels)]
	o := &ordeal{
		model:   &model{send: send, words: map[string]word{}, events: map[string][]passage{}, seen: map[string]bool{}, gone: map[string]bool{}},
		rnd:     rnd,
		certain: seed/len(modelChannels)%2 == 0,
		hands:   seed/len(modelChannels)/2%2 == 1,
		guarded: rnd.IntN(3) == 0,
		cron:    rnd.IntN(3) == 0,
		jumbled: map[string]bool{}, perhaps: map[string]bool{}, then: map[string]sandbox.Profile{},
	}
	rules := modelRules(send)
	if o.guarded {
		rules.Guard = domain.Guard{Share: 0.3, Count: 1, Window: time.Hour}
	}
	if o.cron {
		late := rules.Defaults
		late.Job = nightly
		rules.Sections = []domain.Section{{Key: "aud0", Policy: late}}
	}
	limit := []int{60, 600}[rnd.IntN(2)]
	o.station = newStation(t, rules,
		sandbox.Options{
			KeepAll: true, Strict: seed%3 == 0, UsersPerMinute: limit, EventsPerMinute: limit,
			Delay: time.Duration(rnd.IntN(2)*rnd.IntN(50)) * time.Second,
		},
		Config{
			MaxDelay: time.Second, UsersPerMinute: limit, EventsPerMinute: limit, MaxRequestBytes: 2000, Concurrency: 3,
			Realtime: func(job string) bool { return job != nightly },
		})
	return o
}

func modelRules(send domain.SendMethods) domain.Rules {
	return domain.Rules{OnDelete: "forget", MessageIDs: 48 * time.Hour, Defaults: domain.Policy{
		Send: send, Anonymous: domain.IdentityPark, EmailOnly: domain.IdentityPark, OnNull: domain.NullSkip, Collapse: true,
		EnterEvent: "Audience Entered", ExitEvent: "Audience Exited", TraitEvent: "Trait Computed", ListAttribute: "segment_audiences",
	}}
}

func (o *ordeal) run() {
	for range 50 {
		o.step()
		most := []int{500, 500, 20_000}[o.rnd.IntN(3)] // so that much happens between a failure and its retry
		time.Sleep(time.Duration(o.rnd.IntN(most)) * time.Millisecond)
	}
	o.wire.cut.Store(false)
	o.moengage.Heal()
	o.pauses(time.Time{})
	o.settleDown()
	time.Sleep(time.Minute)
	o.compare()
	o.stop()
}

func (o *ordeal) step() {
	switch n := o.rnd.IntN(15); {
	case n == 14:
		o.pauses(time.Now().Add(time.Duration(o.rnd.IntN(60)-10) * time.Second)) // one that is over at once, too
	case n < 7:
		o.must(o.store.Append(context.Background(), o.news()...))
	case n < 9:
		o.trouble()
	case n == 9 && !o.certain && o.rnd.IntN(2) == 0:
		o.crash()
	case n == 9:
		o.restart()
	case n == 10:
		o.senders[1].Flush(nil, o.senders[0].Flush(nil, nil))
	case n == 11:
		o.wire.cut.Store(o.rnd.IntN(2) == 0)
	case n == 12:
		o.hour()
	default:
		o.order()
	}
}

// pauses stops both senders, as an operator's pause does. A restart of the station ends it.
func (o *ordeal) pauses(until time.Time) {
	for _, s := range o.senders {
		s.Pause(until)
	}
}

// news returns a few events, some of them repeats, and applies them to the model.
func (o *ordeal) news() (events []*domain.Event) {
	for range 1 + o.rnd.IntN(8) {
		at := o.rnd.IntN(200)
		switch n := o.rnd.IntN(16); {
		case n < 4 && len(o.past) > 0:
			again := *o.past[o.rnd.IntN(len(o.past))]
			events = append(events, &again)
		case n < 6:
			events = append(events, scored(o.anybody(), o.rnd.IntN(4), o.rnd.IntN(2) == 0, at/20)) // often at the same time
		default:
			events = append(events, moved(o.anybody(), o.audience(), o.rnd.IntN(2) == 0, o.rnd.IntN(2) == 0, at))
		}
	}
	for i, e := range events {
		e.Received = time.Now().Add(time.Duration(i) * time.Microsecond) // makes their effects distinguishable
		value := string(e.Bytes(e.Object))
		value = strings.TrimSuffix(value[strings.IndexByte(value, ':')+1:], "}")
		o.hear(e.User.ID, e.Key, e.Call == domain.CallTrack, word{int(e.Time.Sub(modelStart)), value, e.MessageID}, true)
	}
	o.past = append(o.past, events...)
	return events
}

func (o *ordeal) anybody() string  { return fmt.Sprint("user-", o.rnd.IntN(6)) }
func (o *ordeal) audience() string { return fmt.Sprint("aud", o.rnd.IntN(4)) }

// modelStart is an hour before fake time begins. All events are in that hour.
var modelStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Hour)

func moved(user, key string, in, track bool, second int) *domain.Event {
	e := segmentEvent(user, key, fmt.Sprint(in), track, second)
	e.Class, e.ComputationID, e.Flag = domain.ClassAudience, "aud_"+key, domain.FlagOut
	if in {
		e.Flag = domain.FlagIn
	}
	return e
}

// scored returns an event of a computed trait.
func scored(user string, value int, track bool, second int) *domain.Event {
	e := segmentEvent(user, "score", fmt.Sprint(value, ".50"), track, second)
	e.Class, e.ComputationID = domain.ClassTrait, "tra_score"
	e.Columns = []domain.Column{{Name: "score", Value: domain.Span{Off: e.Object.Off + uint32(len(`{"score":`)), Len: e.Object.Len - uint32(len(`{"score":}`))}}}
	return e
}

func segmentEvent(user, key, value string, track bool, second int) *domain.Event {
	e := &domain.Event{
		Received: time.Now(), Time: modelStart.Add(time.Duration(second) * time.Second), Call: domain.CallIdentify,
		User: domain.Identifier{ID: user}, MessageID: fmt.Sprint(user, key, value, track, second), Space: "spa_1", Key: key,
	}
	if track {
		e.Call, e.Name = domain.CallTrack, "Moved"
	}
	object := fmt.Sprintf(`{%q:%s}`, key, value)
	e.Raw = []byte(`{"o":` + object + `}`)
	e.Object = domain.Span{Off: 5, Len: uint32(len(object))}
	return e
}

func (o *ordeal) trouble() {
	specs := certainFaults
	switch {
	case o.hands && o.rnd.IntN(4) == 0:
		specs = poison
	case !o.certain && o.rnd.IntN(4) > 0:
		specs = uncertainFaults
	}
	spec := specs[o.rnd.IntN(len(specs))]
	o.refused = o.refused || strings.Contains(spec, "status=413")
	f, err := sandbox.ParseFault(spec)
	o.must(err)
	o.moengage.Fail(f)
}

// hour runs the scheduled job.
func (o *ordeal) hour() {
	o.senders[1].Open(nightly, time.Now(), o.senders[0].Open(nightly, time.Now(), nil))
}

// order is an action of the operator. With as_received an import applies to received states, which the model
// does not have.
func (o *ordeal) order() {
	one, tell := !o.send.Has(domain.SendAsReceived), o.rnd.IntN(2) == 0
	switch n := o.rnd.IntN(12); {
	case n < 3 && one:
		o.imports(store.Import{Key: o.audience(), Events: tell, Create: true})
	case n == 3 && one:
		o.closes(o.audience(), tell)
	case n < 6:
		_, err := o.store.Reconcile(context.Background(), o.audience(), false, false, nil)
		o.mustKnow(err)
	case n == 6:
		_, err := o.store.Decide(context.Background(), o.audience(), false, false, nil)
		o.mustKnow(err)
	case n == 7 && one:
		o.discards(o.audience())
	case n == 8 && o.hands:
		o.retries()
	case n == 9 && o.hands:
		o.drops()
	case n == 10 && o.hands && one:
		o.imports(store.Import{Key: o.audience(), Baseline: true, Create: true})
	case n == 11 && o.hands:
		o.forgets(o.anybody())
	}
}

// mustKnow fails the test for any error except an unknown audience.
func (o *ordeal) mustKnow(err error) {
	o.t.Helper()
	if !errors.Is(err, store.ErrNotFound) {
		o.must(err)
	}
}

func (o *ordeal) imports(i store.Import) {
	var listed []string
	for user := range 6 {
		if o.rnd.IntN(2) == 0 {
			listed = append(listed, fmt.Sprint("user-", user))
		}
	}
	at := o.rnd.IntN(200)
	i.AsOf = modelStart.Add(time.Duration(at) * time.Second)
	i.Users = func(yield func(string, error) bool) {
		for _, user := range listed {
			if !yield(user, nil) {
				return
			}
		}
	}
	_, err := o.store.Import(context.Background(), i)
	o.must(err)
	o.list(i.Key, int(i.AsOf.Sub(modelStart)), listed, i.Events)
}

func (o *ordeal) closes(key string, tell bool) {
	at := int(time.Since(modelStart))
	_, err := o.store.CloseAudience(context.Background(), key, tell, false, nil)
	o.mustKnow(err)
	for _, user := range o.members(key) {
		o.hear(user, key, false, word{at, "false", "close"}, tell)
	}
}

// discards makes held exits undone.
func (o *ordeal) discards(key string) {
	held := o.changes(domain.StateHeld, "")
	_, err := o.store.Decide(context.Background(), key, true, false, nil)
	o.mustKnow(err)
	for _, c := range held {
		if c.Computation != key {
			continue
		}
		if w := o.words[o.name(c.User, key, false)]; w.value == "false" {
			o.words[o.name(c.User, key, false)] = word{w.at + 1, "true", w.message}
		}
		if c.Kind == domain.KindEvent && !o.strike(c.User, o.passage(c)) {
			o.t.Errorf("%s: %v was held, and never happened", c.User, o.passage(c))
		}
	}
}

// retries sends parked changes again.
func (o *ordeal) retries() {
	var ids []domain.ID
	for _, c := range o.changes(domain.StateParked, "") {
		ids = append(ids, c.ID)
		o.jumbled[c.User] = true
	}
	o.must(o.store.Retry(context.Background(), time.Now(), ids))
}

// drops removes a pending, parked or held change.
func (o *ordeal) drops() {
	waiting := slices.Concat(o.changes(domain.StatePending, ""), o.changes(domain.StateParked, ""), o.changes(domain.StateHeld, ""))
	if len(waiting) == 0 {
		return
	}
	c := waiting[o.rnd.IntN(len(waiting))]
	o.must(o.store.Drop(context.Background(), time.Now(), []domain.ID{c.ID}))
	now, _, err := o.store.Change(c.ID)
	o.must(err)
	if c.Kind != domain.KindEvent || now.State != domain.StateDropped {
		return
	}
	if o.perhaps[c.ID.String()] = true; !o.strike(c.User, o.passage(c)) {
		o.t.Errorf("%s: %v waited, and never happened", c.User, o.passage(c))
	}
}

func (o *ordeal) forgets(user string) {
	_, err := o.store.Forget(context.Background(), user)
	o.must(err)
	o.gone[user] = true
	time.Sleep(time.Minute) // accepted changes may still be applied
	o.then[user], _ = o.moengage.User(user)
}

// changes returns all changes in a state.
func (o *ordeal) changes(state domain.State, user string) (list []*domain.Change) {
	o.t.Helper()
	o.must(o.store.Applied(context.Background()))
	for cursor, more := "", true; more; more = cursor != "" {
		page, next, err := o.store.Changes(domain.OutboxFilter{State: state, User: user, Cursor: cursor})
		o.must(err)
		for _, info := range page {
			id, err := domain.ParseID(info.ID)
			o.must(err)
			c, _, err := o.store.Change(id)
			o.must(err)
			list = append(list, c)
		}
		cursor = next
	}
	return list
}

// passage returns the model's form of an event.
func (o *ordeal) passage(c *domain.Change) passage {
	p := passage{c.Computation, string(c.Value), c.MessageID, int(c.EventTime.Sub(modelStart))}
	for _, known := range o.events[c.User] {
		if p.message == "close" && known.String() == p.String() {
			return known // happened now, and is reported as of a second ago
		}
	}
	return p
}

// settleDown lets everything be sent, after an operator has decided on held changes.
func (o *ordeal) settleDown() {
	for i := range 4 {
		_, err := o.store.Decide(context.Background(), fmt.Sprint("aud", i), false, false, nil)
		o.mustKnow(err)
	}
	time.Sleep(10 * time.Minute) // a request in flight may still be refused
	o.retries()
	o.drain()
	if !o.hands {
		return
	}
	for _, key := range []string{"aud0", "aud1", "aud2", "aud3", "score"} {
		_, err := o.store.Reconcile(context.Background(), key, false, false, nil)
		o.mustKnow(err)
	}
	o.drain()
}

// drain waits until everything was sent, within a few hours of fake time.
func (o *ordeal) drain() {
	o.t.Helper()
	o.hour()
	for end := time.Now().Add(5 * time.Hour); o.counts().Changes.Pending > 0; time.Sleep(time.Second) {
		if time.Now().After(end) {
			for _, c := range o.changes(domain.StatePending, "") {
				o.t.Errorf("not sent within hours: %+v", *c)
			}
			return
		}
	}
}

func (o *ordeal) compare() {
	o.strikeCancelled()
	for name := range o.seen {
		user, key, _ := strings.Cut(name, " ")
		if !o.gone[user] {
			o.compareState(user, key)
		}
	}
	for user := range 6 {
		o.compareEvents(fmt.Sprint("user-", user))
	}
	for user, was := range o.then {
		if is, _ := o.moengage.User(user); !slices.EqualFunc(is.Events, was.Events, sameEvent) || fmt.Sprint(is.Attributes, is.Cohorts) != fmt.Sprint(was.Attributes, was.Cohorts) {
			o.t.Errorf("%s was forgotten, and MoEngage heard of him afterwards:\n%+v\n%+v", user, was, is)
		}
	}
	for _, v := range o.moengage.Violations() {
		if v.Rule != sandbox.UnknownUID || !o.hands && !o.refused { // expected if the change that makes a user known was dropped or parked
			o.t.Errorf("violation: %+v", v)
		}
	}
	if n := o.moengage.Stats().Limited; n > 0 {
		o.t.Errorf("%d requests were over MoEngage's limit", n)
	}
	if c := o.balanced().Changes; c.Parked+c.Held > 0 {
		o.t.Errorf("parked or held: %+v", c)
	}
}

func (o *ordeal) compareState(user, key string) {
	p, _ := o.moengage.User(user)
	if want, sent := o.attribute(user, key); sent && want != "" {
		if got := string(p.Attributes[key]); got != want && (got != "" || want != "false") {
			o.t.Errorf("%s: attribute %s is %q, want %s", user, key, got, want)
		}
	}
	in := o.newest(user, key).value == "true"
	if got := slices.Contains(p.Cohorts, key); o.send.Has(domain.SendCohort) && got != in {
		o.t.Errorf("%s: in the cohort %s: %v, want %v", user, key, got, in)
	}
	if got := strings.Contains(string(p.Attributes["segment_audiences"]), `"`+key+`"`); o.send.Has(domain.SendList) && got != in {
		o.t.Errorf("%s: the list is %s, and %s should be in it: %v", user, p.Attributes["segment_audiences"], key, in)
	}
}

// strikeCancelled removes the events that the guard cancels: a held exit whose user came back, and that enter.
func (o *ordeal) strikeCancelled() {
	groups := map[string]int{} // user, computation and moment -> index of the last exit, while others are struck
	for _, c := range o.changes(domain.StateCancelled, "") {
		if c.Kind != domain.KindEvent {
			continue
		}
		group := fmt.Sprint(c.User, " ", c.Computation, " ", c.Closed)
		list := o.events[c.User]
		i := slices.Index(list, o.passage(c))
		if i < 0 {
			o.t.Errorf("%s: %v was cancelled, and never happened", c.User, o.passage(c))
			continue
		}
		list[i].message += " (cancelled)"
		groups[group] = max(groups[group], i)
	}
	for group, exit := range groups {
		user, rest, _ := strings.Cut(group, " ")
		key, _, _ := strings.Cut(rest, " ")
		list := o.events[user]
		for i := exit + 1; i < len(list); i++ {
			if list[i].key == key {
				list[i].message += " (cancelled)"
				break
			}
		}
	}
	for user, list := range o.events {
		o.events[user] = slices.DeleteFunc(list, func(p passage) bool { return strings.HasSuffix(p.message, " (cancelled)") })
	}
}

// compareEvents compares a user's events and their order. Scheduled or held changes delay no others, so then
// each computation is in order by itself. Events that an operator sent again may come at any time.
func (o *ordeal) compareEvents(user string) {
	p, _ := o.moengage.User(user)
	if o.gone[user] {
		return
	}
	got, repeats := o.eventsOf(p)
	var want []string
	for _, p := range o.events[user] {
		want = append(want, p.String())
	}
	byKey := func(a, b string) int {
		return strings.Compare(a[:strings.IndexByte(a, ' ')], b[:strings.IndexByte(b, ' ')])
	}
	switch {
	case o.jumbled[user]:
		slices.Sort(got)
		slices.Sort(want)
	case o.guarded || o.cron:
		slices.SortStableFunc(got, byKey)
		slices.SortStableFunc(want, byKey)
	}
	if !slices.Equal(got, want) {
		o.t.Errorf("%s: events\n%s\nwant\n%s", user, strings.Join(got, "\n"), strings.Join(want, "\n"))
		for _, e := range p.Events {
			o.t.Logf("request %d at %s: %s %s", e.Request, e.Received.Format(time.TimeOnly), e.Action, e.Attributes)
		}
	}
	if o.certain && repeats > 0 {
		o.t.Errorf("%s: %d events arrived twice, although no request was in doubt", user, repeats)
	}
}

// eventsOf returns a user's events without repeats, and counts those. A repeat may only be of the last event
// sent, because older ones were answered. But an event of a schedule or a release may be older than one that
// waits for a retry, and be sent before it.
func (o *ordeal) eventsOf(p sandbox.Profile) (list []string, repeats int) {
	last, seen := "", map[string]bool{}
	for _, e := range p.Events {
		var a map[string]json.RawMessage
		o.must(json.Unmarshal(e.Attributes, &a))
		text := func(name string) string { return strings.Trim(string(a[name]), `"`) }
		id := text("change_id")
		if id == last || seen[id] && (o.jumbled[p.ID] || o.cron || o.guarded) {
			repeats++
			continue
		}
		last, seen[id] = id, true
		if o.perhaps[id] && !o.certain {
			continue
		}
		key := text("audience_key") + text("trait_key")
		value := string(a["value"])
		if value == "" {
			value = string(a[key])
		}
		list = append(list, passage{key: key, value: value, message: text("message_id")}.String())
	}
	return list, repeats
}

func sameEvent(a, b sandbox.Event) bool { return a.Write == b.Write }
