package cli

import (
	"testing"

	"personasync/store/domain"
)

func TestPassages(t *testing.T) {
	u := &domain.UserInfo{
		Memberships: []domain.MembershipInfo{
			{Computation: "vip", In: false, Since: "2026-03-16T00:00:00Z"},
			{Computation: "quiet", In: true, Since: "2026-03-15T00:00:00Z"},
			{Computation: "again", In: true, Since: "2026-03-17T00:00:00Z"},
		},
		Pending: []domain.UserChange{{ChangeInfo: domain.ChangeInfo{ID: "3", Kind: "event", State: "parked", Computation: "vip", Transition: "exit", EventTime: "2026-03-16T00:00:00Z"}}},
		History: []domain.UserChange{
			{ChangeInfo: domain.ChangeInfo{ID: "4", Kind: "attribute", State: "delivered", Computation: "vip", Transition: "exit", EventTime: "2026-03-16T00:00:00Z"}},
			{ChangeInfo: domain.ChangeInfo{ID: "2", Kind: "attribute", State: "delivered", Computation: "spent", Transition: "value", EventTime: "2026-03-15T00:00:00Z"}},
			{ChangeInfo: domain.ChangeInfo{ID: "1", Kind: "event", State: "delivered", Computation: "vip", Transition: "enter", EventTime: "2026-03-14T00:00:00Z"}},
			{ChangeInfo: domain.ChangeInfo{ID: "0", Kind: "event", State: "delivered", Computation: "again", Transition: "exit", EventTime: "2026-03-13T00:00:00Z"}},
		},
	}
	var got []string
	for _, p := range userHistoryOf(u) {
		got = append(got, p.EventTime[:10]+" "+p.Computation+" "+p.Transition+" "+p.outcome())
	}
	want := []string{
		"2026-03-17 again enter ", // no change of it is kept: it is where the user stands
		"2026-03-16 vip exit attribute delivered, event parked",
		"2026-03-15 quiet enter ",
		"2026-03-14 vip enter event delivered",
		"2026-03-13 again exit event delivered",
	}
	if len(got) != len(want) {
		t.Fatalf("got %q", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("line %d is %q, want %q", i, got[i], want[i])
		}
	}
}
