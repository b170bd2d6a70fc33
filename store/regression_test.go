package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"personasync/store/domain"
	"personasync/store/internal/query"
	"personasync/store/internal/state"
)

// Each of these is named for what once broke.

func TestAComputedTraitTakesOverWhatWasForwardedBeforeIt(t *testing.T) {
	r := rules(domain.SendAttribute)
	r.Defaults.ForwardTraits = []string{"*"}
	b := open(t, r)
	b.receive(event("ann", "vip", true, 1, withTraits(`{"vip":true,"ltv":10}`)))
	b.receive(trait("ann", "ltv", 2, "ltv", "20"))
	b.receive(event("ann", "vip", true, 3, withTraits(`{"vip":true,"ltv":11}`)))
	b.drain()
	b.wantSaid("ann.vip=true ann.ltv=10 ann.ltv=20")
	if c := b.balance(); c.Changes.Held != 0 {
		t.Errorf("%+v", c.Changes)
	}
}

// withTraits gives an event a traits object of its own.
func withTraits(object string) func(*domain.Event) {
	return func(e *domain.Event) {
		e.Raw = []byte(`{"traits":` + object + `}`)
		e.Object = spanOf(e.Raw, object)
	}
}

func TestAComputationThatSendsOnlyEventsFightsForNoAttribute(t *testing.T) {
	r := rules(domain.SendEvent)
	named := policy(domain.SendAttribute)
	named.Attribute = "gold"
	r.Sections = []domain.Section{{Key: "vip", Policy: named}}
	b := open(t, r)
	b.receive(event("ann", "vip", true, 1), event("ann", "gold", true, 2))
	b.drain()
	b.wantSaid("ann.gold=true ann!Audience Entered")
}

func TestColumnsFollowTheIdThatTheirComputationGetsLater(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	early := trait("ann", "zendesk", 1, "plan", `"basic"`, "seats", "3")
	early.ComputationID = ""
	b.receive(early, trait("ann", "zendesk", 2, "plan", `"gold"`, "seats", "3"))
	b.drain()
	b.wantSaid(`ann.plan="gold" ann.seats=3`)
	if c := b.balance(); c.Changes.Held != 0 {
		t.Errorf("%+v", c.Changes)
	}
}

func TestTurningCollapseOnKeepsTheOrder(t *testing.T) {
	r := rules(domain.SendAttribute)
	r.Defaults.Collapse = false
	b := open(t, r)
	b.receive(event("ann", "vip", true, 1))
	r.Defaults.Collapse = true
	must(t, b.SetRules(t.Context(), r))
	b.receive(event("ann", "vip", false, 2))
	b.drain()
	b.wantSaid("ann.vip=true ann.vip=false")
	b.receive(event("ann", "vip", true, 3), event("ann", "vip", false, 4))
	b.drain()
	b.wantSaid("")
	b.balance()
}

func TestAHalfMadeInboxFileDoesNotStopAStart(t *testing.T) {
	onFiles(t)
	r := rules(domain.SendAttribute)
	b := open(t, r)
	b.receive(event("ann", "vip", true, 1))
	must(t, os.WriteFile(filepath.Join(b.dir, "inbox-00000002.db.new"), nil, 0o600)) // what a kill in the middle leaves
	b.reopen(r)
	b.drain()
	b.wantSaid("ann.vip=true")
}

func TestTheTraitsOfAGroupAreNotItsMembers(t *testing.T) {
	r := rules(domain.SendAttribute)
	r.Defaults.ForwardTraits = []string{"*"}
	b := open(t, r)
	b.receive(event("ann", "vip", true, 1, withTraits(`{"vip":true,"name":"Acme Inc"}`), func(e *domain.Event) { e.Call = domain.CallGroup }))
	b.drain()
	b.wantSaid("ann.vip=true")
}

func TestAnOldPassThroughEventIsNotSent(t *testing.T) {
	r := rules(domain.SendAsReceived)
	r.Defaults.MaxEventAge = time.Hour
	b := open(t, r)
	old := event("ann", "step", true, 1, passThrough("a"))
	old.Time = old.Received.Add(-2 * time.Hour)
	b.receive(old, event("ann", "step", true, 1, passThrough("b")))
	b.drain()
	b.wantSaid("ann!Step")
	b.balance()
}

func TestAPassThroughEventOfATraitKeepsItsValue(t *testing.T) {
	b := open(t, rules(domain.SendAsReceived))
	e := trait("ann", "score", 1, "score", "5")
	passThrough("a")(e)
	silent := event("ann", "step", true, 1, passThrough("b"))
	silent.Flag = domain.FlagSilent
	b.receive(e, silent)
	page, _, err := b.Changes(domain.OutboxFilter{})
	must(t, err)
	if len(page) != 2 || page[0].Transition != "value" || page[1].Transition != "" || string(page[1].Value) != "null" {
		t.Errorf("%+v", page)
	}
	info, err := b.User("ann")
	must(t, err)
	if string(info.Traits["score"]) != "5" || len(info.Memberships) != 0 {
		t.Errorf("%+v", info)
	}
	b.drain()
	b.wantSaid("ann!Step ann!Step")
}

func TestARequestThatNeverLeftCountsForNoLimit(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 1))
	f := b.take()
	must(t, b.Settle(t.Context(), domain.Settlement{Lease: f.ID, At: noon, Results: make([]domain.UserResult, 1), NotSent: true}))
	f = b.take()
	sent, err := b.Sent(noon)
	must(t, err)
	if len(sent) != 1 || sent[0].Users != 1 || sent[0].Events != 1 {
		t.Errorf("the meters see %+v after one request that never left and one that is under way", sent)
	}
	b.settle(f, domain.Delivered)
}

func TestAStartWithoutFlightsWritesNothing(t *testing.T) {
	onFiles(t)
	r := rules(domain.SendBoth)
	b := open(t, r)
	b.receive(event("ann", "vip", true, 1))
	version := func() (id int) {
		must(t, b.db.DB().View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }))
		return id
	}
	before := version()
	b.reopen(r)
	if after := version(); after != before {
		t.Errorf("transaction %d became %d: a full disk would stop the start", before, after)
	}
}

func TestWhyAChangeWaitsIsKeptWithoutAnAttempt(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 1))
	f := b.take()
	why := domain.Result{Verdict: domain.Untried, Reason: "http_401", Sentence: "MoEngage does not accept the credentials"}
	must(t, b.Settle(t.Context(), domain.Settlement{Lease: f.ID, At: noon, Results: []domain.UserResult{{Attributes: why, Event: why}}}))
	info, err := b.User("ann")
	must(t, err)
	for _, c := range info.Pending {
		if c.Reason != "http_401" || c.Attempts != 0 || c.NextAttempt != "" {
			t.Errorf("%+v", c)
		}
	}
	b.drain()
	b.wantSaid("ann.vip=true ann!Audience Entered")
}

func TestDeliveredMeansThatNothingIsOnTheWay(t *testing.T) {
	b := open(t, rules(domain.SendEvent))
	b.receive(event("ann", "vip", true, 1), event("bob", "vip", false, 1))
	delivered := func(user string) bool {
		info, err := b.User(user)
		must(t, err)
		if info.Memberships[0].Event == "" {
			t.Errorf("the event that set %s's membership is not named: %+v", user, info.Memberships)
		}
		return info.Memberships[0].Delivered
	}
	if delivered("ann") || !delivered("bob") {
		t.Error("before sending: ann's enter waits, bob's exit needs no telling")
	}
	b.drain()
	if !delivered("ann") {
		t.Error("after sending: ann's enter was delivered")
	}
}

func TestADamagedFlightStopsNoStart(t *testing.T) {
	r := rules(domain.SendAttribute)
	b := open(t, r)
	b.receive(event("ann", "vip", true, 1))
	f := b.take()
	must(t, b.writer.Do(t.Context(), func(x *state.Tx) error {
		flights := x.Bucket(state.BucketLeases)
		frame := bytes.Clone(flights.Get(state.NumberKey(f.ID)))
		frame[len(frame)-1] ^= 1
		return flights.Put(state.NumberKey(f.ID), frame)
	}, nil))
	b.reopen(r)
	b.drain()
	b.wantSaid("ann.vip=true")
}

func TestStatsInPartsAreTheStats(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 1), event("bob", "vip", true, 1, func(e *domain.Event) { e.Fault = "undetermined" }), event("cid", "gold", true, 2))
	whole, err := b.Stats(domain.OutboxFilter{})
	must(t, err)
	want := []domain.StatLine{
		{State: "parked", Kind: "received", Computation: "vip", Reason: "undetermined", Cause: "undetermined", Count: 1},
		{State: "pending", Kind: "attribute", Computation: "gold", Count: 1}, {State: "pending", Kind: "attribute", Computation: "vip", Count: 1},
		{State: "pending", Kind: "event", Computation: "gold", Count: 1}, {State: "pending", Kind: "event", Computation: "vip", Count: 1},
	}
	if len(whole) != len(want) {
		t.Fatalf("%+v", whole)
	}
	for i := range want {
		if len(whole[i].Samples) != 1 {
			t.Errorf("%+v has no sample", whole[i])
		}
		if whole[i].First == "" || whole[i].First != whole[i].Last {
			t.Errorf("%+v does not say when", whole[i])
		}
		whole[i].First, whole[i].Last = "", ""
		if whole[i].Samples = nil; !reflect.DeepEqual(whole[i], want[i]) {
			t.Errorf("%+v, want %+v", whole[i], want[i])
		}
	}
}

func TestSamplesOfACauseAreAFew(t *testing.T) {
	var all []domain.StatLine
	for _, id := range []string{"1", "2", "3", "4", "5"} {
		all = query.MergeStats(all, []domain.StatLine{{State: "parked", Reason: "r", Count: 1, Samples: []string{id}}})
	}
	if want := (domain.StatLine{State: "parked", Reason: "r", Count: 5, Samples: []string{"1", "2", "3"}}); len(all) != 1 || !reflect.DeepEqual(all[0], want) {
		t.Errorf("%+v, want %+v", all, want)
	}
}

func TestAClosedStoreSaysSoToReaders(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 0))
	must(t, b.Close())
	if _, err := b.Sent(noon); !errors.Is(err, domain.ErrClosed) {
		t.Errorf("what left: %v", err)
	}
	if _, err := b.Counts(); !errors.Is(err, domain.ErrClosed) {
		t.Errorf("the counts: %v", err)
	}
}
