package api

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"strings"
	"testing"
	"time"

	"personasync/store"
	"personasync/store/domain"
)

// asked is an Inspector that remembers what it was asked.
type asked struct {
	answers
	next     int
	activity store.ActivityFilter
	counted  domain.OutboxFilter
}

func (a *asked) Schedule(_ context.Context, next int) ([]JobInfo, error) {
	a.next = next
	return []JobInfo{{Job: "nightly"}}, a.err
}

func (a *asked) Activity(_ context.Context, f store.ActivityFilter) (store.Activity, error) {
	a.activity = f
	return store.Activity{Next: "later", More: true}, a.err
}

func (a *asked) Stats(_ context.Context, f domain.OutboxFilter) ([]domain.StatLine, error) {
	a.counted = f
	return nil, a.err
}

// TestAQuestionArrivesAsItWasAsked: of the schedule, of activity, and of counts by a filter.
func TestAQuestionArrivesAsItWasAsked(t *testing.T) {
	a := &asked{}
	c := dial(t, serveSocket(t, testServer(a).Socket()))
	if list, err := c.Schedule(t.Context(), 7); err != nil || len(list) != 1 || list[0].Job != "nightly" || a.next != 7 {
		t.Errorf("the next %d: %+v, %v", a.next, list, err)
	}
	want := store.ActivityFilter{User: "ann & bob", Computation: "vip", Limit: 9, Cursor: "c"}
	if got, err := c.Activity(t.Context(), want); err != nil || a.activity != want || got.Next != "later" || !got.More || got.Items == nil {
		t.Errorf("activity by %+v: %+v, %v", a.activity, got, err)
	}
	since := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	filter := domain.OutboxFilter{State: domain.StateHeld, User: "ann", Computation: "vip", Reason: "mass_exit", Since: since, Until: since.Add(time.Hour)}
	if list, err := c.Stats(t.Context(), filter); err != nil || a.counted != filter || list == nil {
		t.Errorf("stats by %+v: %+v, %v", a.counted, list, err)
	}
	a.err = store.ErrBadCursor
	if _, err := c.Activity(t.Context(), want); !errors.Is(err, store.ErrBadCursor) {
		t.Errorf("a bad cursor: %v", err)
	}
	if _, err := c.Schedule(t.Context(), 1); !errors.Is(err, store.ErrBadCursor) {
		t.Errorf("a question that fails: %v", err)
	}
}

// pausing is a Pauser.
type pausing struct {
	err error
	was *domain.Pause
}

func (p *pausing) Pause(_ context.Context, now domain.Pause) (*domain.Pause, error) {
	p.was = &now
	return p.was, p.err
}

func (p *pausing) Resume(context.Context, string) (*domain.Pause, error) {
	was := p.was
	p.was = nil
	return was, p.err
}

// TestAPauseNamesItsReasonAndTheUserAtTheSocket, and not the user that the request names.
func TestAPauseNamesItsReasonAndTheUserAtTheSocket(t *testing.T) {
	p, s := &pausing{}, testServer(&answers{})
	s.Pauser = p
	c := dial(t, serveSocket(t, s.Socket()))
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	until := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	got, err := c.Pause(t.Context(), domain.Pause{Why: "freeze", By: "somebody else", Until: until})
	if err != nil || got.Why != "freeze" || got.By != me.Username || !got.Until.Equal(until) {
		t.Errorf("paused %+v, %v", got, err)
	}
	for _, why := range []string{"", strings.Repeat("x", 501)} {
		if _, err := c.Pause(t.Context(), domain.Pause{Why: why}); !errors.Is(err, ErrUsage) {
			t.Errorf("a reason of %d bytes: %v", len(why), err)
		}
	}
	if _, err := c.Pause(t.Context(), domain.Pause{Why: strings.Repeat("x", 500)}); err != nil {
		t.Errorf("a reason of 500 bytes: %v", err)
	}
	if was, err := c.Resume(t.Context(), ""); err != nil || was == nil || len(was.Why) != 500 {
		t.Errorf("resumed %+v, %v", was, err)
	}
	if was, err := c.Resume(t.Context(), ""); err != nil || was != nil {
		t.Errorf("without a pause: %+v, %v", was, err)
	}
	p.err = store.ErrFull
	if _, err := c.Pause(t.Context(), domain.Pause{Why: "freeze"}); !errors.Is(err, store.ErrFull) {
		t.Errorf("on a full disk: %v", err)
	}
	if _, err := c.Resume(t.Context(), ""); !errors.Is(err, store.ErrFull) {
		t.Errorf("on a full disk: %v", err)
	}
}

// TestTheLogNamesTheOperatorAndNoUser: an action is logged once it is carried out, and a dry run is not.
func TestTheLogNamesTheOperatorAndNoUser(t *testing.T) {
	var log bytes.Buffer
	w, s := &worker{}, testServer(&answers{})
	s.Running, s.Orders, s.Upkeep, s.Log = w, w, w, slog.New(slog.NewTextHandler(&log, nil))
	c := dial(t, serveSocket(t, s.Socket()))
	order := ActionOrder{Filter: &ActionFilter{User: "ann@example.com", Reason: "anonymous"}, DryRun: true}
	if _, err := c.Drop(t.Context(), order); err != nil || strings.Contains(log.String(), "operator's action") {
		t.Errorf("%v, a dry run is logged: %s", err, &log)
	}
	order.DryRun = false
	if _, err := c.Drop(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	line := log.String()
	for _, words := range []string{"operator=" + me.Username, "uid=" + me.Uid, "pid=" + strconv.Itoa(os.Getpid()), "changes=2", "reason=anonymous", "of one user"} {
		if !strings.Contains(line, words) {
			t.Errorf("no %s in %s", words, line)
		}
	}
	if strings.Contains(line, "ann@example.com") {
		t.Errorf("the log names a user: %s", line)
	}
	log.Reset()
	w.err = store.ErrFull
	if _, err := c.Drop(t.Context(), order); !errors.Is(err, store.ErrFull) || strings.Contains(log.String(), "operator's action") {
		t.Errorf("%v, an action that failed is logged: %s", err, &log)
	}
}

func TestAClientSaysWhichAgentItAsks(t *testing.T) {
	path := serveSocket(t, testServer(&answers{}).Socket())
	for version, want := range map[string]string{"1.0": "the agent is running (pid ", "2.0": "version 1.0; this command is 2.0)"} {
		c, err := Dial(t.Context(), path, version)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Where(); !strings.Contains(got, want) || strings.Contains(got, "this command is") != (version == "2.0") {
			t.Errorf("%s: %s", version, got)
		}
		_ = c.Close()
	}
}

// TestAQuestionWithOneConditionIsAFilter, and one with none counts everything.
func TestAQuestionWithOneConditionIsAFilter(t *testing.T) {
	a := &asked{}
	socket := testServer(a).Socket()
	for query, want := range map[string]domain.OutboxFilter{
		"": {}, "?user=ann": {User: "ann"}, "?state=parked": {State: domain.StateParked}, "?reason=anonymous": {Reason: "anonymous"},
	} {
		a.counted = domain.OutboxFilter{User: "nobody asked"}
		if w := ask(socket, http.MethodGet, "http://personasync/api/stats"+query); w.Code != http.StatusOK || a.counted != want {
			t.Errorf("%q: %d, counted by %+v, want %+v", query, w.Code, a.counted, want)
		}
	}
}

// TestNoAnswerLeavesItsPage: not into a cache, a frame of another site, or the address that a link passes on.
func TestNoAnswerLeavesItsPage(t *testing.T) {
	for _, path := range []string{"/", "/healthz", "/api/nothing"} {
		h := ask(testServer(&answers{}).Listener("127.0.0.1:8481"), http.MethodGet, "http://127.0.0.1"+path).Header()
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Content-Security-Policy": "frame-ancestors 'none'",
		} {
			if got := h.Get(name); !strings.Contains(got, want) {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
	}
}
