package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

func (r *room) page(user string) *domain.UserInfo {
	r.Helper()
	info, err := r.User(user)
	r.Must(err)
	return info
}

func TestAUsersPageHasAllThatIsKnown(t *testing.T) {
	r := newRoom(t, domain.SendBoth)
	if _, err := r.User("ann"); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("of an unknown user: %v", err)
	}
	late := enter("ann", "vip", 1)
	late.TimeSource = domain.TimeUnreadable
	r.receive(late, exit("ann", "old", 2), trait("ann", "score", 1, "score", "5"), trait("ann", "row", 1, "city", `"Rome"`))
	r.drain(delivered)
	r.receive(exit("ann", "vip", 3))
	r.order(record.Order{Verb: record.OrderImport, Field: 1, Targets: []record.JobTarget{{User: "ann", In: true}}})
	info := r.page("ann")
	text, _ := json.Marshal(info.Memberships)
	want := `[{"computation":"vip","in":false,"since":"2026-03-14T12:03:00Z","delivered":false,"told":"in","event":"m-ann-vip-false-3"},` +
		`{"computation":"old","in":true,"since":"2026-03-14T12:30:00Z","delivered":false,"told":"nothing","event":"audience import"}]`
	if string(text) != want {
		t.Errorf("the memberships are\n%s\nwant\n%s", text, want)
	}
	if len(info.Traits) != 2 || string(info.Traits["score"]) != "5" || string(info.Traits["city"]) != `"Rome"` {
		t.Errorf("the traits are %s", info.Traits)
	}
	if len(info.Pending) != 3 || len(info.History) != 6 || info.History[0].State != "delivered" || info.PendingMore || info.HistoryMore || info.EventsMore {
		t.Errorf("%d pending, %d closed", len(info.Pending), len(info.History))
	}
	r.drain(delivered)
	r.receive(enter("ann", "vip", 9, faulty)) // it is parked, and nothing of ann changes
	info = r.page("ann")
	for _, m := range info.Memberships {
		if !m.Delivered || m.Told != map[bool]string{true: "in", false: "out"}[m.In] {
			t.Errorf("%+v", m)
		}
	}
	r.inbox.gone = len(r.inbox.frames)
	if m := r.page("ann").Memberships[0]; m.Event != "" {
		t.Errorf("an event that is gone is %q", m.Event)
	}
}

func TestAUsersPageIsBounded(t *testing.T) {
	r := newRoom(t, domain.SendEvent)
	var events []*domain.Event
	for i := range WaitingShown + 1 {
		events = append(events, enter("ann", "vip", 1, statetest.AsStep("Step", fmt.Sprint(i))))
	}
	r.receive(events...)
	if info := r.page("ann"); len(info.Pending) != WaitingShown || !info.PendingMore || info.Memberships[0].Delivered {
		t.Errorf("%d pending, and more: %v", len(info.Pending), info.PendingMore)
	}
	r.drain(delivered)
	if info := r.page("ann"); len(info.History) != state.HistoryShown || !info.HistoryMore || len(info.Pending) != 0 {
		t.Errorf("%d closed, and more: %v", len(info.History), info.HistoryMore)
	}
	var list []*domain.Event
	for i := range eventsShown + 1 {
		list = append(list, enter("bob", fmt.Sprintf("a%03d", i), 1))
	}
	r.receive(list...)
	info := r.page("bob")
	if n := len(info.Memberships); n != eventsShown+1 || !info.EventsMore || info.Memberships[eventsShown-1].Event == "" || info.Memberships[eventsShown].Event != "" {
		t.Errorf("%d memberships, and more: %v", n, info.EventsMore)
	}
}

func TestWhatMoEngageWasToldOfAMembership(t *testing.T) {
	for _, tc := range []struct {
		name      string
		send      domain.SendMethods
		prepare   func(r *room)
		told      string
		delivered bool
	}{
		{"nothing yet", domain.SendAttribute, func(r *room) { r.receive(enter("ann", "vip", 1)) }, "nothing", false},
		{"in", domain.SendAttribute, func(r *room) { r.receive(enter("ann", "vip", 1)); r.drain(delivered) }, "in", true},
		{"in, and out is on its way", domain.SendAttribute, func(r *room) {
			r.receive(enter("ann", "vip", 1))
			r.drain(delivered)
			r.receive(exit("ann", "vip", 2))
		}, "in", false},
		{"out", domain.SendAttribute, func(r *room) {
			r.receive(enter("ann", "vip", 1))
			r.drain(delivered)
			r.receive(exit("ann", "vip", 2))
			r.drain(delivered)
		}, "out", true},
		{"an exit of a stranger", domain.SendAttribute, func(r *room) { r.receive(exit("ann", "vip", 1)) }, "nothing", true},
		{"uncertain", domain.SendAttribute, func(r *room) {
			r.receive(enter("ann", "vip", 1))
			r.settle(r.take(domain.EndpointTransition), domain.Result{Verdict: domain.Uncertain, Reason: "timeout"})
		}, "uncertain", false},
		{"parked", domain.SendAttribute, func(r *room) { r.receive(enter("ann", "vip", 1)); r.drain(refused) }, "nothing", false},
		{"an event on its way", domain.SendEvent, func(r *room) { r.receive(enter("ann", "vip", 1)) }, "", false},
		{"an event delivered", domain.SendEvent, func(r *room) { r.receive(enter("ann", "vip", 1)); r.drain(delivered) }, "in", true},
		{"an exit's event delivered", domain.SendEvent, func(r *room) {
			r.receive(enter("ann", "vip", 1), exit("ann", "vip", 2))
			r.drain(delivered)
		}, "out", true},
		{"a cohort", domain.SendCohort, func(r *room) { r.receive(enter("ann", "vip", 1)); r.settle(r.take(domain.EndpointCohort), delivered) }, "in", true},
		{"a cohort on its way", domain.SendCohort, func(r *room) { r.receive(enter("ann", "vip", 1)) }, "nothing", false},
		{"a list", domain.SendList, func(r *room) { r.receive(enter("ann", "vip", 1)); r.drain(delivered) }, "in", true},
		{"an attribute, and not the list", domain.SendAttribute | domain.SendList, func(r *room) {
			r.receive(enter("ann", "vip", 1))
			r.drain(delivered)
			r.receive(exit("ann", "vip", 2))
		}, "in", false},
		{"a target that is new", domain.SendAttribute, func(r *room) {
			r.receive(enter("ann", "vip", 1))
			r.drain(delivered)
			r.SetRules(statetest.Rules(domain.SendAttribute | domain.SendCohort))
		}, "in", false},
		{"as received, by track alone", domain.SendAsReceived, func(r *room) {
			r.receive(enter("ann", "vip", 1, track("Joined")))
			r.drain(delivered)
		}, "nothing", true},
		{"none", domain.SendNone, func(r *room) { r.receive(enter("ann", "vip", 1)) }, "in", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRoom(t, tc.send)
			tc.prepare(r)
			if m := r.page("ann").Memberships[0]; m.Told != tc.told || m.Delivered != tc.delivered {
				t.Errorf("told is %q, delivered %v; want %q, %v", m.Told, m.Delivered, tc.told, tc.delivered)
			}
		})
	}
}

// waits is why each pending change of a user waits, as text.
func (r *room) waits(user string) string {
	r.Helper()
	var list []string
	for _, c := range r.page(user).Pending {
		word := c.Kind + ":" + string(c.Wait)
		if c.Behind != "" {
			word += "!"
		}
		if c.Job != "" {
			word += "/" + c.Job
		}
		if c.Bulk {
			word += "/bulk"
		}
		if c.Until != "" {
			word += "/until"
		}
		list = append(list, word)
	}
	return strings.Join(list, " ")
}

func TestAUsersPageSaysWhyAChangeWaits(t *testing.T) {
	nightly := func(r *domain.Rules) { r.Defaults.Job = "nightly" }
	for _, tc := range []struct {
		name    string
		send    domain.SendMethods
		prepare func(r *room)
		want    string
	}{
		{"for its schedule", domain.SendBoth, func(r *room) { r.receive(enter("ann", "vip", 1)) }, "attribute:due/nightly event:due/nightly"},
		{"in flight", domain.SendBoth, func(r *room) { r.receive(enter("ann", "vip", 1)); r.take(domain.EndpointTransition) }, "attribute:under_way event:under_way"},
		{"parked", domain.SendBoth, func(r *room) { r.receive(enter("ann", "vip", 1)); r.drain(refused) }, "attribute:parked event:parked"},
		{"held", domain.SendBoth, func(r *room) {
			r.receive(enter("bob", "vip", 1), enter("ann", "vip", 1, func(e *domain.Event) { e.Space, e.ComputationID = "spa_2", "aud_2" }))
		}, "attribute:held event:held"},
		{"for a retry", domain.SendAttribute, func(r *room) {
			r.receive(enter("ann", "vip", 1))
			r.settle(r.take(domain.EndpointTransition), failed)
			r.receive(enter("ann", "new", 1))
		}, "attribute:retry attribute:user_retry/until"},
		{"behind an event that failed", domain.SendEvent, func(r *room) {
			r.receive(enter("ann", "vip", 1))
			r.settle(r.take(domain.EndpointTransition), failed)
			r.receive(enter("ann", "new", 1))
		}, "event:retry event:behind!"},
		{"for a profile", domain.SendAttribute | domain.SendCohort, func(r *room) { r.receive(enter("ann", "vip", 1)) }, "cohort:user/nightly attribute:due/nightly"},
		{"for live changes", domain.SendAttribute, func(r *room) {
			r.receive(enter("bob", "vip", 1))
			r.order(record.Order{Verb: record.OrderImport, Targets: []record.JobTarget{{User: "ann", In: true}}})
		}, "attribute:due/nightly/bulk"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRoom(t, tc.send, nightly)
			tc.prepare(r)
			if got := r.waits("ann"); got != tc.want {
				t.Errorf("they wait %s, want %s", got, tc.want)
			}
		})
	}
}

func TestAUsersPageSaysWhatMoEngageAnswered(t *testing.T) {
	r := newRoom(t, domain.SendAttribute)
	r.receive(enter("ann", "vip", 1))
	r.drain(refused)
	c := r.page("ann").Pending[0]
	if c.Answer == nil || c.Answer.Status != 400 || c.Sentence != refused.Sentence || c.Attempts != 1 {
		t.Errorf("%+v, answer %+v", c, c.Answer)
	}
	r.receive(enter("bob", "vip", 1))
	if c := r.page("bob").Pending[0]; c.Answer != nil {
		t.Errorf("before any answer it is %+v", c.Answer)
	}
}

func TestTwoTraitsOfOneNameAreBothShown(t *testing.T) {
	r := newRoom(t, domain.SendNone)
	other := trait("ann", "score", 1, "score", "6")
	other.Space, other.ComputationID = "spa_2", "tra_2"
	r.receive(trait("ann", "score", 1, "score", "5"), other)
	if info := r.page("ann"); string(info.Traits["score"]) != "5" || string(info.Traits["score (spa_2)"]) != "6" {
		t.Errorf("%s", info.Traits)
	}
}

func TestWhatMoEngageShouldHoldOfAUser(t *testing.T) {
	r := newRoom(t, domain.SendAttribute|domain.SendList|domain.SendCohort)
	r.receive(enter("ann", "vip", 1), enter("bob", "vip", 1), enter("cid", "other", 1))
	r.drain(delivered)
	r.receive(exit("bob", "vip", 2))
	list, next, err := r.ToldUsers("vip", "")
	if slices.Sort(list); err != nil || !slices.Equal(list, []string{"ann", "bob"}) || next != "" {
		t.Errorf("MoEngage was told of %v, and then %q, %v", list, next, err)
	}
	told, err := r.Told("vip", []string{"bob", "ann", "zoe"}, later)
	r.Must(err)
	if len(told) != 3 || told[0].User != "bob" || !told[0].Moving || told[1].Moving || told[2].Moving || len(told[2].Attributes) != 0 {
		t.Fatalf("%+v", told)
	}
	var got []string
	for _, a := range told[1].Attributes {
		got = append(got, fmt.Sprintf("%s %s %s %s", a.User, a.Name, a.Value, a.Entry))
	}
	if slices.Sort(got); !slices.Equal(got, []string{"ann segment_audiences true vip", "ann vip true "}) {
		t.Errorf("it should hold %v", got)
	}
	if told, err = r.Told("vip", []string{"ann"}, later.Add(-1)); err != nil || !told[0].Moving {
		t.Errorf("what it was told a moment ago proves nothing: %+v, %v", told, err)
	}
	for _, key := range []string{"zoo"} {
		_, _, err1 := r.ToldUsers(key, "")
		_, err2 := r.Told(key, nil, later)
		_, err3 := r.SendsAttributes(key)
		if !errors.Is(err1, domain.ErrNotFound) || !errors.Is(err2, domain.ErrNotFound) || !errors.Is(err3, domain.ErrNotFound) {
			t.Errorf("%s: %v, %v, %v", key, err1, err2, err3)
		}
	}
	if _, _, err := r.ToldUsers("vip", "x"); !errors.Is(err, ErrBadCursor) {
		t.Errorf("a cursor of nothing: %v", err)
	}
}

func TestToldUsersComeInPages(t *testing.T) {
	r := newRoom(t, domain.SendAttribute)
	var events []*domain.Event
	const all = state.PageScan + 9
	for i := range all {
		events = append(events, enter(fmt.Sprintf("u%d", i), "vip", 1))
	}
	r.receive(events...)
	r.receive(enter("other", "gold", 1), trait("another", "score", 1, "score", "5"))
	r.drain(delivered)
	seen, pages := map[string]bool{}, 0
	for cursor, first := "", true; first || cursor != ""; first = false {
		list, next, err := r.ToldUsers("vip", cursor)
		r.Must(err)
		for _, u := range list {
			seen[u] = true
		}
		pages, cursor = pages+1, next
	}
	if len(seen) != all || pages < 2 {
		t.Errorf("%d users in %d pages", len(seen), pages)
	}
}

func TestWhichComputationsCanBeReadBack(t *testing.T) {
	for send, want := range map[domain.SendMethods]bool{
		domain.SendAttribute: true, domain.SendBoth: true, domain.SendAsReceived: true, domain.SendList: true,
		domain.SendEvent: false, domain.SendCohort: false, domain.SendNone: false,
	} {
		r := newRoom(t, send)
		r.receive(enter("ann", "vip", 1))
		if got, err := r.SendsAttributes("vip"); err != nil || got != want {
			t.Errorf("sent as %d: %v, %v", send, got, err)
		}
	}
}

func TestAVerificationThatFailsKeepsWhatWasFound(t *testing.T) {
	at := noon
	good := Verification{Key: "vip", At: at, Told: 9, Asked: 9, Compared: 9, Agree: 9}
	found := Verification{Key: "vip", At: at, Told: 9, Asked: 9, Compared: 9, Agree: 7, Differ: 2}
	broken := Verification{Key: "vip", At: at.Add(time.Hour), Told: 9, Code: "401", Error: "refused"}
	foundMore := broken
	foundMore.Compared, foundMore.Differ = 3, 1
	nobody := Verification{Key: "vip", At: at.Add(time.Hour), Told: 9, Moving: 9}
	nothing := Verification{Key: "vip", At: at.Add(time.Hour)}
	both := found
	both.Code, both.Error, both.FailedAt = "401", "refused", &broken.At
	for _, tc := range []struct {
		name       string
		last, next Verification
		want       Verification
	}{
		{"a good one after another", found, good, good},
		{"differences after a good one", good, found, found},
		{"a failure after a good one", good, broken, broken},
		{"a failure after differences", found, broken, both},
		{"a failure that found some itself", found, foundMore, foundMore},
		{"one that compared nobody, after differences", found, nobody, found},
		{"one that compared nobody, after a failure", broken, nobody, broken},
		{"one that compared nobody, after a good one", good, nobody, nobody},
		{"one with nobody to compare, after differences", found, nothing, nothing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, want := tc.next.WithFindings(tc.last), tc.want
			if got.FailedAt != nil && want.FailedAt != nil && got.FailedAt.Equal(*want.FailedAt) {
				got.FailedAt, want.FailedAt = nil, nil
			}
			if got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

func TestRunsAreListedByTheirKind(t *testing.T) {
	r := newRoom(t, domain.SendNone)
	put := func(key string, v any) {
		text, err := json.Marshal(v)
		r.Must(err)
		r.Put(state.BucketRuns, []byte(key), text)
	}
	put(RunOfJob+"b", JobRun{Job: "b", Missed: 2})
	put(RunOfJob+"a", JobRun{Job: "a", Started: noon})
	put(RunOfVerification+"vip", Verification{Key: "vip", Agree: 3})
	runs, err := r.JobRuns()
	if err != nil || len(runs) != 2 || runs[0].Job != "a" || !runs[0].Started.Equal(noon) || runs[1].Missed != 2 {
		t.Errorf("%+v, %v", runs, err)
	}
	list, err := r.Verifications()
	if err != nil || len(list) != 1 || list[0].Agree != 3 {
		t.Errorf("%+v, %v", list, err)
	}
	r.Put(state.BucketRuns, []byte(RunOfJob+"c"), []byte("{"))
	r.Put(state.BucketRuns, []byte(RunOfVerification+"z"), []byte("{"))
	if _, err := r.JobRuns(); err == nil {
		t.Error("a run that cannot be read is none")
	}
	if _, err := r.Verifications(); err == nil {
		t.Error("a verification that cannot be read is none")
	}
}

// TestAUsersPageSaysWhatTheyConsentTo, since when and by what, and what is withheld for want of it.
func TestAUsersPageSaysWhatTheyConsentTo(t *testing.T) {
	stating := func(given ...string) statetest.Option {
		return func(e *domain.Event) { e.Consent = &domain.Preferences{Given: given} }
	}
	update := func(user string, minute int, given ...string) *domain.Event {
		return &domain.Event{
			Received: receipt, Time: noon.Add(time.Duration(minute) * time.Minute), Call: domain.CallTrack, Name: domain.ConsentEvent, MessageID: fmt.Sprint("c", minute),
			User: domain.Identifier{ID: user}, Raw: []byte("{}"), Consent: &domain.Preferences{Given: given},
		}
	}
	r := newRoom(t, domain.SendBoth, func(r *domain.Rules) {
		asks := r.Defaults
		asks.Consent = []string{"Marketing"}
		held := asks
		held.Rollout = &domain.Rollout{Holdout: 1}
		r.Sections = []domain.Section{{Key: "vip", Policy: asks}, {Key: "score", Policy: asks}, {Key: "row", Policy: asks}, {Key: "out", Policy: held}}
	})
	r.receive(enter("ann", "vip", 1, stating("Analytics")), enter("ann", "free", 2), enter("ann", "out", 2), trait("ann", "score", 2, "score", "5"), trait("ann", "row", 2, "city", `"Rome"`))
	text, _ := json.Marshal(r.page("ann").Consent)
	if want := `{"given":["Analytics"],"since":"2026-03-14T12:01:00Z","newest":"2026-03-14T12:01:00Z","by":"an event of a computation","event":"m-ann-vip-true-1","withheld":[` +
		`{"computation":"vip","asks":["Marketing"]},{"computation":"score","trait":"score","asks":["Marketing"]},{"computation":"row","trait":"city","asks":["Marketing"]}]}`; string(text) != want {
		t.Errorf("it is\n%s\nwant\n%s", text, want)
	}
	r.receive(update("ann", 5, "Marketing"), update("ann", 6, "Marketing"))
	text, _ = json.Marshal(r.page("ann").Consent)
	if want := `{"given":["Marketing"],"since":"2026-03-14T12:05:00Z","newest":"2026-03-14T12:06:00Z","by":"` + domain.ConsentEvent + `","event":"c5","withheld":[]}`; string(text) != want {
		t.Errorf("later it is\n%s\nwant\n%s", text, want)
	}
	r.receive(enter("bob", "free", 1), enter("cid", "vip", 1))
	if c := r.page("bob").Consent; c != nil {
		t.Errorf("of a user of whom nothing is known and nothing withheld: %+v", c)
	}
	if c := r.page("cid").Consent; c == nil || len(c.Given) != 0 || len(c.Withheld) != 1 || c.Since != "" || c.By != "" {
		t.Errorf("of a user without a statement: %+v", c)
	}
}

// TestAComputationSaysWhomItIsToldOf: a share, a holdout and a list of users; and nothing where it is everybody.
func TestAComputationSaysWhomItIsToldOf(t *testing.T) {
	with := func(r domain.Rules, rollout *domain.Rollout) domain.Policy {
		p := r.Defaults
		p.Rollout = rollout
		return p
	}
	r := newRoom(t, domain.SendBoth, func(r *domain.Rules) {
		r.Sections = []domain.Section{
			{Key: "share", Policy: with(*r, &domain.Rollout{Share: 0.25, Holdout: 0.5})}, {Key: "pilot", Policy: with(*r, &domain.Rollout{Share: 1, List: "nobody.csv"})},
			{Key: "nobody", Policy: with(*r, &domain.Rollout{})},
		}
	})
	r.receive(enter("ann", "all", 1), enter("ann", "share", 1), enter("ann", "pilot", 1), enter("ann", "nobody", 1))
	list, err := r.Computations()
	r.Must(err)
	got := map[string]string{}
	for _, c := range list {
		text, _ := json.Marshal(c.Rollout)
		got[c.Key] = string(text)
	}
	if got["all"] != "null" || !strings.Contains(got["share"], `"share":0.25,"holdout":0.5`) || strings.Contains(got["share"], "listed") ||
		!strings.Contains(got["pilot"], `"listed":0`) || !strings.Contains(got["nobody"], `"held":2`) {
		t.Errorf("%s", got)
	}
}
