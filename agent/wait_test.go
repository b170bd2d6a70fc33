package agent

import (
	"strings"
	"testing"

	"personasync/store"
)

// TestTheSentenceOnAWaitingChangeIsNoPromiseThatABacklogBreaks: it names the turn that the change has, and what
// else of the user holds it up.
func TestTheSentenceOnAWaitingChangeIsNoPromiseThatABacklogBreaks(t *testing.T) {
	for _, tc := range []struct {
		name string
		c    store.UserChange
		want string
	}{
		{"a live change", store.UserChange{Wait: store.WaitDue}, "ahead of what orders and repairs queued"},
		{"a bulk change", store.UserChange{Wait: store.WaitDue, Bulk: true}, "it comes of an operator's order or a repair, and leaves behind live changes"},
		{"another change failed", store.UserChange{Wait: store.WaitUser, Until: "2026-03-14T12:00:05Z"}, "all of them wait until 2026-03-14 12:00:05 UTC"},
	} {
		if got := waitText(&tc.c, nil); !strings.Contains(got, tc.want) || got == "it leaves with the agent's next request" {
			t.Errorf("%s: %q", tc.name, got)
		}
	}
}
