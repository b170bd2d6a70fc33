package store

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/postgres/pgtest"
	"personasync/store/testdir"
)

func TestMain(m *testing.M) {
	testdir.InMemory()
	if onPostgres {
		if _, err := pgtest.Together(); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// noon is when everything in these tests is received.
var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// policy is the default policy of the tests: what the agent ships with, but for the targets.
func policy(send domain.SendMethods) domain.Policy {
	return domain.Policy{
		Send: send, Anonymous: domain.IdentityPark, EmailOnly: domain.IdentityPark, OnNull: domain.NullSkip, Collapse: true,
		EnterEvent: "Audience Entered", ExitEvent: "Audience Exited", TraitEvent: "Trait Computed", ListAttribute: "segment_audiences",
	}
}

func rules(send domain.SendMethods) domain.Rules {
	return domain.Rules{Defaults: policy(send), OnDelete: "forget", MessageIDs: 48 * time.Hour, Journal: true}
}

// bench is a store with a hand on everything around it.
type bench struct {
	testing.TB
	*Store
	dir      string
	shared   *Shared              // on PostgreSQL
	postgres bool                 // also where the other tests are on files
	sent     []domain.UserChanges // what was delivered, in order
}

func open(t testing.TB, r domain.Rules) *bench {
	t.Helper()
	b := &bench{TB: t, dir: t.TempDir()}
	b.reopen(r)
	t.Cleanup(func() { b.Store.Close() })
	return b
}

func (b *bench) reopen(r domain.Rules) {
	b.Helper()
	if b.Store != nil {
		must(b, b.Store.Close())
	}
	s, err := b.openStore(Options{Log: slog.New(slog.DiscardHandler), Journal: 400 * state.Day})
	must(b, err)
	b.Store = s
	s.upkeep.now = func() time.Time { return noon.Add(31 * time.Minute) }
	must(b, s.SetRules(context.Background(), r))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// receive appends events and waits until they are applied.
func (b *bench) receive(events ...*domain.Event) {
	b.Helper()
	must(b, b.Append(context.Background(), events...))
	must(b, b.Applied(context.Background()))
}

// take takes what is due, whatever its schedule.
func (b *bench) take() *domain.Lease {
	b.Helper()
	f, _, err := b.Take(context.Background(), everything(noon.Add(time.Hour)))
	must(b, err)
	return f
}

func everything(now time.Time) domain.TakeOptions {
	return domain.TakeOptions{
		Endpoint: domain.EndpointTransition, Now: now, MaxUsers: 1000, MaxEvents: 1000,
		Due: func(string) time.Time { return now },
		Fit: func(domain.UserChanges) bool { return true },
	}
}

// onCohorts is everything on the other endpoint.
func onCohorts(now time.Time) domain.TakeOptions {
	o := everything(now)
	o.Endpoint = domain.EndpointCohort
	return o
}

func (b *bench) settle(f *domain.Lease, v domain.Verdict) {
	b.Helper()
	o := domain.Settlement{Lease: f.ID, At: noon.Add(time.Hour), Results: make([]domain.UserResult, len(f.Users))}
	r := domain.Result{Verdict: v}
	if v != domain.Delivered && v != domain.Untried {
		r.Reason, r.Sentence = "test", "as the test says"
	}
	for i := range o.Results {
		o.Results[i] = domain.UserResult{Attributes: r, Event: r}
	}
	must(b, b.Settle(context.Background(), o))
	if v == domain.Delivered {
		b.sent = append(b.sent, f.Users...)
	}
}

// drain delivers everything there is.
func (b *bench) drain() {
	b.Helper()
	for f := b.take(); f != nil; f = b.take() {
		b.settle(f, domain.Delivered)
	}
}

// said tells what was delivered so far as text, one word per attribute or event, and starts afresh.
func (b *bench) said() string {
	var words []string
	for _, d := range b.sent {
		for _, a := range d.Attributes {
			words = append(words, fmt.Sprintf("%s.%s=%s", d.User, a.Name, a.Value))
		}
		if d.Event != nil {
			words = append(words, fmt.Sprintf("%s!%s", d.User, d.Event.Name))
		}
	}
	b.sent = nil
	return strings.Join(words, " ")
}

func (b *bench) wantSaid(want string) {
	b.Helper()
	if got := b.said(); got != want {
		b.Errorf("MoEngage was told %q, want %q", got, want)
	}
}

// balance checks both laws of the ledger, against the file and against a recount.
func (b *bench) balance() domain.Counts {
	b.Helper()
	c, err := b.Counts()
	must(b, err)
	e := c.Events
	if sum := e.Sum(); e.Accepted != sum {
		b.Errorf("events do not balance: accepted %d, the terms make %d: %+v", e.Accepted, sum, e)
	}
	h := c.Changes
	if sum := h.Sum(); h.Created != sum {
		b.Errorf("changes do not balance: created %d, the terms make %d: %+v", h.Created, sum, h)
	}
	lines, err := b.Stats(domain.OutboxFilter{})
	must(b, err)
	counted := map[string]uint64{}
	for _, l := range lines {
		counted[l.State] += l.Count
	}
	if counted["pending"] != h.Pending || counted["held"] != h.Held || counted["parked"] != h.Parked+e.Parked {
		b.Errorf("recount differs: %v, ledger %+v %+v", counted, h, e)
	}
	return c
}

// event is an audience event; its options make it something else.
func event(user, key string, in bool, minute int, options ...func(*domain.Event)) *domain.Event {
	at := noon.Add(time.Duration(minute) * time.Minute)
	e := &domain.Event{
		Received: noon.Add(30 * time.Minute), Time: at, Call: domain.CallIdentify, User: domain.Identifier{ID: user},
		MessageID: fmt.Sprintf("m-%s-%s-%v-%d", user, key, in, minute),
		Class:     domain.ClassAudience, Space: "spa_1", Key: key, ComputationID: "aud_" + key, Flag: domain.FlagOut,
	}
	if in {
		e.Flag = domain.FlagIn
	}
	body := map[string]any{key: in}
	for _, o := range options {
		o(e)
	}
	if e.Raw == nil {
		e.Raw, _ = json.Marshal(map[string]any{"traits": body})
		object, _ := json.Marshal(body)
		e.Object = spanOf(e.Raw, string(object))
	}
	return e
}

func spanOf(raw []byte, part string) domain.Span {
	return domain.Span{Off: uint32(strings.Index(string(raw), part)), Len: uint32(len(part))}
}

func asTrack(name string) func(*domain.Event) {
	return func(e *domain.Event) { e.Call, e.Name, e.MessageID = domain.CallTrack, name, e.MessageID+"-t" }
}

func passThrough(message string) func(*domain.Event) {
	return func(e *domain.Event) {
		e.Call, e.Name, e.PassThrough, e.MessageID = domain.CallTrack, "Step", true, message
	}
}

// trait is a computed trait, or a SQL row when it has several columns.
func trait(user, key string, minute int, columns ...string) *domain.Event {
	e := event(user, key, false, minute)
	e.Class, e.Flag, e.ComputationID = domain.ClassTrait, domain.FlagSilent, "tra_"+key
	var members []string
	for i := 0; i < len(columns); i += 2 {
		members = append(members, fmt.Sprintf("%q:%s", columns[i], columns[i+1]))
	}
	object := "{" + strings.Join(members, ",") + "}"
	e.Raw = []byte(`{"traits":` + object + `}`)
	e.Object = spanOf(e.Raw, object)
	for i := 0; i < len(columns); i += 2 {
		name := fmt.Sprintf("%q:", columns[i])
		at := strings.Index(string(e.Raw), name) + len(name)
		e.Columns = append(e.Columns, domain.Column{Name: columns[i], Value: domain.Span{Off: uint32(at), Len: uint32(len(columns[i+1]))}})
	}
	return e
}

func TestATransitionIsSentOnceOnTheChannelsOfItsPolicy(t *testing.T) {
	for _, tc := range []struct {
		name string
		send domain.SendMethods
		want string
	}{
		{"attribute", domain.SendAttribute, "ann.vip=true"},
		{"event", domain.SendEvent, "ann!Audience Entered"},
		{"both: the attribute first", domain.SendBoth, "ann.vip=true ann!Audience Entered"},
		{"none", domain.SendNone, ""},
		{"as received: each call for itself", domain.SendAsReceived, "ann.vip=true ann!Entered The VIPs"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := open(t, rules(tc.send))
			enter, track := event("ann", "vip", true, 1), event("ann", "vip", true, 2, asTrack("Entered The VIPs"))
			b.receive(enter, enter, track)
			b.receive(enter, track)
			b.drain()
			b.wantSaid(tc.want)
			b.balance()
		})
	}
}

func TestOnlyTheNetDifferenceOfAnAttributeIsSent(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1), event("ann", "vip", false, 2))
	b.drain()
	b.wantSaid("") // entered and left before MoEngage heard of it
	b.receive(event("ann", "vip", true, 3))
	b.drain()
	b.wantSaid("ann.vip=true")
	b.receive(event("ann", "vip", false, 4), event("ann", "vip", true, 5))
	b.drain()
	b.wantSaid("")
	c := b.balance()
	if c.Changes.Superseded != 2 || c.Changes.Cancelled != 2 || c.Changes.Delivered != 1 {
		t.Errorf("ledger %+v", c.Changes)
	}
}

func TestEventsAreNeverCollapsed(t *testing.T) {
	b := open(t, rules(domain.SendEvent))
	b.receive(event("ann", "vip", true, 1), event("ann", "vip", false, 2), event("ann", "vip", true, 3))
	b.drain()
	b.wantSaid("ann!Audience Entered ann!Audience Exited ann!Audience Entered")
}

func TestTheNewestWordWinsInEveryOrderOfArrival(t *testing.T) {
	costly(t, manyStores)
	words := []*domain.Event{
		event("ann", "vip", true, 1), event("ann", "vip", false, 2), event("ann", "vip", true, 3),
		event("ann", "vip", false, 4), event("ann", "vip", true, 4), // one moment: the exit wins
	}
	for _, order := range [][]int{{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {2, 4, 0, 3, 1}, {4, 3, 4, 3, 0}, {3, 4, 0, 1, 2}} {
		b := open(t, rules(domain.SendAttribute))
		for _, i := range order {
			b.receive(words[i])
			b.drain()
		}
		info, err := b.User("ann")
		must(t, err)
		if len(info.Memberships) != 1 || info.Memberships[0].In {
			t.Errorf("order %v: %+v", order, info.Memberships)
		}
		b.balance()
	}
}

// Between values of one moment the greatest message wins, those that say the same taken together: else
// it would matter which of them came first.
func TestValuesOfOneMomentDoNotDependOnTheirOrder(t *testing.T) {
	costly(t, manyStores)
	said := func(message, value string) *domain.Event {
		e := trait("ann", "spent", 1, "spent", value)
		e.MessageID = message
		return e
	}
	all := []*domain.Event{said("a", "1"), said("b", "2"), said("c", "1")}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		b := open(t, rules(domain.SendAttribute))
		for _, i := range order {
			b.receive(all[i])
		}
		b.drain()
		if got := b.told("spent", "ann", afterwards); got != "spent=1" {
			t.Errorf("in the order %v: %s", order, got)
		}
	}
}

func TestAnExitOfSomebodyNeverSeenIsRecordedAndNotSent(t *testing.T) {
	r := rules(domain.SendBoth)
	b := open(t, r)
	b.receive(event("ann", "vip", false, 5), event("ann", "vip", true, 1))
	b.drain()
	b.wantSaid("")
	if c := b.balance(); c.Events.Unchanged != 1 || c.Events.Stale != 1 {
		t.Errorf("ledger %+v", c.Events)
	}
	r.Defaults.UnknownExit = true
	b.reopen(r)
	b.receive(event("bob", "vip", false, 5))
	b.drain()
	b.wantSaid("bob.vip=false bob!Audience Exited")
}

func TestANewValueWhileOneIsInFlight(t *testing.T) {
	for _, tc := range []struct {
		name    string
		verdict domain.Verdict
		want    string
	}{
		{"delivered: the new one differs and goes", domain.Delivered, "ann.vip=false"},
		{"refused for certain: nothing was ever told, nothing to take back", domain.Refused, ""},
		{"uncertain: the wanted value goes whatever it is", domain.Uncertain, "ann.vip=false"},
		{"refused for good: the new one stands in", domain.Parked, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := open(t, rules(domain.SendAttribute))
			b.receive(event("ann", "vip", true, 1))
			f := b.take()
			b.receive(event("ann", "vip", false, 2))
			if again := b.take(); again != nil {
				t.Fatalf("a user in flight was taken again: %+v", again)
			}
			b.settle(f, tc.verdict)
			b.said()
			b.drain()
			b.wantSaid(tc.want)
			if c := b.balance(); c.Changes.Pending != 0 || c.Changes.Parked != 0 {
				t.Errorf("left over: %+v", c.Changes)
			}
		})
	}
}

// TestAChangeOvertakenInFlightNamesItsSuccessor, which outbox show and the refusal of a retry tell: not when it
// was delivered, because then nothing took its place.
func TestAChangeOvertakenInFlightNamesItsSuccessor(t *testing.T) {
	for verdict, state := range map[domain.Verdict]domain.State{domain.Refused: domain.StateSuperseded, domain.Uncertain: domain.StateSuperseded, domain.Delivered: domain.StateDelivered} {
		b := open(t, rules(domain.SendAttribute))
		b.receive(event("ann", "vip", true, 1))
		first := b.ids(domain.StatePending)[0]
		f := b.take()
		b.receive(event("ann", "vip", false, 2))
		b.settle(f, verdict)
		c, _, err := b.Change(first)
		must(t, err)
		if c.State != state || c.Successor.IsZero() != (state == domain.StateDelivered) {
			t.Errorf("after verdict %v it is %v with the successor %v", verdict, c.State, c.Successor)
		}
		if !c.Successor.IsZero() {
			if newer, _, err := b.Change(c.Successor); err != nil || newer.User != "ann" || string(newer.Value) != "false" {
				t.Errorf("after verdict %v its successor is %+v, %v", verdict, newer, err)
			}
		}
		b.balance()
	}
}

func TestAFlightFoundAtStartIsUncertain(t *testing.T) {
	r := rules(domain.SendBoth)
	b := open(t, r)
	b.receive(event("ann", "vip", true, 1))
	b.take()
	b.reopen(r)
	b.receive(event("ann", "vip", false, 2))
	f, _, err := b.Take(context.Background(), everything(time.Now().Add(time.Minute)))
	must(t, err)
	if f == nil || string(f.Users[0].Attributes[0].Value) != "false" || f.Users[0].Event.Attempts != 1 {
		t.Fatalf("after a crash: %+v", f)
	}
}

func TestAFailureMakesThatUserWaitAndNobodyElse(t *testing.T) {
	b := open(t, rules(domain.SendEvent))
	b.receive(event("ann", "vip", true, 1), event("bob", "vip", true, 1))
	f := b.take()
	later := noon.Add(2 * time.Hour)
	o := domain.Settlement{Lease: f.ID, At: noon.Add(time.Hour), Results: make([]domain.UserResult, 2)}
	for i, d := range f.Users {
		o.Results[i].Event.Verdict = domain.Delivered
		if d.User == "ann" {
			o.Results[i].Event = domain.Result{Verdict: domain.Refused, RetryAt: later, Reason: "http_503"}
		}
	}
	must(t, b.Settle(context.Background(), o))
	b.receive(event("ann", "vip", false, 2), event("bob", "vip", false, 2))
	b.drain()
	b.wantSaid("bob!Audience Exited")
	f, next, err := b.Take(context.Background(), everything(later.Add(-time.Second)))
	must(t, err)
	if f != nil || !next.Retry.Equal(later) {
		t.Errorf("took %+v before the retry time; next %+v", f, next)
	}
	for f, _, err = b.Take(context.Background(), everything(later)); f != nil && err == nil; f, _, err = b.Take(context.Background(), everything(later)) {
		b.settle(f, domain.Delivered)
	}
	must(t, err)
	b.wantSaid("ann!Audience Entered ann!Audience Exited")
	b.balance()
}

func TestAClosedJobHoldsBackOnlyItsOwn(t *testing.T) {
	r := rules(domain.SendEvent)
	nightly := policy(domain.SendEvent)
	nightly.Job = "slow"
	r.Sections = []domain.Section{{Key: "slow", Policy: nightly}}
	b := open(t, r)
	b.receive(event("ann", "slow", true, 1), event("ann", "fast", true, 2), event("bob", "slow", true, 3))
	o := everything(noon.Add(time.Hour))
	o.Due = func(job string) time.Time {
		if job == "slow" {
			return time.Time{}
		}
		return o.Now
	}
	f, next, err := b.Take(context.Background(), o)
	must(t, err)
	if len(f.Users) != 1 || f.Users[0].Event.Computation != "fast" || next.Jobs["slow"].IsZero() {
		t.Fatalf("took %+v, next %+v", f, next)
	}
	b.settle(f, domain.Delivered)
	b.drain()
	b.wantSaid("ann!Audience Entered bob!Audience Entered ann!Audience Entered")
}

func TestARemovedScheduleStrandsNothing(t *testing.T) {
	r := rules(domain.SendEvent)
	nightly := policy(domain.SendEvent)
	nightly.Job = "slow"
	r.Sections = []domain.Section{{Key: "slow", Policy: nightly}}
	b := open(t, r)
	b.receive(event("ann", "slow", true, 1))
	b.reopen(rules(domain.SendEvent))
	must(t, b.Applied(context.Background()))
	o := everything(noon.Add(time.Hour))
	o.Due = func(job string) time.Time {
		if job != "" {
			t.Errorf("asked about job %q, which is gone", job)
		}
		return o.Now
	}
	f, _, err := b.Take(context.Background(), o)
	must(t, err)
	if f == nil {
		t.Fatal("what waited for a schedule that is gone never leaves")
	}
}

func TestARefusalForGoodParksTheChange(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 1))
	b.settle(b.take(), domain.Parked)
	if c := b.balance(); c.Changes.Parked != 2 || c.Changes.Pending != 0 {
		t.Errorf("%+v", c.Changes)
	}
	b.receive(event("ann", "vip", false, 2)) // supersedes the parked attribute, not the parked event
	b.drain()
	if c := b.balance(); c.Changes.Parked != 1 || c.Changes.Superseded != 1 {
		t.Errorf("%+v", c.Changes)
	}
	page, _, err := b.Changes(domain.OutboxFilter{State: domain.StateParked, User: "ann"})
	must(t, err)
	if len(page) != 1 || page[0].Reason != "test" || page[0].Kind != "event" {
		t.Errorf("%+v", page)
	}
}

func TestSQLRowsAreAsManyValuesAsColumns(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(trait("ann", "zendesk", 1, "tickets", "3", "rating", "4.60"))
	b.drain()
	b.wantSaid("ann.tickets=3 ann.rating=4.60")
	b.receive(trait("ann", "zendesk", 2, "tickets", "3", "rating", "4.7"))
	b.drain()
	b.wantSaid("ann.rating=4.7")
}

func TestATraitThatBecameNull(t *testing.T) {
	for policyName, want := range map[domain.NullPolicy]string{domain.NullSkip: "", domain.NullUnset: "ann.ltv=null", domain.NullEmpty: `ann.ltv=""`} {
		r := rules(domain.SendAttribute)
		r.Defaults.OnNull = policyName
		b := open(t, r)
		b.receive(trait("ann", "ltv", 0, "ltv", "null"))
		b.drain()
		b.wantSaid("")
		b.receive(trait("ann", "ltv", 1, "ltv", "12.50"))
		b.drain()
		b.wantSaid("ann.ltv=12.50")
		b.receive(trait("ann", "ltv", 2, "ltv", "null"))
		b.drain()
		b.wantSaid(want)
		b.balance()
	}
}

func TestPassThroughEventsGoOncePerMessage(t *testing.T) {
	r := rules(domain.SendAsReceived)
	b := open(t, r)
	b.receive(event("ann", "step", true, 1, passThrough("a")), event("ann", "step", true, 1, passThrough("a")), event("ann", "step", true, 2, passThrough("b")))
	b.reopen(r)
	b.receive(event("ann", "step", true, 1, passThrough("b")))
	old := event("ann", "step", true, 1, passThrough("c"))
	old.Time = old.Received.Add(-49 * time.Hour)
	b.receive(old)
	b.drain()
	b.wantSaid("ann!Step ann!Step")
	if c := b.balance(); c.Events.Duplicate != 2 || c.Events.Stale != 1 {
		t.Errorf("%+v", c.Events)
	}
}

func TestWhoAnEventIsAbout(t *testing.T) {
	costly(t, manyStores)
	anonymous := func(e *domain.Event) { e.User, e.Anonymous = domain.Identifier{}, domain.Identifier{ID: "anon-1"} }
	email := func(e *domain.Event) { e.User, e.Email = domain.Identifier{}, domain.Identifier{ID: "a@example.com"} }
	use := rules(domain.SendAttribute)
	use.Defaults.Anonymous, use.Defaults.EmailOnly = domain.IdentityUse, domain.IdentityUse
	ignore := rules(domain.SendAttribute)
	ignore.Defaults.Anonymous, ignore.Defaults.EmailOnly = domain.IdentityIgnore, domain.IdentityIgnore
	for _, tc := range []struct {
		name   string
		rules  domain.Rules
		option func(*domain.Event)
		said   string
		reason string
	}{
		{"anonymous is parked", rules(domain.SendAttribute), anonymous, "", "anonymous"},
		{"anonymous is used when told so", use, anonymous, "anon-1.vip=true", ""},
		{"anonymous is ignored when told so", ignore, anonymous, "", ""},
		{"e-mail only is parked", rules(domain.SendAttribute), email, "", "email_only"},
		{"e-mail only is used when told so", use, email, "a@example.com.vip=true", ""},
		{"an id that MoEngage blocks is parked", rules(domain.SendAttribute), func(e *domain.Event) { e.User = domain.Identifier{ID: "null", Fault: "id_blocked"} }, "", "id_blocked"},
		{"nobody at all is parked", rules(domain.SendAttribute), func(e *domain.Event) { e.User = domain.Identifier{} }, "", "no_identifier"},
		{"a fault of the door is parked", rules(domain.SendAttribute), func(e *domain.Event) { e.Fault, e.Sentence = "undetermined", "no flag" }, "", "undetermined"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := open(t, tc.rules)
			b.receive(event("ann", "vip", true, 1, tc.option))
			b.drain()
			b.wantSaid(tc.said)
			page, _, err := b.Changes(domain.OutboxFilter{State: domain.StateParked})
			must(t, err)
			switch {
			case tc.reason == "" && len(page) == 0:
			case len(page) == 1 && page[0].Reason == tc.reason && page[0].Kind == "received":
			default:
				t.Errorf("parked: %+v", page)
			}
			b.balance()
		})
	}
}

func TestADeleteForgetsAndLateNewsDoesNotResurrect(t *testing.T) {
	r := rules(domain.SendBoth)
	b := open(t, r)
	b.receive(event("ann", "vip", true, 1), event("bob", "vip", true, 1))
	b.drain()
	b.said()
	b.receive(event("ann", "other", true, 2), event("ann", "vip", true, 3, func(e *domain.Event) { e.Fault, e.Sentence = "undetermined", "no flag" }))
	b.receive(&domain.Event{Received: noon.Add(30 * time.Minute), Time: noon, Call: domain.CallDelete, User: domain.Identifier{ID: "ann"}, MessageID: "d", Raw: []byte(`{}`)})
	if _, err := b.User("ann"); err != domain.ErrNotFound {
		t.Errorf("ann is still there: %v", err)
	}
	b.receive(event("ann", "vip", true, 5)) // from before the delete was received
	b.drain()
	b.wantSaid("")
	afresh := event("ann", "vip", true, 31)
	afresh.Received = noon.Add(40 * time.Minute)
	b.receive(afresh)
	b.drain()
	b.wantSaid("ann.vip=true ann!Audience Entered")
	c := b.balance()
	if c.Changes.Forgotten != 2 || c.Users != 2 || c.Events.Discarded != 1 {
		t.Errorf("%+v %+v users %d", c.Events, c.Changes, c.Users)
	}
	list, err := b.Computations()
	must(t, err)
	if list[0].Key != "other" || list[0].Members != 0 || list[1].Members != 2 {
		t.Errorf("%+v", list)
	}
}

func TestTwoComputationsOfOneNameDoNotFight(t *testing.T) {
	r := rules(domain.SendAttribute)
	b := open(t, r)
	second := event("ann", "vip", false, 2, func(e *domain.Event) { e.ComputationID, e.Flag = "aud_second", domain.FlagIn })
	b.receive(event("ann", "vip", true, 1), second)
	b.drain()
	b.wantSaid("ann.vip=true")
	page, _, err := b.Changes(domain.OutboxFilter{State: domain.StateHeld})
	must(t, err)
	if len(page) != 1 || page[0].Reason != "key_conflict" {
		t.Fatalf("%+v", page)
	}
	named := policy(domain.SendAttribute)
	named.Attribute = "vip_second"
	r.Sections = []domain.Section{{ID: "aud_second", Policy: named}}
	b.reopen(r)
	must(t, b.Applied(context.Background()))
	b.drain()
	b.wantSaid("ann.vip_second=true")
	b.balance()
}

func TestAKeyAloneTakesTheFirstIdThatComes(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	keyOnly := func(e *domain.Event) { e.Space, e.ComputationID = "", "" }
	b.receive(event("ann", "vip", true, 1, keyOnly), event("ann", "vip", false, 2), event("ann", "vip", true, 3, keyOnly))
	b.drain()
	b.wantSaid("ann.vip=true")
	list, err := b.Computations()
	must(t, err)
	if len(list) != 1 || list[0].ID != "aud_vip" || list[0].Space != "spa_1" {
		t.Errorf("%+v", list)
	}
	b.receive(event("ann", "vip", false, 4, func(e *domain.Event) { e.Space = "spa_2" }))
	b.receive(event("ann", "vip", false, 5, keyOnly))
	page, _, err := b.Changes(domain.OutboxFilter{State: domain.StateParked})
	must(t, err)
	if len(page) != 1 || page[0].Reason != "ambiguous_key" {
		t.Errorf("%+v", page)
	}
}

func TestForwardedTraitsTravelOnceWithTheUser(t *testing.T) {
	r := rules(domain.SendAttribute)
	r.Defaults.ForwardTraits = []string{"plan"}
	b := open(t, r)
	plan := func(v string) func(*domain.Event) {
		return func(e *domain.Event) {
			object := `{"vip":true,"plan":` + v + `,"email":"a@example.com"}`
			e.Raw = []byte(`{"traits":` + object + `}`)
			e.Object = spanOf(e.Raw, object)
		}
	}
	b.receive(event("ann", "vip", true, 1, plan(`"gold"`)))
	b.drain()
	b.wantSaid(`ann.vip=true ann.plan="gold"`)
	b.receive(event("ann", "vip", true, 2, plan(`"gold"`)), event("ann", "vip", true, 3, plan(`"basic"`)))
	b.drain()
	b.wantSaid(`ann.plan="basic"`)
	b.balance()
}

func TestWithoutCollapseEveryValueIsSentInOrder(t *testing.T) {
	r := rules(domain.SendBoth)
	r.Defaults.Collapse = false
	b := open(t, r)
	b.receive(event("ann", "vip", true, 1), event("ann", "vip", false, 2))
	b.drain()
	b.wantSaid("ann.vip=true ann!Audience Entered ann.vip=false ann!Audience Exited")
	b.balance()
}

func TestSinceIsWhenTheMembershipBecameWhatItIs(t *testing.T) {
	b := open(t, rules(domain.SendNone))
	b.receive(event("ann", "vip", true, 1), event("ann", "vip", true, 5), event("ann", "vip", false, 3))
	page, _, err := b.Members("vip", "", 0)
	must(t, err)
	if want := (domain.MemberInfo{User: "ann", Since: domain.Timestamp(noon.Add(time.Minute))}); len(page) != 1 || page[0] != want {
		t.Errorf("members %+v, want %+v", page, want)
	}
	if c := b.balance(); c.Events.Stale != 1 || c.Events.Unchanged != 1 {
		t.Errorf("%+v", c.Events)
	}
}

func TestMembersPageInOrderWithoutGapsOrRepeats(t *testing.T) {
	b := open(t, rules(domain.SendNone))
	var events []*domain.Event
	for i := range 250 {
		events = append(events, event(fmt.Sprint("user", i), "vip", i%5 != 0, 1), event(fmt.Sprint("user", i), "gold", true, 1))
	}
	b.receive(events...)
	seen := map[string]bool{}
	for after, more := "", true; more; {
		page, m, err := b.Members("vip", after, 7)
		must(t, err)
		for _, member := range page {
			if seen[member.User] {
				t.Fatalf("%s is listed twice", member.User)
			}
			seen[member.User] = true
			after = member.User
		}
		more = m
	}
	if len(seen) != 200 {
		t.Errorf("%d members listed, want 200", len(seen))
	}
	if _, _, err := b.Members("nobody", "", 7); err != domain.ErrNotFound {
		t.Errorf("an unknown key: %v", err)
	}
}

func TestRetentionRemovesWhatIsOldAndCountsWhatWasParked(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.SetRetention(Options{Delivered: time.Hour, Parked: 24 * time.Hour})
	b.receive(event("ann", "vip", true, 1), event("bob", "vip", true, 2, func(e *domain.Event) { e.Fault = "undetermined" }))
	b.drain()
	more, err := b.Prune(t.Context(), noon.Add(90*time.Minute)) // delivered at 13:00
	must(t, err)
	info, err := b.User("ann")
	must(t, err)
	if more || len(info.History) != 2 {
		t.Errorf("pruned too early: %+v", info)
	}
	_, err = b.Prune(t.Context(), noon.Add(48*time.Hour))
	must(t, err)
	info, err = b.User("ann")
	must(t, err)
	if len(info.History) != 0 || len(info.Memberships) != 1 {
		t.Errorf("%+v", info)
	}
	if c := b.balance(); c.Events.Discarded != 1 || c.Changes.Delivered != 2 {
		t.Errorf("%+v", c)
	}
}

func TestListingsPageAndUserShowsTheChain(t *testing.T) {
	b := open(t, rules(domain.SendEvent))
	var events []*domain.Event
	for i := range 25 {
		events = append(events, event("ann", "vip", i%2 == 0, i))
	}
	b.receive(events...)
	var all []string
	for f, more := (domain.OutboxFilter{Limit: 10}), true; more; more = f.Cursor != "" {
		page, next, err := b.Changes(f)
		must(t, err)
		for _, c := range page {
			all = append(all, c.ID)
		}
		f.Cursor = next
	}
	if _, _, err := b.Changes(domain.OutboxFilter{Cursor: "zzz"}); err != query.ErrBadCursor {
		t.Errorf("a cursor of nowhere: %v", err)
	}
	if len(all) != 25 {
		t.Errorf("%d changes listed", len(all))
	}
	b.drain()
	info, err := b.User("ann")
	must(t, err)
	if len(info.History) != 25 || len(info.Pending) != 0 || info.History[0].ID != all[24] {
		t.Errorf("history %d, pending %d", len(info.History), len(info.Pending))
	}
	id, err := domain.ParseID(all[3])
	must(t, err)
	ch, raw, err := b.Change(id)
	must(t, err)
	if ch.State != domain.StateDelivered || !strings.Contains(string(raw), "vip") {
		t.Errorf("%+v %s", ch, raw)
	}
	more, err := b.Prune(context.Background(), noon.Add(100*time.Hour))
	must(t, err)
	if more {
		t.Error("retention is off and something was pruned")
	}
}

func TestASecondProcessIsToldWhoHoldsTheData(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendNone))
	_, err := Open(b.dir, Options{Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "is held by process") {
		t.Errorf("second open: %v", err)
	}
	if _, err := OpenReadOnly(filepath.Join(b.dir, "nothing")); err == nil {
		t.Error("opened a store where there is none")
	}
}

func TestAStoppedStoreAnswersTheSame(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 1), event("bob", "vip", true, 1), event("bob", "gold", false, 1))
	b.settle(b.take(), domain.Refused)
	running := contents(t, &b.View)
	must(t, b.Close())
	v := b.readOnly()
	defer v.Close()
	if stopped := contents(t, v); running != stopped {
		t.Errorf("running:\n%s\nstopped:\n%s", running, stopped)
	}
}

func contents(t testing.TB, v *View) string {
	t.Helper()
	counts, err := v.Counts()
	must(t, err)
	page, _, err := v.Changes(domain.OutboxFilter{})
	must(t, err)
	list, err := v.Computations()
	must(t, err)
	members, _, err := v.Members("vip", "", 0)
	must(t, err)
	bob, err := v.User("bob")
	must(t, err)
	text, err := json.MarshalIndent([]any{counts, page, list, members, bob}, "", " ")
	must(t, err)
	return string(text)
}

// order appends records of orders, as an operator's order does.
func (b *bench) order(frames ...[]byte) {
	b.Helper()
	must(b, b.records.AppendOther(context.Background(), frames...))
}

// orderOn returns o with the number of the computation that key names.
func (b *bench) orderOn(key string, o record.Order) *record.Order {
	b.Helper()
	must(b, b.Applied(context.Background()))
	must(b, b.read(func(tx *state.Tx) error {
		f, err := tx.State.Registry.One(key)
		if err == nil {
			o.Field = f.Number
		}
		return err
	}))
	return &o
}

// epochOf reads the epoch of a stopped store.
func epochOf(t testing.TB, dir string) (epoch uint32) {
	t.Helper()
	db, err := boltfile.Open(filepath.Join(dir, datadir.StateFile), 0, true)
	must(t, err)
	defer db.Close()
	epoch, err = boltfile.Epoch(db)
	must(t, err)
	return epoch
}
