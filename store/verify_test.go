package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// told tells what MoEngage should hold of a user, as text.
func (b *bench) told(key, user string, settled time.Time) string {
	b.Helper()
	list, err := b.Told(key, []string{user}, settled)
	must(b, err)
	var words []string
	for _, a := range list[0].Attributes {
		words = append(words, a.Name+"="+string(a.Value))
	}
	if list[0].Moving {
		words = append(words, "moving")
	}
	return strings.Join(words, " ")
}

// long ago, by the clock of these tests: whatever was delivered has settled.
var afterwards = noon.Add(2 * time.Hour)

func (b *bench) allTold(key string) (users []string) {
	b.Helper()
	for cursor, more := "", true; more; more = cursor != "" {
		page, next, err := b.ToldUsers(key, cursor)
		must(b, err)
		users, cursor = append(users, page...), next
	}
	slices.Sort(users)
	return users
}

func TestWhatMoEngageShouldHold(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 0), event("bob", "vip", true, 0), event("cid", "vip", false, 0),
		trait("ann", "spent", 0, "spent", "12.50"), trait("bob", "note", 0, "note", `"a value that is longer than sixteen bytes"`))
	if got := b.told("vip", "ann", afterwards); got != "moving" {
		t.Errorf("before delivery: %q", got)
	}
	if got := b.allTold("vip"); len(got) > 0 {
		t.Errorf("nobody was told of yet, but %v", got)
	}
	b.drain()
	for _, c := range []struct{ key, user, want string }{
		{"vip", "ann", "vip=true"},
		{"vip", "cid", ""}, // an exit of somebody never seen is never sent
		{"vip", "nobody", ""},
		{"spent", "ann", "spent=12.50"},
		{"note", "bob", `note="a value that is longer than sixteen bytes"`},
	} {
		if got := b.told(c.key, c.user, afterwards); got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.key, c.user, got, c.want)
		}
	}
	if got := fmt.Sprint(b.allTold("vip")); got != "[ann bob]" {
		t.Errorf("told of %s", got)
	}
	if got := b.told("vip", "ann", noon); got != "vip=true moving" {
		t.Errorf("right after its delivery: %q", got)
	}

	b.receive(event("ann", "vip", false, 1))
	if got := b.told("vip", "ann", afterwards); got != "vip=true moving" {
		t.Errorf("with an exit on the way: %q", got)
	}
	b.drain()
	if got := b.told("vip", "ann", afterwards); got != "vip=false" {
		t.Errorf("after the exit: %q", got)
	}
	if _, _, err := b.ToldUsers("nobody", ""); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("an unknown key: %v", err)
	}
	if _, _, err := b.ToldUsers("vip", "zz"); !errors.Is(err, query.ErrBadCursor) {
		t.Errorf("a bad cursor: %v", err)
	}
}

func TestWhatWasReceivedAsEventsAloneIsNoAttribute(t *testing.T) {
	b := open(t, rules(domain.SendAsReceived))
	b.receive(event("ann", "vip", true, 0, asTrack("Audience Entered")), event("bob", "vip", true, 0))
	b.drain()
	b.receive(event("bob", "vip", false, 1, asTrack("Audience Exited")))
	b.drain()
	if got := fmt.Sprint(b.allTold("vip")); got != "[bob]" {
		t.Errorf("told of %s", got)
	}
	if got := b.told("vip", "bob", afterwards); got != "vip=true" {
		t.Errorf("bob: %q, though only the event told of the exit", got)
	}
}

// A list can be read back, entry by entry; who is in a cohort cannot, whatever its name is.
func TestAListIsReadBackAndACohortIsNot(t *testing.T) {
	r := rules(domain.SendBoth | domain.SendList | domain.SendCohort)
	r.Defaults.CohortName = "VIPs"
	b := open(t, r)
	b.receive(event("ann", "vip", true, 0), event("ann", "new", true, 0))
	them := newMoengage()
	b.tell(them)
	told := func() string {
		list, err := b.Told("vip", []string{"ann"}, afterwards)
		must(t, err)
		var words []string
		for _, a := range list[0].Attributes {
			words = append(words, fmt.Sprintf("%s[%s]=%s", a.Name, a.Entry, a.Value))
		}
		return strings.Join(words, " ")
	}
	if got := told(); got != "vip[]=true segment_audiences[vip]=true" {
		t.Errorf("told %q", got)
	}
	list, err := b.Told("vip", []string{"ann"}, afterwards)
	must(t, err)
	must(t, b.Repair(context.Background(), noon, list[0].Attributes))
	must(t, b.Applied(context.Background()))
	if c := b.balance().Changes; c.Pending != 2 {
		t.Errorf("an attribute and an entry were to be sent again: %+v", c)
	}
	b.sent = nil
	b.drain()
	b.wantSaid("ann.vip=true ann.segment_audiences=true")

	alone := open(t, rules(domain.SendList))
	alone.receive(event("ann", "vip", true, 0))
	if yes, err := alone.SendsAttributes("vip"); !yes || err != nil {
		t.Errorf("a list can be read back: %v, %v", yes, err)
	}
	alone.drain()
	if got := alone.told("vip", "ann", afterwards); got != "segment_audiences=true" {
		t.Errorf("told %q", got)
	}
	if got := fmt.Sprint(alone.allTold("vip")); got != "[ann]" {
		t.Errorf("told of %s", got)
	}
}

func TestColumnsOfOneUserAreOneAnswer(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	for i := range 70 { // fields of other blocks between them
		b.receive(event("bob", fmt.Sprintf("a%d", i), true, 0))
	}
	b.receive(trait("ann", "row", 0, "plan", `"gold"`, "seats", "3"))
	b.drain()
	if got := b.told("row", "ann", afterwards); got != `plan="gold" seats=3` {
		t.Errorf("ann: %q", got)
	}
	if got := fmt.Sprint(b.allTold("row")); got != "[ann]" {
		t.Errorf("told of %s", got)
	}
}

func TestPagesOfManyToldUsersMissNobody(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	const n = 2*state.PageScan + 100
	var events []*domain.Event
	for i := range n {
		events = append(events, event(fmt.Sprintf("user-%05d", i), "vip", true, 0))
	}
	b.receive(events...)
	b.drain()
	if got := slices.Compact(b.allTold("vip")); len(got) != n {
		t.Errorf("told of %d, want %d", len(got), n)
	}
}

func TestARepairSendsTheRightValueOnce(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 0), event("bob", "vip", true, 0), event("cid", "vip", true, 0), trait("ann", "note", 0, "note", `"a value that is longer than sixteen bytes"`))
	b.drain()
	b.receive(event("bob", "vip", false, 1))
	b.drain()
	b.said()
	missing := b.missing("vip", "ann", "bob", "cid")
	missing = append(missing, b.missing("note", "ann")...)
	b.receive(event("cid", "vip", false, 2)) // moves meanwhile
	was := b.balance()

	must(t, b.Repair(context.Background(), noon.Add(3*time.Hour), missing))
	must(t, b.Applied(context.Background()))
	now := b.balance()
	if now.Changes.Created != was.Changes.Created+3 || now.Events != was.Events || now.Received != was.Received {
		t.Errorf("before %+v, after %+v", was, now)
	}
	if got := b.told("vip", "ann", afterwards); got != "vip=true moving" {
		t.Errorf("ann: %q", got)
	}
	f, _, err := b.Take(context.Background(), everything(noon.Add(4*time.Hour)))
	must(t, err)
	b.settle(f, domain.Delivered)
	said := b.said()
	for _, want := range []string{"ann.vip=true", "bob.vip=false", "cid.vip=false", `ann.note="a value that is longer than sixteen bytes"`} {
		if strings.Count(said, want) != 1 {
			t.Errorf("sent %s, want %s once", said, want)
		}
	}
	if got := b.told("vip", "ann", noon.Add(5*time.Hour)); got != "vip=true" {
		t.Errorf("ann in the end: %q", got)
	}

	// Of a user who was erased since, nothing is left to repair.
	must(t, b.Repair(context.Background(), noon.Add(5*time.Hour), []record.Told{{User: "nobody", Field: 0}, {User: "ann", Field: 999}}))
	must(t, b.Applied(context.Background()))
	if c := b.balance(); c.Changes.Pending != 0 {
		t.Errorf("pending %d", c.Changes.Pending)
	}
}

// missing is everything that MoEngage should hold of these users.
func (b *bench) missing(key string, users ...string) (all []record.Told) {
	b.Helper()
	list, err := b.Told(key, users, afterwards)
	must(b, err)
	for _, u := range list {
		all = append(all, u.Attributes...)
	}
	return all
}

func TestARepairSurvivesARestartBeforeItIsApplied(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 0))
	b.drain()
	missing := b.missing("vip", "ann")
	must(t, b.Repair(context.Background(), noon.Add(3*time.Hour), missing))
	b.reopen(rules(domain.SendAttribute))
	must(t, b.Applied(context.Background()))
	if c := b.balance(); c.Changes.Pending != 1 {
		t.Errorf("pending %d, want 1", c.Changes.Pending)
	}
}

func TestTheLastVerificationOfEachComputationIsKept(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	must(t, b.SetJobRun(context.Background(), query.JobRun{Job: "[verify]", Started: noon}))
	must(t, b.SetVerification(context.Background(), query.Verification{Key: "vip", ID: "aud_1", At: noon, Compared: 3, Agree: 2, Differ: 1}))
	must(t, b.SetVerification(context.Background(), query.Verification{Key: "vip", ID: "aud_1", At: noon.Add(time.Hour), Compared: 3, Agree: 3}))
	b.reopen(rules(domain.SendAttribute))
	list, err := b.Verifications()
	must(t, err)
	if len(list) != 1 || list[0].Agree != 3 || !list[0].At.Equal(noon.Add(time.Hour)) {
		t.Errorf("kept %+v", list)
	}
	runs, err := b.JobRuns()
	must(t, err)
	if len(runs) != 1 || runs[0].Job != "[verify]" {
		t.Errorf("runs %+v", runs)
	}
}

// TestAVerificationThatComparedNobodyHidesNothing: where something was on the way of everybody, a verification took
// the place of a failure, or of differences, and was no alert.
func TestAVerificationThatComparedNobodyHidesNothing(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	nobody := query.Verification{Key: "vip", At: noon.Add(time.Hour), Told: 9, Asked: 9, Moving: 9}
	for _, found := range []query.Verification{
		{Key: "vip", At: noon, Told: 9, Compared: 3, Agree: 1, Differ: 2},
		{Key: "vip", At: noon, Told: 9, Code: "get_user_refused", Error: "no"},
	} {
		for _, v := range []query.Verification{{Key: "vip", At: noon, Told: 9, Compared: 9, Agree: 9}, found, nobody} {
			must(t, b.SetVerification(t.Context(), v))
		}
		list, err := b.Verifications()
		must(t, err)
		if len(list) != 1 || !reflect.DeepEqual(list[0], found) {
			t.Errorf("kept %+v, not %+v", list, found)
		}
	}
	nobody.Told, nobody.Asked, nobody.Moving = 0, 0, 0
	must(t, b.SetVerification(t.Context(), nobody))
	if list, _ := b.Verifications(); len(list) != 1 || list[0].Code != "" {
		t.Errorf("MoEngage is told of nobody any more, and kept is %+v", list)
	}
}

// TestAFailedVerificationHidesNoDifferences: it replaced what the one before it had found.
func TestAFailedVerificationHidesNoDifferences(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	ctx, failed := t.Context(), query.Verification{Key: "vip", At: noon.Add(time.Hour), Code: "http_403", Error: "no"}
	kept := func(v query.Verification) query.Verification {
		must(t, b.SetVerification(ctx, v))
		list, err := b.Verifications()
		must(t, err)
		return list[0]
	}
	kept(query.Verification{Key: "vip", At: noon, Told: 9, Compared: 3, Agree: 1, Differ: 2})
	for range 2 {
		if v := kept(failed); v.Differ != 2 || !v.At.Equal(noon) || v.Code != "http_403" || v.FailedAt == nil || !v.FailedAt.Equal(failed.At) {
			t.Errorf("a failure leaves %+v", v)
		}
		failed.At = failed.At.Add(time.Hour)
	}
	failed.Compared, failed.Differ = 4, 4
	if v := kept(failed); v.Differ != 4 || !v.At.Equal(failed.At) {
		t.Errorf("a failure that found differences itself leaves %+v", v)
	}
	if v := kept(query.Verification{Key: "vip", At: noon, Compared: 3, Agree: 3}); v.Differ != 0 || v.Code != "" {
		t.Errorf("one that found none leaves %+v", v)
	}
}

func TestARepairReadsBackAsItWasWritten(t *testing.T) {
	r := record.Repair{Received: noon, Missing: []record.Told{{User: "ann", Field: 3}, {User: "bob", Field: 70}}}
	frame := r.Encode(nil)
	rec, err := record.DecodeRecord(7, frame)
	must(t, err)
	if rec.Repair == nil || !rec.Repair.Received.Equal(noon) || !slices.EqualFunc(rec.Repair.Missing, r.Missing, func(a, b record.Told) bool { return a.User == b.User && a.Field == b.Field }) {
		t.Errorf("read %+v", rec.Repair)
	}
	frame[len(frame)/2] ^= 1
	if _, err := record.DecodeRecord(7, frame); err == nil {
		t.Error("a damaged repair was read")
	}
}
