package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"personasync/agent/api/internal/socket"
	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/domain"
)

// answers is an Inspector with fixed answers.
type answers struct {
	status  condition.Status
	changes []domain.ChangeInfo
	more    bool
	next    string
	page    *ChangePage
	stats   []domain.StatLine
	list    []domain.ComputationInfo
	members []domain.MemberInfo
	user    *domain.UserInfo
	dryRun  *DryRunResult
	preview *PreviewResult
	err     error

	filter domain.OutboxFilter // the last one asked for
	asked  string              // the last id, key or user asked for
	limit  int
}

func (a *answers) Where() string                                    { return "a test" }
func (a *answers) Status(context.Context) (condition.Status, error) { return a.status, a.err }
func (a *answers) Changes(_ context.Context, f domain.OutboxFilter) ([]domain.ChangeInfo, string, error) {
	a.filter = f
	return a.changes, a.next, a.err
}
func (a *answers) Change(_ context.Context, id domain.ID) (*ChangePage, error) {
	a.asked = id.String()
	return a.page, a.err
}
func (a *answers) Stats(context.Context, domain.OutboxFilter) ([]domain.StatLine, error) {
	return a.stats, a.err
}
func (a *answers) Schedule(context.Context, int) ([]JobInfo, error) { return nil, a.err }
func (a *answers) Computations(context.Context) ([]domain.ComputationInfo, error) {
	return a.list, a.err
}
func (a *answers) Members(_ context.Context, key, after string, limit int) ([]domain.MemberInfo, bool, error) {
	a.asked, a.limit = key+" after "+after, limit
	return a.members, a.more, a.err
}
func (a *answers) Journal(_ context.Context, f domain.JournalFilter) (domain.JournalPage, error) {
	a.asked, a.limit = fmt.Sprint(f.User, " ", f.Computation, " ", f.Before, " ", domain.Timestamp(f.Since), " ", domain.Timestamp(f.Until)), f.Limit
	return domain.JournalPage{Items: []domain.JournalInfo{{User: f.User, Told: []domain.JournalTold{{Change: "1-2-3"}}}}, Next: 7, From: "then"}, a.err
}
func (a *answers) Deletions(_ context.Context, f domain.DeletionFilter) ([]domain.Deletion, int, error) {
	a.asked, a.limit = fmt.Sprint(f.User, " ", f.State, " ", f.Skip), f.Limit
	return []domain.Deletion{{ID: "1-2-3", State: "held", User: f.User}}, 7, a.err
}
func (a *answers) Activity(context.Context, store.ActivityFilter) (store.Activity, error) {
	return store.Activity{Items: []store.ActivityEntry{}}, a.err
}

func (a *answers) User(_ context.Context, id string) (*domain.UserInfo, error) {
	a.asked = id
	return a.user, a.err
}
func (a *answers) Preview(_ context.Context, q PreviewQuery) (*PreviewResult, error) {
	a.asked = q.Path + " " + q.Received.String() + " " + string(q.Body)
	return a.preview, a.err
}
func (a *answers) DryRun(_ context.Context, computation string, limit int) (*DryRunResult, error) {
	a.asked, a.limit = computation, limit
	return a.dryRun, a.err
}

var _ Inspector = (*answers)(nil)

// running is a Running that flushes and nothing else.
type running struct{ Running }

func (running) Flush(context.Context, string) (FlushReceipt, error) {
	return FlushReceipt{Pending: 7}, nil
}

func testServer(i Inspector) *Server {
	return &Server{
		Inspect:   i,
		Running:   running{},
		Unready:   func() string { return "" },
		Refused:   func() *condition.RefusedReload { return nil },
		Version:   "1.0",
		ShowUsers: func() bool { return false },
		Log:       slog.New(slog.DiscardHandler),
		Page: func(mux *http.ServeMux, answer func(Question) http.HandlerFunc) {
			mux.HandleFunc("GET /{$}", answer(func(*http.Request) (any, error) { return "the page", nil }))
		},
	}
}

// ask sends a request straight to a handler; header pairs follow.
func ask(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(`{}`)
	}
	r := httptest.NewRequest(method, target, body)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestAdminRefusesWebPages(t *testing.T) {
	a := testServer(&answers{})
	a.Metrics = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for _, c := range []struct {
		name   string
		target string
		header []string
		want   int
	}{
		{"a person with curl", "http://127.0.0.1:8481/api/status", nil, 200},
		{"localhost by name", "http://localhost:8481/api/status", nil, 200},
		{"an IPv6 address", "http://[::1]:8481/api/status", nil, 200},
		{"the name it listens by", "http://admin.internal:8481/api/status", nil, 200},
		{"a name that was rebound to us", "http://evil.example:8481/api/status", nil, 403},
		{"a name without a port", "http://evil.example/api/status", nil, 403},
		{"the name in capitals", "http://Admin.Internal:8481/api/status", nil, 200},
		{"a load balancer that asks for life", "http://agents.example.com/healthz", nil, 200},
		{"a load balancer that asks for readiness", "http://agents.example.com:8481/readyz", nil, 200},
		{"a Prometheus that found us by a service name", "http://personasync.monitoring.svc:8481/metrics", nil, 200},
		{"a page that was rebound to our metrics", "http://evil.example:8481/metrics", []string{"Origin", "http://other.example"}, 403},
		{"another site's page that asks for life", "http://127.0.0.1:8481/healthz", []string{"Origin", "https://evil.example"}, 403},
		{"another site's page", "http://127.0.0.1:8481/api/status", []string{"Origin", "https://evil.example"}, 403},
		{"a page without an origin of its own", "http://127.0.0.1:8481/api/status", []string{"Origin", "null"}, 403},
		{"our own page", "http://127.0.0.1:8481/api/status", []string{"Origin", "http://127.0.0.1:8481"}, 200},
		{"an image on another site", "http://127.0.0.1:8481/api/status", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a page on another port of this host", "http://127.0.0.1:8481/api/status", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"somebody who typed the address", "http://127.0.0.1:8481/", []string{"Sec-Fetch-Site", "none"}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ask(a.Listener("admin.internal:8481"), http.MethodGet, c.target, c.header...).Code; got != c.want {
				t.Errorf("answered %d, want %d", got, c.want)
			}
		})
	}
}

func TestOrdersAreTakenOnTheSocketAlone(t *testing.T) {
	a := testServer(&answers{})
	for _, c := range []struct {
		name    string
		handler http.Handler
		header  []string
		want    int
	}{
		{"the socket, stating a version", a.Socket(), []string{socket.VersionHeader, "1.0"}, 200},
		{"the socket, stating none", a.Socket(), nil, 403},
		{"the socket, for a web page", a.Socket(), []string{socket.VersionHeader, "1.0", "Origin", "http://127.0.0.1"}, 403},
		{"admin.listen", a.Listener("127.0.0.1:8481"), []string{socket.VersionHeader, "1.0"}, 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ask(c.handler, http.MethodPost, "http://127.0.0.1/api/flush", c.header...).Code; got != c.want {
				t.Errorf("answered %d, want %d", got, c.want)
			}
		})
	}
	if got := ask(a.Socket(), http.MethodGet, "http://personasync/api/flush", socket.VersionHeader, "1.0").Code; got != http.StatusMethodNotAllowed {
		t.Errorf("GET of an order answered %d, want 405", got)
	}
}

func TestAdminListenShowsUsersOnlyWhenToldTo(t *testing.T) {
	for _, path := range []string{"/api/changes", "/api/change?id=00000001-1-0", "/api/members?key=k", "/api/journal?user=u", "/api/user?id=u", "/api/dry-run"} {
		a := testServer(&answers{page: &ChangePage{}, user: &domain.UserInfo{}, dryRun: &DryRunResult{}})
		if got := ask(a.Listener("127.0.0.1:8481"), http.MethodGet, "http://127.0.0.1"+path).Code; got != http.StatusForbidden {
			t.Errorf("%s answered %d while users are not shown, want 403", path, got)
		}
		a.ShowUsers = func() bool { return true }
		if got := ask(a.Listener("127.0.0.1:8481"), http.MethodGet, "http://127.0.0.1"+path).Code; got != http.StatusOK {
			t.Errorf("%s answered %d while users are shown, want 200", path, got)
		}
		a.ShowUsers = func() bool { return false }
		if got := ask(a.Socket(), http.MethodGet, "http://personasync"+path).Code; got != http.StatusOK {
			t.Errorf("%s answered %d on the socket, want 200", path, got)
		}
	}
}

func TestReadyzSaysWhyNot(t *testing.T) {
	a := testServer(&answers{})
	if w := ask(a.Listener("127.0.0.1:8481"), http.MethodGet, "http://127.0.0.1/readyz"); w.Code != 200 || w.Body.String() != `{"ready":true}`+"\n" {
		t.Errorf("when ready: %d %s", w.Code, w.Body)
	}
	a.Unready = func() string { return "stopping" }
	if w := ask(a.Listener("127.0.0.1:8481"), http.MethodGet, "http://127.0.0.1/readyz"); w.Code != 503 || w.Body.String() != `{"ready":false,"reason":"stopping"}`+"\n" {
		t.Errorf("when stopping: %d %s", w.Code, w.Body)
	}
	if w := ask(a.Listener("127.0.0.1:8481"), http.MethodGet, "http://127.0.0.1/healthz"); w.Code != 200 {
		t.Errorf("a stopping agent lives, but /healthz answered %d", w.Code)
	}
}

func TestBadQuestionsAreRefused(t *testing.T) {
	a := testServer(&answers{})
	for _, path := range []string{
		"/api/changes?state=lost", "/api/changes?limit=x", "/api/changes?limit=-1",
		"/api/change?id=", "/api/members?key=k&limit=many", "/api/journal?user=u&limit=many", "/api/deletions?limit=many", "/api/deletions?skip=x", "/api/journal?user=u&before=x", "/api/journal?user=u&since=x", "/api/journal", "/api/dry-run?limit=1.5",
	} {
		w := ask(a.Socket(), http.MethodGet, "http://personasync"+path)
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 400 || p.Code != "usage" {
			t.Errorf("%s answered %d %s", path, w.Code, w.Body)
		}
	}
}

func TestOnePageIsBounded(t *testing.T) {
	i := &answers{}
	ask(testServer(i).Socket(), http.MethodGet, "http://personasync/api/changes?limit=1000000")
	if i.filter.Limit != PageLimit {
		t.Errorf("a million were asked for in one answer, and %d were looked up", i.filter.Limit)
	}
}

func TestListenerEverywhereGoesByTheNameOfTheMachine(t *testing.T) {
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{":8481": true, "0.0.0.0:8481": true, "[::]:8481": true, "127.0.0.1:8481": false, "other.internal:8481": false} {
		if got := knownHost(machine+":8481", hostNames(address)); got != want {
			t.Errorf("at %s the name of the machine is known: %v", address, got)
		}
	}
	if !knownHost("other.internal", hostNames("other.internal:8481")) {
		t.Error("the name it listens by is not known")
	}
}

// TestOnlyAddressesAndOwnNamesAreKnownHosts: a page of another site that has its own name lead here is refused.
func TestOnlyAddressesAndOwnNamesAreKnownHosts(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8481": true, "127.0.0.1": true, "127.0.0.1:8481": true, "192.0.2.7:80": true, "[::1]": true, "[::1]:8481": true, "::1": true,
		"agent.internal": true, "AGENT.internal:8481": true,
		"": false, "[": false, "[]": false, "[::1": false, "evil.example": false, "evil.example:8481": false, "[evil.example]": false, "localhost.evil.example": false,
	} {
		if got := knownHost(host, []string{"", "agent.internal"}); got != want {
			t.Errorf("%q is known: %v", host, got)
		}
	}
}

// TestWhatIsNotThereIsRefusedInJSON holds /metrics too, until there is one.
func TestWhatIsNotThereIsRefusedInJSON(t *testing.T) {
	a := testServer(&answers{})
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/metrics", http.StatusNotFound},
		{http.MethodGet, "/api/nothing", http.StatusNotFound},
		{http.MethodDelete, "/api/status", http.StatusMethodNotAllowed},
	} {
		w := ask(a.Listener("127.0.0.1:8481"), c.method, "http://127.0.0.1"+c.path)
		var p Problem
		err := json.Unmarshal(w.Body.Bytes(), &p)
		if w.Code != c.status || err != nil || p.Code != "no_route" || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s answered %d %s %s", c.method, c.path, w.Code, w.Header().Get("Content-Type"), w.Body)
		}
		if c.status == http.StatusMethodNotAllowed && w.Header().Get("Allow") == "" {
			t.Error("405 without Allow")
		}
	}
}
