package page

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// agent is an Inspector that knows its status and one user.
type agent struct {
	api.Inspector
	pending uint64
}

func (a agent) Status(context.Context) (condition.Status, error) {
	return condition.Status{Pending: a.pending}, nil
}

func (agent) User(context.Context, string) (*domain.UserInfo, error) {
	return &domain.UserInfo{User: "ann_7", Traits: map[string]json.RawMessage{"city": json.RawMessage(`"Bergen"`)}}, nil
}

// serve serves a page of an empty store, which shows users if showUsers says so.
func serve(t *testing.T, showUsers bool) (*Page, *httptest.Server) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := store.Open(t.TempDir(), store.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r, err := NewRecorder(s, log, time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	p := New(Source{
		Inspect: agent{pending: 3}, Store: s, Recorder: r,
		Plan:      func() []scheduler.Planned { return nil },
		ShowUsers: func() bool { return showUsers },
		PerMinute: func() int { return 100 },
		Command:   "personasync --config /srv/agent.toml",
		Explain:   func(string) (syncer.Explanation, bool) { return syncer.Explanation{}, false },
		Setup:     func() Setup { return Setup{URL: "https://example/segment/webhook"} },
	})
	side := &api.Server{
		Inspect: agent{}, Running: (*api.Client)(nil), Version: "1.0", Log: log, Page: p.Routes,
		ShowUsers: func() bool { return showUsers }, Unready: func() string { return "" },
	}
	server := httptest.NewServer(side.Listener("127.0.0.1:0"))
	t.Cleanup(func() {
		p.Close()
		http.DefaultClient.CloseIdleConnections()
		server.Close()
	})
	return p, server
}

// TestASnapshotServesEveryPageOfItsMoment: many open pages do not read the store many times.
func TestASnapshotServesEveryPageOfItsMoment(t *testing.T) {
	p, _ := serve(t, false)
	now := time.Now()
	first, err := p.snapshot(now)
	if err != nil {
		t.Fatal(err)
	}
	for after, same := range map[time.Duration]bool{500 * time.Millisecond: true, 2 * time.Second: false, -time.Minute: false} {
		p.last = first
		if again, err := p.snapshot(now.Add(after)); err != nil || (again == first) != same {
			t.Errorf("after %v the same snapshot: %v, want %v (%v)", after, again == first, same, err)
		}
	}
}

func TestAStreamFollowsUntilThePageCloses(t *testing.T) {
	p, server := serve(t, false)
	resp, err := http.Get(server.URL + "/api/page/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	var snap Snapshot
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(data), &snap); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if snap.Status.Pending != 3 || snap.Verdicts[0].Level != "ok" {
		t.Errorf("the stream tells %+v", snap)
	}
	p.Close()
	for lines.Scan() { // to the end
	}
	if err := lines.Err(); err != nil {
		t.Errorf("a closed page ends its stream with %v", err)
	}
}

// TestAStoreThatGivesNoAnswerIsSaid: a stream that only ended would look like an agent that is gone.
func TestAStoreThatGivesNoAnswerIsSaid(t *testing.T) {
	p, server := serve(t, false)
	if err := p.Store.Close(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(server.URL + "/api/page/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	var event string
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			event = name
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var v Verdict
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			t.Fatal(err)
		}
		if event != "fault" || v.Name != condition.Unreadable || v.Level != "bad" || v.Lost == "" || v.Command != "personasync --config /srv/agent.toml db check" {
			t.Errorf("it is told as %s: %+v", event, v)
		}
		break
	}
}

func TestPagesThatAreTooMany(t *testing.T) {
	_, server := serve(t, false)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	codes := make(map[int]int)
	for range maxStreams + 1 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/page/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		codes[resp.StatusCode]++
	}
	if d := cmp.Diff(map[int]int{200: maxStreams, 503: 1}, codes); d != "" {
		t.Error(d)
	}
}

func TestAUserOnThePageIsMaskedUnlessUsersAreShown(t *testing.T) {
	for _, show := range []bool{false, true} {
		_, server := serve(t, show)
		resp, err := http.Get(server.URL + "/api/page/user?id=ann_7")
		if err != nil {
			t.Fatal(err)
		}
		var u domain.UserInfo
		err = json.NewDecoder(resp.Body).Decode(&u)
		resp.Body.Close()
		if err != nil || (u.User == "ann_7") != show || (string(u.Traits["city"]) == `"Bergen"`) != show {
			t.Errorf("with show_users = %v the user is %+v (%v)", show, u, err)
		}
	}
}
