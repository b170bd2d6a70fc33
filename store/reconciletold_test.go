package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"personasync/store/domain"
)

// TestAReconcileByTheTimeOfSendingTakesTheUsersToldThen and their present state, and nobody else.
func TestAReconcileByTheTimeOfSendingTakesTheUsersToldThen(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	deliver := func(at time.Time) (said []string) {
		t.Helper()
		for {
			f, _, err := b.Take(t.Context(), everything(time.Now().Add(time.Hour)))
			must(t, err)
			if f == nil {
				slices.Sort(said)
				return said
			}
			o := domain.Settlement{Lease: f.ID, At: at, Results: make([]domain.UserResult, len(f.Users))}
			for i, d := range f.Users {
				o.Results[i].Attributes.Verdict = domain.Delivered
				said = append(said, fmt.Sprintf("%s=%s", d.User, d.Attributes[0].Value))
			}
			must(t, b.Settle(t.Context(), o))
		}
	}
	tell := func(at time.Time, events ...*domain.Event) {
		b.receive(events...)
		deliver(at)
	}
	nine, ten, eleven := noon.Add(time.Hour), noon.Add(2*time.Hour), noon.Add(3*time.Hour)
	tell(nine, event("ann", "vip", true, 1), event("bob", "vip", true, 1))
	tell(ten, event("cid", "vip", true, 2), event("bob", "vip", false, 2), event("dan", "other", true, 2))
	tell(eleven, event("eve", "vip", true, 3))

	for _, tt := range []struct {
		name         string
		since, until time.Time
		want         []string
	}{
		{"nobody", eleven.Add(time.Minute), eleven.Add(time.Hour), nil},
		{"the end is not in it", nine, ten, []string{"ann=true", "bob=false"}}, // what is true now
		{"the beginning is", ten, eleven, []string{"bob=false", "cid=true"}},
		{"no beginning", time.Time{}, eleven.Add(1), []string{"ann=true", "bob=false", "cid=true", "eve=true"}},
	} {
		dry, err := b.ReconcileTold(t.Context(), "vip", tt.since, tt.until, false, true, nil)
		must(t, err)
		r, err := b.ReconcileTold(t.Context(), "vip", tt.since, tt.until, false, false, nil)
		must(t, err)
		if n := uint64(len(tt.want)); r.Again != n || dry.Again != n || r.Created != n || dry.Created != 0 || r.HistoryFrom != domain.Timestamp(nine) {
			t.Errorf("%s: %+v, and dry %+v", tt.name, r, dry)
		}
		if said := deliver(noon.Add(100 * time.Hour)); !slices.Equal(said, tt.want) {
			t.Errorf("%s: MoEngage was told %q, want %q", tt.name, said, tt.want)
		}
	}
}
