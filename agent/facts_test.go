package agent

import (
	"slices"
	"testing"
	"time"

	"personasync/agent/condition"
	"personasync/scheduler"
	syncer "personasync/sync"
)

func TestACounterMattersForAnHourAfterItGrew(t *testing.T) {
	at := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	var g grown
	for _, step := range []struct {
		after time.Duration
		count uint64
		want  bool
	}{
		{0, 0, false}, // it never grew
		{time.Minute, 3, true},
		{time.Hour, 3, true},
		{time.Hour + time.Minute - 1, 3, true},
		{time.Hour + time.Minute, 3, false},
		{2 * time.Hour, 4, true},
		{3 * time.Hour, 2, false}, // it began anew
		{3*time.Hour + time.Minute, 3, true},
	} {
		if got := g.lately(step.count, at.Add(step.after)); got != step.want {
			t.Errorf("after %v, at %d: %v", step.after, step.count, got)
		}
	}
}

// TestRunsThatWereMissedBeforeTheStartAreNotNew, and a job that was never seen counts from now on.
func TestRunsThatWereMissedBeforeTheStartAreNotNew(t *testing.T) {
	at := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	var m missedRuns
	m.begin([]scheduler.Run{{Job: "nightly", Missed: 7}})
	plan := func(nightly, added uint64) []scheduler.Planned {
		return []scheduler.Planned{{Job: "nightly", Last: scheduler.Run{Missed: nightly}}, {Job: "added", Last: scheduler.Run{Missed: added}}}
	}
	for _, step := range []struct {
		after          time.Duration
		nightly, added uint64
		want           []string
	}{
		{0, 7, 2, nil},
		{time.Minute, 8, 2, []string{"nightly"}},
		{2 * time.Minute, 8, 3, []string{"nightly", "added"}},
		{time.Hour + time.Minute, 8, 3, []string{"added"}},
		{2 * time.Hour, 8, 3, nil},
	} {
		if got := m.lately(plan(step.nightly, step.added), at.Add(step.after)); !slices.Equal(got, step.want) {
			t.Errorf("after %v: %v, want %v", step.after, got, step.want)
		}
	}
}

// TestOnlyAFailingMoEngageHasANextTry: it is a time to come, in whole seconds. The last error is kept after recovery, and
// nothing is stopped then.
func TestOnlyAFailingMoEngageHasANextTry(t *testing.T) {
	now := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		health syncer.Health
		want   condition.Reachability
	}{
		"unknown": {syncer.Health{State: "unknown"}, condition.Reachability{State: "unknown"}},
		"failing": {
			syncer.Health{State: "failing", LastError: "http_503", LastErrorAt: now.Add(-1500 * time.Millisecond), Since: now.Add(-time.Minute), NextProbe: now.Add(7300 * time.Millisecond)},
			condition.Reachability{State: "failing", LastError: "http_503", LastErrorAt: "2026-03-14T08:59:58Z", Since: "2026-03-14T08:59:00Z", NextTry: "2026-03-14T09:00:07Z"},
		},
		"refusing": {
			syncer.Health{State: "failing", Stopped: true, NextProbe: now.Add(time.Minute)},
			condition.Reachability{State: "failing", Stopped: true, NextTry: "2026-03-14T09:01:00Z"},
		},
		"with nothing to send at the last probe": {
			syncer.Health{State: "failing", NextProbe: now},
			condition.Reachability{State: "failing"},
		},
		"recovered": {
			syncer.Health{State: "ok", LastError: "http_401", LastErrorAt: now.Add(-time.Hour), Since: now, Stopped: true, NextProbe: now.Add(time.Minute)},
			condition.Reachability{State: "ok", LastError: "http_401", LastErrorAt: "2026-03-14T08:00:00Z", Since: "2026-03-14T09:00:00Z"},
		},
	} {
		if got := reachability(tt.health, now); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}
