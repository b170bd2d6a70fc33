package inspect

import (
	"cmp"

	"personasync/agent/sending"

	"strings"
	"testing"
	"time"

	"personasync/scheduler"
	"personasync/store/domain"
)

// TestTheSentenceOnAWaitingChangeIsNoPromiseThatABacklogBreaks: it names the turn that the change has, and what
// else of the user holds it up.
func TestTheSentenceOnAWaitingChangeIsNoPromiseThatABacklogBreaks(t *testing.T) {
	for _, tc := range []struct {
		name string
		c    domain.UserChange
		want string
	}{
		{"a live change", domain.UserChange{Wait: domain.WaitDue}, "ahead of what orders and repairs queued"},
		{"a bulk change", domain.UserChange{Wait: domain.WaitDue, Bulk: true}, "it comes of an operator's order or a repair, and leaves behind live changes"},
		{"a mass exit", domain.UserChange{Wait: domain.WaitHeld, Sentence: "too many left"}, "too many left"},
		{"held for a reason of a later version", domain.UserChange{Wait: domain.WaitHeld, ChangeInfo: domain.ChangeInfo{Reason: "whim"}}, "held for whim"},
		{"another change failed", domain.UserChange{Wait: domain.WaitUser, Until: "2026-03-14T12:00:05Z"}, "all of them wait until 2026-03-14 12:00:05 UTC"},
	} {
		if got := cmp.Or(waitText(&tc.c, nil), turnText(&tc.c)); !strings.Contains(got, tc.want) || strings.Contains(got, "next request") {
			t.Errorf("%s: %q", tc.name, got)
		}
	}
}

// TestAUsersPageNamesTheRunThatAChangeLeavesWith: a run in progress sends the changes received before it was
// due, or before a time of the schedule that fell into it. A change that came later was said to leave with it.
func TestAUsersPageNamesTheRunThatAChangeLeavesWith(t *testing.T) {
	due := time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC)
	daily, err := scheduler.Parse("0 3 * * *", nil)
	if err != nil {
		t.Fatal(err)
	}
	running := Planned{Schedule: daily, Planned: scheduler.Planned{Job: sending.JobTitle("computation:vip"), Spec: "0 3 * * *", Running: true, Last: scheduler.Run{Started: due}, Next: due.AddDate(0, 0, 2)}}
	for received, want := range map[time.Time]string{
		due.Add(-time.Second):                 "under way",
		due.Add(time.Second):                  "under way",
		due.AddDate(0, 0, 1).Add(time.Second): "next at 2026-03-16 03:00 UTC",
	} {
		c := domain.UserChange{ChangeInfo: domain.ChangeInfo{ReceivedAt: received.Format(time.RFC3339Nano)}, Wait: domain.WaitDue, Job: "computation:vip"}
		if got := waitText(&c, []Planned{running}); !strings.Contains(got, want) {
			t.Errorf("received at %s: %q, want %q", received, got, want)
		}
	}
}
