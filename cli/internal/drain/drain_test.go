package drain

import (
	"strings"
	"testing"
	"time"

	"personasync/agent/condition"
	"personasync/store/domain"
)

// A flush that waits says what for while MoEngage answers, and ends when waiting changes nothing.
func TestADrainSaysWhatItWaitsFor(t *testing.T) {
	due := domain.ChangeInfo{ID: "1", User: "usr ann"}
	poison := domain.ChangeInfo{ID: "2", User: "bob", NextAttempt: "2026-03-14T10:05:00Z", Reason: "http_500"}
	later := domain.ChangeInfo{ID: "3", User: "cid", NextAttempt: "2026-03-14T10:06:00Z", Reason: "timeout"}
	for _, tt := range []struct {
		name    string
		pending []domain.ChangeInfo
		more    bool
		still   time.Duration
		over    bool
		says    string
	}{
		{"retries alone", []domain.ChangeInfo{later, poison}, false, drainOver, true, "the next at 2026-03-14T10:05:00Z (http_500)"},
		{"retries alone, not for long", []domain.ChangeInfo{later, poison}, false, drainStill, false, "are retried later"},
		{"retries, and more behind them", []domain.ChangeInfo{later, poison}, true, drainOver, false, "are retried later"},
		{"something due", []domain.ChangeInfo{poison, due}, false, time.Hour, false, "delayed by a limit"},
		{"nothing any more", nil, false, time.Hour, false, ""},
	} {
		w := waitOf(tt.pending, tt.more, tt.still)
		if w.over != tt.over || !strings.Contains(w.text, tt.says) {
			t.Errorf("%s: %+v, want over %v and %q", tt.name, w, tt.over, tt.says)
		}
		s := condition.Status{}
		s.Changes.Pending = uint64(len(tt.pending))
		if err := w.end(&s, true); !strings.Contains(err.Error(), "--timeout") || !strings.Contains(err.Error(), "`personasync flush --wait`") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if w := waitOf([]domain.ChangeInfo{due}, false, drainStill); !strings.Contains(w.command, "`personasync user show 'usr ann'`") {
		t.Errorf("the command is not whole: %s", w.command)
	}
}

// TestAFlushThatWaitsDoesNotTakeLaterChangesForThoseItWaitsFor: live changes that arrived later leave before an
// import that was pending, and were counted as it. So it said that the import had left.
func TestAFlushThatWaitsDoesNotTakeLaterChangesForThoseItWaitsFor(t *testing.T) {
	asked := time.Date(2026, 3, 14, 10, 0, 0, 5e8, time.UTC)
	status := func(created, pending uint64, oldest time.Time) *condition.Status {
		s := &condition.Status{OldestPending: &oldest}
		s.Changes.Created, s.Changes.Pending = created, pending
		return s
	}
	before := status(400, 400, asked.Add(-time.Minute))
	for _, tt := range []struct {
		name string
		s    *condition.Status
		done int64
		over bool
	}{
		{"nothing has left", before, 0, false},
		{"500 that came later have left", status(900, 400, asked.Add(-time.Minute)), 400, false},
		{"some of both", status(900, 300, asked.Truncate(time.Second)), 400, false},
		{"what is pending came later", status(900, 300, asked.Add(time.Minute)), 400, true},
		{"what was pending is a moment old", status(900, 600, asked.Add(time.Minute)), 300, false},
		{"nothing is pending", status(400, 0, time.Time{}), 400, true},
	} {
		if l := leftOf(tt.s, before, asked); l.drained != tt.over || l.done != tt.done || l.total != 400 {
			t.Errorf("%s: %+v, want drained %v and %d done", tt.name, l, tt.over, tt.done)
		}
	}
	late := domain.ChangeInfo{ID: "1", User: "ann", ReceivedAt: "2026-03-14T10:00:01Z"}
	old := domain.ChangeInfo{ID: "2", User: "bob", ReceivedAt: "2026-03-14T09:59:00.25Z", NextAttempt: "2026-03-14T10:05:00Z", Reason: "http_500"}
	if w := waitOf(receivedBy([]domain.ChangeInfo{late, old}, asked), false, drainOver); !w.over {
		t.Errorf("a change that came later keeps a drain waiting whose own wait for a retry: %+v", w)
	}
}

// TestAFlushInTheSecondOfAnErrorKnowsThatMoEngageWasTried: the status before it had the same time of the last error, and
// the flush waited for the next probe, a minute later.
func TestAFlushInTheSecondOfAnErrorKnowsThatMoEngageWasTried(t *testing.T) {
	asked := time.Date(2026, 3, 14, 10, 0, 0, 5e8, time.UTC)
	at := func(last, next string) *condition.Reachability {
		return &condition.Reachability{LastErrorAt: last, NextTry: next}
	}
	for _, tt := range []struct {
		name   string
		m, was *condition.Reachability
		tried  bool
	}{
		{"in that second", at("2026-03-14T10:00:00Z", "x"), at("2026-03-14T10:00:00Z", "x"), true},
		{"in the second before", at("2026-03-14T09:59:59Z", "x"), at("2026-03-14T09:59:59Z", "x"), false},
		{"another error", at("2026-03-14T10:00:01Z", "x"), at("2026-03-14T09:59:59Z", "x"), true},
		{"another next try", at("2026-03-14T09:59:59Z", "y"), at("2026-03-14T09:59:59Z", "x"), true},
		{"never an error", at("", ""), at("", ""), false},
	} {
		if got := triedSince(asked, tt.m, tt.was); got != tt.tried {
			t.Errorf("%s: tried %v, want %v", tt.name, got, tt.tried)
		}
	}
}
