package syncer

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store"
	"personasync/sync/sandbox"
)

// The model is all that anybody may expect of the whole way from an event to MoEngage's state. It knows
// neither batches, nor requests, nor failures.
type model struct {
	send   store.Channels
	words  map[string]word            // user, key and kind of call -> the newest word
	events map[string][]string        // user -> enters and exits in applied order
	in     map[string]map[string]bool // user -> key -> membership
}

type word struct {
	at    int
	in    bool
	known bool
}

// hear takes in one event.
func (m *model) hear(user, key string, track, in bool, at int) {
	sort := user + " " + key
	if m.send.Has(store.SendAsReceived) {
		sort += fmt.Sprint(" ", track)
	}
	w := m.words[sort]
	if w.known && (at < w.at || at == w.at && (in == w.in || in)) {
		return // older, the same again, or an enter beside an exit
	}
	isMove := w.in != in
	m.words[sort] = word{at, in, true}
	if m.in[user] == nil {
		m.in[user] = map[string]bool{}
	}
	m.in[user][key] = m.member(user, key)
	if isMove && (m.send.Has(store.SendEvent) || m.send.Has(store.SendAsReceived) && track) {
		m.events[user] = append(m.events[user], fmt.Sprint(key, " ", in))
	}
}

// member is the newest of what was said by identify and by track.
func (m *model) member(user, key string) bool {
	if !m.send.Has(store.SendAsReceived) {
		return m.words[user+" "+key].in
	}
	a, b := m.words[user+" "+key+" false"], m.words[user+" "+key+" true"]
	if !a.known || b.known && (b.at > a.at || b.at == a.at && !b.in) {
		return b.in
	}
	return a.in
}

// attribute is what the user attribute of an audience should be.
func (m *model) attribute(user, key string) (in, sent bool) {
	if m.send.Has(store.SendAsReceived) {
		w := m.words[user+" "+key+" false"]
		return w.in, true
	}
	return m.in[user][key], m.send.Has(store.SendAttribute)
}

var modelChannels = []store.Channels{
	store.SendAttribute, store.SendEvent, store.SendBoth, store.SendAsReceived, store.SendList,
	store.SendAttribute | store.SendCohort, store.SendBoth | store.SendCohort | store.SendList,
	store.SendAsReceived | store.SendCohort | store.SendList,
}

// certainFaults leave no doubt whether a request was taken, the others do.
var (
	certainFaults = []string{
		"status=503,for=30s", "status=429,retry_after=3,for=5s", "status=429,ratelimit=epoch,for=5s", "status=401,for=2m",
		"status=403,for=90s", "status=400,type=Blacklisted,for=70s", "slow=2s,for=20s", "on=cohortsync,status=409,for=2m",
	}
	uncertainFaults = []string{
		"reset,for=10s", "reset,when=after,for=10s", "hang,for=40s", "truncate,count=2", "body=html,count=2",
		"status=500,for=10s", "status=502,when=after,for=10s", "status=200,error=AttributeError,count=2",
	}
)

// TestMoEngageEndsAsTheModelSays lets random news in random order, repeated and late, pass through
// outages, restarts and an operator's hand, and compares what MoEngage holds in the end with the model.
// PERSONASYNC_TORTURE=1 does it with thousands of seeds.
func TestMoEngageEndsAsTheModelSays(t *testing.T) {
	seeds := 32
	switch {
	case os.Getenv("PERSONASYNC_TORTURE") == "1":
		seeds = 3000
	case testing.Short():
		seeds = 8
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { torture(t, seed) })
		})
	}
}

func torture(t *testing.T, seed int) {
	rnd := rand.New(rand.NewPCG(uint64(seed), 4))
	send := modelChannels[seed%len(modelChannels)]
	certain := seed/len(modelChannels)%2 == 0
	m := &model{send: send, words: map[string]word{}, events: map[string][]string{}, in: map[string]map[string]bool{}}
	s := newStation(t, modelRules(send), sandbox.Options{KeepAll: true, Strict: seed%3 == 0},
		Config{MaxDelay: time.Second, UsersPerMinute: 600, EventsPerMinute: 600, MaxRequestBytes: 2000, Concurrency: 3})
	var past []*store.Event
	for range 40 {
		switch n := rnd.IntN(12); {
		case n < 7:
			s.must(s.store.Append(context.Background(), news(rnd, m, &past)...))
		case n < 9:
			s.trouble(rnd, certain)
		case n == 9:
			s.restart()
		case n == 10:
			for _, sender := range s.senders {
				sender.Flush(nil)
			}
		default:
			s.wire.cut.Store(rnd.IntN(2) == 0)
		}
		time.Sleep(time.Duration(rnd.IntN(20_000)) * time.Millisecond)
	}
	s.wire.cut.Store(false)
	s.moengage.Heal()
	s.drain(3 * time.Hour)
	s.compare(m, certain)
	s.stop()
}

func modelRules(send store.Channels) store.Rules {
	return store.Rules{OnDelete: "forget", MessageIDs: 48 * time.Hour, Defaults: store.Policy{
		Send: send, Anonymous: store.IdentityPark, EmailOnly: store.IdentityPark, OnNull: store.NullSkip, Collapse: true,
		EnterEvent: "Audience Entered", ExitEvent: "Audience Exited", TraitEvent: "Trait Computed", ListAttribute: "segment_audiences",
	}}
}

// news makes a few events, some of them again, and tells the model.
func news(rnd *rand.Rand, m *model, past *[]*store.Event) (events []*store.Event) {
	for range 1 + rnd.IntN(8) {
		if len(*past) > 0 && rnd.IntN(4) == 0 {
			again := *(*past)[rnd.IntN(len(*past))]
			again.Received = time.Now()
			events = append(events, &again)
		} else {
			events = append(events, moved(fmt.Sprint("user-", rnd.IntN(6)), fmt.Sprint("aud", rnd.IntN(4)), rnd.IntN(2) == 0, rnd.IntN(2) == 0, rnd.IntN(200)))
		}
	}
	for _, e := range events {
		at := int(e.Time.Sub(modelStart) / time.Second)
		m.hear(e.User.ID, e.Key, e.Call == store.CallTrack, e.Flag == store.FlagIn, at)
	}
	*past = append(*past, events...)
	return events
}

// modelStart is when fake time begins; what happened, happened in the hour before.
var modelStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Hour)

func moved(user, key string, in, track bool, second int) *store.Event {
	e := &store.Event{
		Received: time.Now(), Time: modelStart.Add(time.Duration(second) * time.Second), Call: store.CallIdentify,
		User: store.Identifier{ID: user}, MessageID: fmt.Sprint(user, key, in, track, second),
		Class: store.ClassAudience, Space: "spa_1", Key: key, ComputationID: "aud_" + key, Flag: store.FlagOut,
	}
	if in {
		e.Flag = store.FlagIn
	}
	if track {
		e.Call, e.Name = store.CallTrack, "Moved"
	}
	object := fmt.Sprintf(`{%q:%v}`, key, in)
	e.Raw = []byte(`{"o":` + object + `}`)
	e.Object = store.Span{Off: 5, Len: uint32(len(object))}
	return e
}

func (s *station) trouble(rnd *rand.Rand, certain bool) {
	specs := certainFaults
	if !certain && rnd.IntN(2) == 0 {
		specs = uncertainFaults
	}
	f, err := sandbox.ParseFault(specs[rnd.IntN(len(specs))])
	s.must(err)
	s.moengage.Fail(f)
}

func (s *station) compare(m *model, certain bool) {
	for user := range m.in {
		p, _ := s.moengage.User(user)
		for key, in := range m.in[user] {
			if want, sent := m.attribute(user, key); sent && (string(p.Attributes[key]) == "true") != want {
				s.t.Errorf("%s: attribute %s is %s, want %v", user, key, p.Attributes[key], want)
			}
			if got := slices.Contains(p.Cohorts, key); m.send.Has(store.SendCohort) && got != in {
				s.t.Errorf("%s: in the cohort %s: %v, want %v", user, key, got, in)
			}
			if got := strings.Contains(string(p.Attributes["segment_audiences"]), `"`+key+`"`); m.send.Has(store.SendList) && got != in {
				s.t.Errorf("%s: the list is %s, and %s should be in it: %v", user, p.Attributes["segment_audiences"], key, in)
			}
		}
		got, repeats := eventsOf(s.t, p)
		if !slices.Equal(got, m.events[user]) {
			s.t.Errorf("%s: events\n%v, want\n%v", user, got, m.events[user])
		}
		if certain && repeats > 0 {
			s.t.Errorf("%s: %d events arrived twice, although no request was in doubt", user, repeats)
		}
	}
	for _, v := range s.moengage.Violations() {
		s.t.Errorf("violation: %+v", v)
	}
	if c := s.balanced().Changes; c.Parked+c.Held > 0 {
		s.t.Errorf("parked or held: %+v", c)
	}
}

// eventsOf returns a user's events, a repeat counted and left out. A repeat may only be of what was
// sent last: what is older was answered.
func eventsOf(t testing.TB, p sandbox.Profile) (list []string, repeats int) {
	last := ""
	for _, e := range p.Events {
		var a map[string]json.RawMessage
		if err := json.Unmarshal(e.Attributes, &a); err != nil {
			t.Fatal(err)
		}
		id := string(a["change_id"])
		if id == last {
			repeats++
			continue
		}
		last = id
		key := strings.Trim(string(a["audience_key"]), `"`)
		in := string(a[key]) == "true" || string(a["value"]) == "true"
		list = append(list, fmt.Sprint(key, " ", in))
	}
	return list, repeats
}

// Attempts are counted with the change, so that a restart after each of them does not begin anew.
func TestAttemptsAreCountedThroughRestarts(t *testing.T) {
	for _, send := range []store.Channels{store.SendAttribute, store.SendEvent} {
		synctest.Test(t, func(t *testing.T) {
			s := newStation(t, modelRules(send), sandbox.Options{},
				Config{UsersPerMinute: 600, EventsPerMinute: 600, MaxAttempts: 3, MinBackoff: time.Minute, MaxBackoff: time.Minute})
			f, err := sandbox.ParseFault("status=500")
			s.must(err)
			s.moengage.Fail(f)
			s.must(s.store.Append(context.Background(), moved("user-1", "vip", true, false, 0)))
			for end := time.Now().Add(time.Hour); s.counts().Changes.Parked == 0 && time.Now().Before(end); time.Sleep(10 * time.Second) {
				s.restart()
			}
			if n := s.moengage.Stats().Requests; n != 3 || s.balanced().Changes.Parked != 1 {
				t.Errorf("channel %d: %d requests, %+v; want the change parked after three", send, n, s.counts().Changes)
			}
			s.stop()
		})
	}
}
