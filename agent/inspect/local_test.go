package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/agent/sending"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// event states that a user is in the audience vip, or a fault.
func event(user, fault string) *domain.Event {
	now := time.Now()
	return &domain.Event{
		Received: now, Time: now, MessageID: "m-" + user, Raw: []byte(`{"type": "identify"}`), Call: domain.CallIdentify,
		User: domain.Identifier{ID: user}, Class: domain.ClassAudience, Space: "spa", ComputationID: "aud_1", Key: "vip", Flag: domain.FlagIn,
		Fault: fault,
	}
}

// filled is a Local over a store with changes of ann and bob, attribute and event, and a parked event of cid. Live says
// that it is a running agent's.
func filled(t *testing.T, live bool, changed ...func(*Source)) *Local {
	t.Helper()
	s, err := store.Open(t.TempDir(), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	c := config.Default()
	c.MoEngage.WorkspaceID, c.MoEngage.BaseURL = "WS", "https://moengage.example"
	ctx := t.Context()
	if err := errors.Join(s.SetRules(ctx, c.Rules()), s.Append(ctx, event("ann", ""), event("bob", ""), event("cid", "undetermined")), s.Applied(ctx)); err != nil {
		t.Fatal(err)
	}
	from := Source{
		Open:     func() (*store.View, func() error, error) { return &s.View, func() error { return nil }, nil },
		Process:  func() condition.Process { return condition.Stopped(false) },
		Config:   func() *config.Config { return c },
		Endpoint: func(e domain.Endpoint) syncer.Config { return sending.Config(c, e) },
		Plan:     func(*store.View) ([]Planned, error) { return nil, nil },
		Version:  "1.0", Where: "here",
	}
	if live {
		from.Received = s.LastRecord
	}
	for _, change := range changed {
		change(&from)
	}
	return New(from)
}

// TestARunningAgentAndItsFilesGiveEqualAnswers: only the pace of reading differs.
func TestARunningAgentAndItsFilesGiveEqualAnswers(t *testing.T) {
	for name, live := range map[string]bool{"running": true, "stopped": false} {
		t.Run(name, func(t *testing.T) {
			l, ctx := filled(t, live), t.Context()
			if st, err := l.Status(ctx); err != nil || st.Parked != 1 || st.Pending != 2 || st.Version != "1.0" || st.Ready || st.Conditions == nil || st.Salvages == nil {
				t.Errorf("status: %+v, %v", st, err)
			}
			if list, err := l.Computations(ctx); err != nil || len(list) != 1 || list[0].Members != 2 {
				t.Errorf("computations: %+v, %v", list, err)
			}
			if lines, err := l.Stats(ctx, domain.OutboxFilter{}); err != nil || len(lines) != 2 {
				t.Errorf("stats: %+v, %v", lines, err)
			}
			first, more, err := l.Members(ctx, "vip", "", 1)
			if err != nil || !more || len(first) != 1 {
				t.Fatalf("members: %+v, %v, %v", first, more, err)
			}
			if rest, more, err := l.Members(ctx, "vip", first[0].User, 5); err != nil || more || len(rest) != 1 || rest[0].User == first[0].User {
				t.Errorf("the other members: %+v, %v, %v", rest, more, err)
			}
			if _, _, err := l.Members(ctx, "nobody", "", 1); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("members of nothing: %v", err)
			}
			if a, err := l.Activity(ctx, store.ActivityFilter{Limit: 10}); err != nil || len(a.Items) == 0 {
				t.Errorf("activity: %+v, %v", a, err)
			}
			if l.Where() != "here" {
				t.Errorf("it is from %q", l.Where())
			}
		})
	}
}

func TestAListingIsWholeOverItsPages(t *testing.T) {
	l := filled(t, false)
	var ids []string
	for cursor, more := "", true; more; more = cursor != "" {
		page, next, err := l.Changes(t.Context(), domain.OutboxFilter{Limit: 1, Cursor: cursor})
		if err != nil || len(page) != 1 {
			t.Fatalf("%+v, %q, %v", page, next, err)
		}
		ids, cursor = append(ids, page[0].ID), next
	}
	if slices.Sort(ids); len(slices.Compact(ids)) != 2 {
		t.Errorf("listed %q", ids)
	}
	if page, _, err := l.Changes(t.Context(), domain.OutboxFilter{User: "nobody"}); err != nil || page == nil || len(page) != 0 {
		t.Errorf("an empty page is %#v, %v", page, err)
	}
	if _, _, err := l.Changes(t.Context(), domain.OutboxFilter{Cursor: "zz"}); !errors.Is(err, store.ErrBadCursor) {
		t.Errorf("a cursor that is none: %v", err)
	}
}

func TestAChangePageHasItsEventAndItsRequest(t *testing.T) {
	l := filled(t, false)
	pending, _, err := l.Changes(t.Context(), domain.OutboxFilter{})
	if err != nil {
		t.Fatal(err)
	}
	parkedOnes, _, err := l.Changes(t.Context(), domain.OutboxFilter{State: domain.StateParked})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]*api.ChangePage{}
	for _, line := range slices.Concat(pending, parkedOnes) {
		id, err := domain.ParseID(line.ID)
		if err != nil {
			t.Fatal(err)
		}
		c, err := l.Change(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		kinds[c.Kind] = c
		if string(c.Event) != `{"type":"identify"}` || !json.Valid(c.Value) {
			t.Errorf("%s: event %s, value %s", c.Kind, c.Event, c.Value)
		}
	}
	parked := kinds["received"]
	if parked == nil || parked.Request != nil || !strings.Contains(parked.NoRequest, "nothing to send") || parked.Reason != "undetermined" {
		t.Errorf("the parked event: %+v", parked)
	}
	delete(kinds, "received")
	for kind, c := range kinds {
		if c.Request == nil || c.NoRequest != "" || c.Name == "" || c.ComputationID != "aud_1" || !strings.HasPrefix(c.Request.URL, "https://moengage.example/") {
			t.Errorf("%s: %+v, request %+v", kind, c, c.Request)
		}
	}
	if _, err := l.Change(t.Context(), domain.ID{Epoch: 1, Seq: 999}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a change that is none: %v", err)
	}
}

func TestAUsersPageSaysWhyEachChangeWaits(t *testing.T) {
	l := filled(t, false)
	u, err := l.User(t.Context(), "ann")
	if err != nil || len(u.Pending) == 0 || u.Traits == nil || u.History == nil {
		t.Fatalf("%+v, %v", u, err)
	}
	for _, c := range u.Pending {
		if !strings.Contains(c.Waits, "it is due") {
			t.Errorf("%s waits: %q", c.Kind, c.Waits)
		}
	}
	text, err := json.Marshal(u)
	if err != nil || strings.Contains(string(text), "rgument") {
		t.Errorf("it crosses the socket as %s, %v", text, err)
	}
	if _, err := l.User(t.Context(), "nobody"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a user who is none: %v", err)
	}
}

func TestADryRunIsBoundedByUsers(t *testing.T) {
	l := filled(t, false)
	for limit, want := range map[int]int{1: 1, 2: 2, 1000: 2} {
		r, err := l.DryRun(t.Context(), "", limit)
		if err != nil || len(r.WouldPark) != 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		n := 0
		for _, request := range r.Requests {
			n += request.Users
		}
		if n != want {
			t.Errorf("with at most %d users it shows %d", limit, n)
		}
	}
	if _, err := l.DryRun(t.Context(), "nobody", 1); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("of a computation that is none: %v", err)
	}
}

func TestAScheduleShowsTheNextRuns(t *testing.T) {
	at := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	daily, err := scheduler.Parse("0 3 * * *", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	plan := NewPlan([]scheduler.Job{{Name: "nightly", Schedule: daily, CatchUp: true}}, []scheduler.Planned{
		{Job: "nightly", Spec: "0 3 * * *", Next: at, Last: scheduler.Run{Started: at.AddDate(0, 0, -1), Failed: 2, FailedAt: at.AddDate(0, 0, -1), Code: "failed", Error: "no route", Missed: 3}},
		{Job: "by hand"},
	})
	l := filled(t, false, func(s *Source) { s.Plan = func(*store.View) ([]Planned, error) { return plan, nil } })
	jobs, err := l.Schedule(t.Context(), 3)
	if err != nil || len(jobs) != 2 {
		t.Fatalf("%+v, %v", jobs, err)
	}
	j := jobs[0]
	if !slices.Equal(j.NextUTC, []string{"2026-03-01T03:00:00Z", "2026-03-02T03:00:00Z", "2026-03-03T03:00:00Z"}) || !j.CatchUp || j.Missed != 3 || j.Zone != "UTC" || j.Last != "2026-02-28T03:00:00Z" || j.Finished != "" {
		t.Errorf("%+v", j)
	}
	if b := jobs[1]; b.Next == nil || len(b.Next) != 0 || b.Last != "" {
		t.Errorf("without a schedule: %+v", b)
	}
	st, err := l.Status(t.Context())
	want := []condition.FailedJob{{Job: "nightly", FailedAt: "2026-02-28T03:00:00Z", Code: "failed", Error: "no route", Failed: 2}}
	if err != nil || !slices.Equal(st.FailedJobs, want) {
		t.Errorf("failed jobs: %+v, %v", st.FailedJobs, err)
	}
}

func TestAnEndedQuestionReadsNothing(t *testing.T) {
	looks := 0
	l := filled(t, true, func(s *Source) {
		open := s.Open
		s.Open = func() (*store.View, func() error, error) { looks++; return open() }
	})
	ended, end := context.WithCancel(t.Context())
	end()
	_, statusErr := l.Status(ended)
	_, _, changesErr := l.Changes(ended, domain.OutboxFilter{})
	if !errors.Is(statusErr, context.Canceled) || !errors.Is(changesErr, context.Canceled) || looks != 0 {
		t.Errorf("%v, %v after %d looks", statusErr, changesErr, looks)
	}
	// A view that cannot be released is an error, and so is one that cannot be opened.
	broken := errors.New("no lock")
	l = filled(t, false, func(s *Source) {
		open := s.Open
		s.Open = func() (*store.View, func() error, error) {
			v, _, err := open()
			return v, func() error { return broken }, err
		}
	})
	if _, err := l.Computations(t.Context()); !errors.Is(err, broken) {
		t.Errorf("a view that is not released: %v", err)
	}
	l = filled(t, false, func(s *Source) { s.Open = func() (*store.View, func() error, error) { return nil, nil, broken } })
	if _, err := l.Computations(t.Context()); !errors.Is(err, broken) {
		t.Errorf("a view that is not opened: %v", err)
	}
}
