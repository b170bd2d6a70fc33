package agent

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/store/domain"
	"personasync/sync/sandbox"
)

func TestAParkedEventIsSentOnceItsCauseIsRemoved(t *testing.T) {
	s := newSite(t)
	c := s.load("PERSONASYNC_DEFAULTS_SEND=attribute")
	a := s.start(c, RunOptions{})
	i, _ := open(t, c)
	f, err := sandbox.ParseFault("status=400,type=AttributeError,user=ann")
	if err != nil {
		t.Fatal(err)
	}
	s.box.Fail(f)
	a.tell("[" + news("ann", true, time.Now()) + "," + news("bob", true, time.Now()) + "]")
	eventually(t, i, "ann is parked and bob is not", func(st condition.Status) bool { return st.Parked == 1 && st.Delivered == 1 })
	s.box.Heal()
	client := i.(*api.Client)
	if r, err := client.Retry(t.Context(), api.ActionOrder{Reason: "another"}); err != nil || r.Done != 0 {
		t.Errorf("another reason: %+v, %v", r, err)
	}
	if r, err := client.Retry(t.Context(), api.ActionOrder{Reason: "data_refused", DryRun: true}); err != nil || r.Done != 1 || len(r.Samples) != 1 {
		t.Errorf("dry run: %+v, %v", r, err)
	}
	r, err := client.Retry(t.Context(), api.ActionOrder{Reason: "data_refused"})
	if err != nil || r.Done != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	eventually(t, i, "ann is told of", func(st condition.Status) bool { return st.Parked == 0 && st.Delivered == 2 })
	r, err = client.Retry(t.Context(), api.ActionOrder{IDs: r.Samples})
	if err != nil || r.Done != 0 || len(r.Skipped) != 1 || !strings.Contains(r.Skipped[0].Why, "delivered") {
		t.Errorf("once more: %+v, %v", r, err)
	}
}

// listing is an Inspector whose outbox has three pages.
type listing struct{ api.Inspector }

func (listing) Changes(_ context.Context, f domain.OutboxFilter) (page []domain.ChangeInfo, next string, err error) {
	n, _ := strconv.Atoi(f.Cursor)
	if n < 2 {
		next = strconv.Itoa(n + 1)
	}
	return []domain.ChangeInfo{{ID: domain.ID{Epoch: 1, Seq: uint64(n + 1)}.String(), State: f.State.String(), Kind: "attribute"}}, next, nil
}

// TestAnActionContinuesWhereItsPartEnded: the parts together take each change once.
func TestAnActionContinuesWhereItsPartEnded(t *testing.T) {
	var taken []uint64
	a := &actor{inspect: listing{}, fits: func(domain.ChangeInfo, *api.ChangePage) string { return "" }, apply: func(_ context.Context, _ time.Time, ids []domain.ID) error {
		for _, id := range ids {
			taken = append(taken, id.Seq)
		}
		return nil
	}}
	o := api.ActionOrder{Filter: &api.ActionFilter{}, Most: 2}
	r, err := a.carryOut(t.Context(), o)
	if err != nil || r.Done != 2 || r.Next != "2" {
		t.Fatalf("the first part: %+v, %v", r, err)
	}
	o.Cursor = r.Next
	if r, err = a.carryOut(t.Context(), o); err != nil || r.Done != 1 || r.Next != "" {
		t.Errorf("the second part: %+v, %v", r, err)
	}
	if !slices.Equal(taken, []uint64{1, 2, 3}) {
		t.Errorf("%v were taken", taken)
	}
	if _, err := a.carryOut(t.Context(), api.ActionOrder{Filter: &api.ActionFilter{State: "lost"}}); !errors.Is(err, api.ErrUsage) {
		t.Errorf("an unknown state: %v", err)
	}
}

// TestAnActionThatCannotReadTheOutboxChangesNothing: neither of a first page, nor of a later one in the same part.
func TestAnActionThatCannotReadTheOutboxChangesNothing(t *testing.T) {
	broken := errors.New("broken")
	for _, fails := range []string{"", "1"} {
		a := &actor{inspect: failing{at: fails, err: broken}, fits: func(domain.ChangeInfo, *api.ChangePage) string { return "" }, apply: func(context.Context, time.Time, []domain.ID) error {
			t.Errorf("page %q fails: changes were taken", fails)
			return nil
		}}
		r, err := a.carryOut(t.Context(), api.ActionOrder{All: true})
		if !errors.Is(err, broken) || r.Done != 0 {
			t.Errorf("page %q fails: %+v, %v", fails, r, err)
		}
	}
}

// failing is listing, but for the page at a cursor.
type failing struct {
	api.Inspector
	at  string
	err error
}

func (f failing) Changes(ctx context.Context, filter domain.OutboxFilter) ([]domain.ChangeInfo, string, error) {
	if filter.Cursor == f.at {
		return nil, "", f.err
	}
	return listing{}.Changes(ctx, filter)
}
