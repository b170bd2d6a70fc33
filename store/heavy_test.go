package store

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/query"
	"personasync/store/internal/state"
)

// heavy is a store in which one user has n events waiting, as many parked, and a few others have one each.
func heavy(t *testing.T, n int) *bench {
	t.Helper()
	b := open(t, rules(domain.SendBoth))
	for at := 0; at < n; at += 500 {
		var events []*domain.Event
		for i := at; i < min(at+500, n); i++ {
			events = append(events, event("heavy", "vip", i%2 == 0, 0, func(e *domain.Event) { e.Time = e.Time.Add(time.Duration(i) * time.Millisecond) }), parked("heavy"))
		}
		must(t, b.Append(context.Background(), events...))
	}
	b.receive(event("ann", "vip", true, 1), event("zoe", "vip", true, 1), event("zoe", "gold", true, 1))
	return b
}

// TestAHeavyUserIsListedInSlices: everything that waited for one user was read at once, however much.
func TestAHeavyUserIsListedInSlices(t *testing.T) {
	onFiles(t)
	t.Parallel()
	const n = 3 * state.PageScan
	b := heavy(t, n)
	for _, tc := range []struct {
		filter domain.OutboxFilter
		want   int
	}{
		{domain.OutboxFilter{User: "heavy"}, n}, // of the attribute nothing is left to say
		{domain.OutboxFilter{User: "heavy", State: domain.StateParked}, n},
		{domain.OutboxFilter{}, n + 2 + 4},
		{domain.OutboxFilter{Computation: "gold"}, 2},
		{domain.OutboxFilter{User: "heavy", Computation: "nobody"}, 0},
	} {
		t.Run(fmt.Sprintf("%+v", tc.filter), func(t *testing.T) {
			tc.filter.Limit = 700
			var all []string
			for more := true; more; more = tc.filter.Cursor != "" {
				l, err := query.NewListing(tc.filter)
				must(t, err)
				for !l.Done() {
					must(t, l.Read(b.r))
				}
				page, next := l.Page()
				if tc.filter.Cursor = next; len(page) > 700 {
					t.Fatalf("%d on a page", len(page))
				}
				for _, c := range page {
					all = append(all, c.ID)
				}
			}
			slices.Sort(all)
			if len(all) != tc.want || len(slices.Compact(all)) != tc.want {
				t.Errorf("%d listed, %d of them once, want %d", len(all), len(slices.Compact(all)), tc.want)
			}
		})
	}
	t.Run("a slice looks at no more than it may", func(t *testing.T) {
		l, err := query.NewListing(domain.OutboxFilter{Computation: "nobody"})
		must(t, err)
		reads := 0
		for ; !l.Done(); reads++ {
			must(t, l.Read(b.r))
		}
		if reads < n/state.PageScan {
			t.Errorf("%d changes were looked at in %d reads", n, reads)
		}
	})
	info, err := b.User("heavy")
	must(t, err)
	if len(info.Pending) != query.WaitingShown || !info.PendingMore {
		t.Errorf("the page of the user has %d changes, and says that there is more: %v", len(info.Pending), info.PendingMore)
	}
	for range 50 {
		b.settle(b.take(), domain.Delivered)
	}
	seen := 0
	for f, more := (domain.OutboxFilter{User: "heavy", State: domain.StateDelivered, Limit: 900}), true; more; more = f.Cursor != "" {
		page, next, err := b.Changes(f)
		must(t, err)
		seen, f.Cursor = seen+len(page), next
	}
	if seen != 50 {
		t.Errorf("%d of 50 events delivered are listed", seen)
	}
}
