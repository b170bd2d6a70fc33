package cli

import (
	"strings"
	"testing"
	"time"

	"personasync/agent"
	"personasync/store"
)

// A flush that waits says what for while MoEngage answers, and ends when waiting changes nothing.
func TestADrainSaysWhatItWaitsFor(t *testing.T) {
	due := store.ChangeInfo{ID: "1", User: "usr ann"}
	poison := store.ChangeInfo{ID: "2", User: "bob", NextAttempt: "2026-03-14T10:05:00Z", Reason: "http_500"}
	later := store.ChangeInfo{ID: "3", User: "cid", NextAttempt: "2026-03-14T10:06:00Z", Reason: "timeout"}
	for _, tt := range []struct {
		name    string
		pending []store.ChangeInfo
		more    bool
		still   time.Duration
		over    bool
		says    string
	}{
		{"retries alone", []store.ChangeInfo{later, poison}, false, drainOver, true, "the next at 2026-03-14T10:05:00Z (http_500)"},
		{"retries alone, not for long", []store.ChangeInfo{later, poison}, false, drainStill, false, "waits for a retry"},
		{"retries, and more behind them", []store.ChangeInfo{later, poison}, true, drainOver, false, "waits for a retry"},
		{"something due", []store.ChangeInfo{poison, due}, false, time.Hour, false, "waits for a limit"},
		{"nothing any more", nil, false, time.Hour, false, ""},
	} {
		w := waitOf(tt.pending, tt.more, tt.still)
		if w.over != tt.over || !strings.Contains(w.text, tt.says) {
			t.Errorf("%s: %+v, want over %v and %q", tt.name, w, tt.over, tt.says)
		}
		s := agent.Status{}
		s.Changes.Pending = uint64(len(tt.pending))
		if err := w.end(&s, true); !strings.Contains(err.Error(), "--timeout") || !strings.Contains(err.Error(), "`personasync flush --wait`") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if w := waitOf([]store.ChangeInfo{due}, false, drainStill); !strings.Contains(w.command, "`personasync user show 'usr ann'`") {
		t.Errorf("the command is not whole: %s", w.command)
	}
}
