package sandbox

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestProfileIsReadOverHTTP(t *testing.T) {
	s := serve(t, Options{})
	wantStatus(t, s.bulk(
		customerOf("a/b c", `{"vip":false}`),
		eventOf("a/b c", `{"action":"enter","attributes":{"k":1}}`, `{"action":"leave"}`)), 200)
	wantStatus(t, s.post(customerPath, customerOf("a/b c", `{"vip":true}`)), 200)

	var p Profile
	if status := s.get("/sandbox/users/a%2Fb%20c", &p); status != 200 {
		t.Fatalf("status %d", status)
	}
	if string(p.Attributes["vip"]) != "true" || p.Written["vip"] != (Write{Arrival: 4, Request: 2}) {
		t.Errorf("vip is %s, written by %+v", p.Attributes["vip"], p.Written["vip"])
	}
	var actions []string
	for _, e := range p.Events {
		actions = append(actions, fmt.Sprintf("%d %s", e.Arrival, e.Action))
	}
	if diff := cmp.Diff([]string{"2 enter", "3 leave"}, actions); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	var missing map[string]string
	if status := s.get("/sandbox/users/nobody", &missing); status != 404 || missing["error"] == "" {
		t.Errorf("an unknown user: %d %v", status, missing)
	}
}

func TestRequestsViolationsAndStatsAreReadOverHTTP(t *testing.T) {
	s := serve(t, Options{KeepBodies: true})
	wantStatus(t, s.bulk(fine), 200)
	wantStatus(t, s.post(eventPath, eventOf("guest", `{"action":"x"}`)), 200)
	wantStatus(t, s.post(bulkPath, `{`), 400)

	var requests []Request
	s.get("/sandbox/requests?limit=2", &requests)
	if len(requests) != 2 || requests[0].Endpoint != "event" || requests[1].Type != "Malformed JSON" {
		t.Errorf("requests %+v", requests)
	}
	if got := requests[1]; got.Path != bulkPath || got.Bytes != 1 || got.Body != "{" || got.At.IsZero() {
		t.Errorf("recorded as %+v", got)
	}
	var violations []Violation
	s.get("/sandbox/violations", &violations)
	if len(violations) != 1 || violations[0].Rule != BlockedID || violations[0].Request != 2 || violations[0].User != "guest" {
		t.Errorf("violations %+v", violations)
	}
	var stats Stats
	s.get("/sandbox/stats", &stats)
	if stats.Requests != 3 || stats.ByStatus[200] != 2 || stats.Violations[BlockedID] != 1 || stats.Profiles != 1 || stats.InFlight != 0 {
		t.Errorf("stats %+v", stats)
	}
}

func TestNothingYetIsAnEmptyList(t *testing.T) {
	s := serve(t, Options{})
	for _, path := range []string{"/sandbox/requests", "/sandbox/violations"} {
		var list []any
		if s.get(path, &list); list == nil {
			t.Errorf("%s is null", path)
		}
	}
}

func TestCohortTakesKnownUsersOnly(t *testing.T) {
	s := serve(t, Options{})
	wantStatus(t, s.bulk(fine, customerOf("user-2", `{}`)), 200)
	change := func(action string, users ...string) string {
		members := `{"uid":"` + strings.Join(users, `"},{"uid":"`) + `"}`
		return strings.NewReplacer("add_members", action, `{"uid":"user-1"}`, members).Replace(fineCohort)
	}
	wantStatus(t, s.post(cohortsPath, change("add_members", "user-2", "nobody", "user-1")), 200)
	if got, _ := s.Cohort("c1"); !cmp.Equal(got, Cohort{ID: "c1", Name: "A", Members: []string{"user-1", "user-2"}}) {
		t.Errorf("cohort %+v", got)
	}
	wantRules(t, s.Sandbox, UnknownUID)
	s.wantStored("nobody", false)

	wantStatus(t, s.post(cohortsPath, change("remove_members", "user-1")), 200)
	if got, _ := s.Cohort("c1"); !cmp.Equal(got.Members, []string{"user-2"}) {
		t.Errorf("members %v", got.Members)
	}
	if p, _ := s.User("user-2"); !cmp.Equal(p.Cohorts, []string{"c1"}) {
		t.Errorf("cohorts %v", p.Cohorts)
	}
	if _, ok := s.Cohort("c2"); ok {
		t.Error("c2 exists")
	}
}

// 200 means queued. Until a user is known, a cohort skips them and reading back does not find them.
func TestAcceptedIsNotYetKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Delay: 10 * time.Second})
		wantStatus(t, send(t, s, fine), 200)
		time.Sleep(9 * time.Second)
		if _, known := s.User("user-1"); known {
			t.Error("known after 9s")
		}
		wantStatus(t, record(s, newRequest(t, "http://sandbox"+cohortsPath, fineCohort)), 200)
		wantRules(t, s, UnknownUID)
		time.Sleep(time.Second)
		if _, known := s.User("user-1"); !known {
			t.Error("not known after 10s")
		}
		wantStatus(t, record(s, newRequest(t, "http://sandbox"+cohortsPath, fineCohort)), 200)
		if c, _ := s.Cohort("c1"); !cmp.Equal(c.Members, []string{"user-1"}) {
			t.Errorf("members %v", c.Members)
		}
	})
}

func TestExportReadsBackWhatIsStored(t *testing.T) {
	s := serve(t, Options{})
	wantStatus(t, s.bulk(customerOf("user-1", `{"vip":true,"ltv":1}`)), 200)
	got := s.post(exportPath, exportBody("user-1", "user-2"))
	wantStatus(t, got, 200)
	want := map[string]any{
		"status": "success",
		"type":   "export_users",
		"data": map[string]any{
			"users_not_found": []any{map[string]any{"identifier_type": "customer_id", "identifier": "user-2"}},
			"users":           []any{map[string]any{"user_attributes": map[string]any{"customer_id": "user-1", "vip": true}}},
		},
	}
	if diff := cmp.Diff(want, withoutRequestID(t, got.body)); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

func TestUserInTwoRequestsAtOnceIsRecorded(t *testing.T) {
	s := serve(t, Options{})
	s.fail("hang,count=1")
	first := make(chan error)
	go func() {
		_, err := s.do(newRequest(t, s.url+bulkPath, bulkBody(fine, customerOf("user-2", `{}`))))
		first <- err
	}()
	s.waitForRequests(1)
	wantStatus(t, s.bulk(customerOf("user-3", `{}`)), 200)
	wantStatus(t, s.post(cohortsPath, fineCohort), 200) // another endpoint
	wantRules(t, s.Sandbox, UnknownUID)
	wantStatus(t, s.bulk(fine), 200)
	wantRules(t, s.Sandbox, UnknownUID, ConcurrentUser)
	s.Heal()
	<-first
	wantStatus(t, s.bulk(fine), 200)
	wantRules(t, s.Sandbox, UnknownUID, ConcurrentUser)
	if got := s.Stats().MaxInFlight; got != 2 {
		t.Errorf("%d in flight at most, want 2", got)
	}
}

func TestRequestsOneAfterTheOtherAreNotConcurrent(t *testing.T) {
	s := serve(t, Options{UsersPerMinute: -1})
	for range 200 {
		wantStatus(t, s.bulk(fine), 200)
	}
	wantRules(t, s.Sandbox)
}

func TestAttributesOfAUserTwiceInARequestAreRecordedWhateverItsFate(t *testing.T) {
	s := serve(t, Options{Faults: []Fault{{Status: 503}}})
	wantStatus(t, s.bulk(fine, eventOf("user-1", `{"action":"x"}`)), 503)
	wantRules(t, s.Sandbox)
	wantStatus(t, s.bulk(fine, eventOf("user-1", `{"action":"x"}`), fine), 503)
	wantRules(t, s.Sandbox, UserTwice)
}

func TestMemoryIsBounded(t *testing.T) {
	s := New(Options{})
	s.workspace.state = newState(2, 3)
	s.journal.requests.limit, s.journal.violations.limit = 2, 2
	for i := range 5 {
		user := fmt.Sprintf("user-%d", i)
		wantStatus(t, send(t, s, customerOf(user, `{"a":null}`), eventOf(user, `{"action":"x"}`)), 200)
	}
	wantStatus(t, send(t, s, eventOf("user-3", `{"action":"y"}`, `{"action":"z"}`)), 200)
	st := s.Stats()
	if st.Profiles != 2 || st.ForgottenProfiles != 3 || st.ForgottenRequests != 4 || st.ForgottenViolations != 3 || st.ForgottenEvents != 4 {
		t.Errorf("stats %+v", st)
	}
	if _, ok := s.User("user-2"); ok {
		t.Error("the third user is still there")
	}
	var kept []string
	for _, e := range s.Events("user-3") {
		kept = append(kept, e.Action)
	}
	if diff := cmp.Diff([]string{"y", "z"}, kept); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	requests := s.Requests()
	if len(requests) != 2 || requests[1].Number != 6 {
		t.Errorf("requests %+v", requests)
	}
	requests[1].Number = 99
	if s.Requests()[1].Number != 6 {
		t.Error("Requests does not return a copy")
	}
}

func TestManyAtOnce(t *testing.T) {
	s := serve(t, Options{UsersPerMinute: -1, EventsPerMinute: -1})
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 20 {
				user := fmt.Sprintf("user-%d", worker)
				body := bulkBody(customerOf(user, fmt.Sprintf(`{"n":%d}`, i)), eventOf(user, `{"action":"x"}`))
				if got, err := s.do(newRequest(t, s.url+bulkPath, body)); err != nil || got.status != http.StatusOK {
					t.Errorf("%+v, %v", got, err)
				}
				s.User(user)
				s.Stats()
				s.Requests()
			}
		})
	}
	all.Wait()
	for worker := range 8 {
		user := fmt.Sprintf("user-%d", worker)
		wantAttribute(t, s.Sandbox, user, "n", "19")
		if n := len(s.Events(user)); n != 20 {
			t.Errorf("%d events of %s, want 20", n, user)
		}
	}
	wantRules(t, s.Sandbox)
}

func TestClockIsTheSandboxsOwn(t *testing.T) {
	s := New(Options{})
	s.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	wantStatus(t, send(t, s, eventOf("user-1", `{"action":"x","current_time":"2026-01-02T03:04:06Z"}`)), 200)
	wantRules(t, s, FutureEvent)
	if at := s.Requests()[0].At; !at.Equal(s.now()) {
		t.Errorf("at %v", at)
	}
}

func TestRequestIDsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for n := range uint64(10_000) {
		id := requestID(n)
		if seen[id] || len(id) != 8 {
			t.Fatalf("request %d has id %q again", n, id)
		}
		seen[id] = true
	}
}
