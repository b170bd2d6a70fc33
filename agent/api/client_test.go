package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"personasync/agent/condition"
	"personasync/agent/host"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// serveSocket serves h on a fresh unix socket until the test ends. As the agent's own, it knows the user at the other end.
func serveSocket(t *testing.T, h http.Handler) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := host.ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: h, ReadHeaderTimeout: time.Second, ConnContext: WithPeer}}
	server.Start()
	t.Cleanup(server.Close)
	return path
}

func dial(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), path, "1.0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestClientHearsWhatTheInspectorSays(t *testing.T) {
	next := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	said := &answers{
		status:  condition.Status{Ready: true, Pending: 3, NextFlush: &next},
		changes: []domain.ChangeInfo{{ID: "00000001-1-0", User: "a/b?c=d e", Value: json.RawMessage(`{"n":12345678901234567890}`)}},
		more:    true,
		next:    "0b0c",
		page: &ChangePage{ChangeInfo: domain.ChangeInfo{ID: "00000001-1-0", Value: json.RawMessage("null")}, Event: json.RawMessage(`{"x":"<&>\u2028"}`),
			Answer:  &domain.Answer{Status: 503, At: next},
			Request: &syncer.Preview{Method: "POST", Header: http.Header{"A": {"b"}}, Body: json.RawMessage(`[1.0]`)}},
		stats:   []domain.StatLine{{State: "pending", Count: 1}},
		list:    []domain.ComputationInfo{{Key: "k", Members: 2}},
		members: []domain.MemberInfo{{User: "ü", Since: "2026-03-14T09:00:00Z"}},
		user:    &domain.UserInfo{User: "u", Traits: map[string]json.RawMessage{"t": json.RawMessage("1.50")}},
		dryRun:  &DryRunResult{Requests: []syncer.Preview{{URL: "https://x", Body: json.RawMessage("{}")}}, WouldPark: []string{"y"}, Remarks: []string{"r"}},
		preview: &PreviewResult{Path: "/p", Remarks: []string{"r"}, Events: []PreviewEvent{{
			PreviewReading: PreviewReading{User: "ü", Values: map[string]json.RawMessage{"t": json.RawMessage("1.50")}},
			PreviewOutcome: PreviewOutcome{Outcome: "enter", Changes: []PreviewChange{{Value: json.RawMessage("true")}}, Requests: []syncer.Preview{{URL: "https://x", Body: json.RawMessage("{}")}}},
		}}},
	}
	c := dial(t, serveSocket(t, testServer(said).Socket()))
	ctx := t.Context()

	type answer struct {
		V    any
		More any
		Err  error
	}
	questions := map[string]func(i Inspector) answer{
		"status": func(i Inspector) answer { v, err := i.Status(ctx); return answer{v, false, err} },
		"changes": func(i Inspector) answer {
			v, next, err := i.Changes(ctx, domain.OutboxFilter{State: domain.StateParked, User: "a/b?c=d e", Computation: "k&l", Limit: 5, Cursor: "0a0b0c0d0e"})
			return answer{v, next, err}
		},
		"change": func(i Inspector) answer {
			v, err := i.Change(ctx, domain.ID{Epoch: 1, Seq: 1})
			return answer{v, false, err}
		},
		"stats":        func(i Inspector) answer { v, err := i.Stats(ctx, domain.OutboxFilter{}); return answer{v, false, err} },
		"computations": func(i Inspector) answer { v, err := i.Computations(ctx); return answer{v, false, err} },
		"members": func(i Inspector) answer {
			v, more, err := i.Members(ctx, "k", "u&v", 9)
			return answer{v, more, err}
		},
		"user": func(i Inspector) answer { v, err := i.User(ctx, "../u?x=%2f"); return answer{v, false, err} },
		"journal": func(i Inspector) answer {
			v, err := i.Journal(ctx, domain.JournalFilter{User: "u&x", Computation: "k", Since: next, Limit: 9, Before: 12})
			return answer{v, false, err}
		},
		"deletions": func(i Inspector) answer {
			v, n, err := i.Deletions(ctx, domain.DeletionFilter{User: "u&x", State: "held", Skip: 3, Limit: 9})
			return answer{v, n == 7, err}
		},
		"dry run": func(i Inspector) answer { v, err := i.DryRun(ctx, "k", 3); return answer{v, false, err} },
		"preview": func(i Inspector) answer {
			v, err := i.Preview(ctx, PreviewQuery{Body: []byte("[{\"a\":\"ü\"}]\x00"), Path: "/v1/track?x&y", Received: next})
			return answer{v, false, err}
		},
	}
	for name, question := range questions {
		t.Run(name, func(t *testing.T) {
			heard := question(c)
			gotFilter, gotAsked, gotLimit := said.filter, said.asked, said.limit
			if diff := cmp.Diff(question(said), heard); diff != "" {
				t.Errorf("the client hears something else (-said +heard):\n%s", diff)
			}
			if gotFilter != said.filter || gotAsked != said.asked || gotLimit != said.limit {
				t.Errorf("the question arrived as %+v %q %d, not %+v %q %d", gotFilter, gotAsked, gotLimit, said.filter, said.asked, said.limit)
			}
		})
	}
	receipt, err := c.Flush(ctx, "")
	if err != nil || receipt.Pending != 7 {
		t.Errorf("flush: %+v, %v", receipt, err)
	}
}

func TestBothSidesStateTheirVersion(t *testing.T) {
	a := testServer(&answers{})
	a.Version = "2.0"
	c := dial(t, serveSocket(t, a.Socket()))
	if want := "version 2.0; this command is 1.0"; !strings.Contains(c.Where(), want) {
		t.Errorf("%q does not say %q", c.Where(), want)
	}
}
