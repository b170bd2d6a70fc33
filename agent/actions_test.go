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
	"personasync/agent/segment"
	"personasync/store"
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

// one is an Inspector that knows change 1, a parked event, and a change of every other state.
type one struct {
	api.Inspector
	err error
}

func (o one) Change(_ context.Context, id domain.ID) (*api.ChangePage, error) {
	if o.err != nil && id.Slot == 9 {
		return nil, o.err
	}
	page := &api.ChangePage{SupersededBy: "1-9-0", Sentence: "Nothing says so."}
	page.ID, page.State, page.Kind, page.Reason = id.String(), "parked", "attribute", "undetermined"
	switch id.Slot {
	case 1, 9:
		page.Kind = "received"
	case 2:
		page.State = "superseded"
	case 3:
		page.State = "delivered"
	case 4:
		page.State = "held"
	}
	if id.Seq != 1 {
		return nil, store.ErrNotFound
	}
	return page, nil
}

func slot(n uint16) string { return domain.ID{Epoch: 1, Seq: 1, Slot: n}.String() }

// TestAReceiptSaysOfEachIDWhatCameOfIt: a retry of a superseded change is refused and names its successor, and an event
// that cannot be used yet says why.
func TestAReceiptSaysOfEachIDWhatCameOfIt(t *testing.T) {
	broken := errors.New("broken")
	var applied, read, foreseen []string
	keep := func(into *[]string, ids []domain.ID) {
		for _, id := range ids {
			*into = append(*into, id.String())
		}
	}
	i := one{}
	a := retries(nil, &i)
	a.apply = func(_ context.Context, _ time.Time, ids []domain.ID) error { keep(&applied, ids); return nil }
	a.reread = func(_ context.Context, _ time.Time, ids []domain.ID) ([]domain.ID, error) {
		keep(&read, ids)
		return ids[1:], nil
	}
	a.foresee = func(ids []domain.ID) ([]domain.ID, error) { keep(&foreseen, ids); return ids[1:], nil }
	order := api.ActionOrder{IDs: []string{slot(0), slot(1), slot(2), slot(3), slot(9)}}

	for _, dry := range []bool{true, false} {
		order.DryRun = dry
		r, err := a.carryOut(t.Context(), order)
		if err != nil || r.Done != 2 || r.Parked != 1 || !slices.Equal(r.Samples, []string{slot(0), slot(1)}) || len(r.Skipped) != 3 {
			t.Fatalf("dry run %v: %+v, %v", dry, r, err)
		}
		still := map[bool]string{true: "it would stay parked (undetermined): Nothing says so.", false: "it was read again and is parked still (undetermined): Nothing says so."}[dry]
		for n, want := range []api.Skipped{{ID: slot(2), Why: "superseded by 1-9-0, which carries the current value"},
			{ID: slot(3), Why: "it is delivered, and only parked changes can be retried"}, {ID: slot(9), Why: still}} {
			if r.Skipped[n] != want {
				t.Errorf("dry run %v: skipped %+v, want %+v", dry, r.Skipped[n], want)
			}
		}
	}
	if want := []string{slot(0)}; !slices.Equal(applied, want) {
		t.Errorf("applied %v", applied)
	}
	if want := []string{slot(1), slot(9)}; !slices.Equal(read, want) || !slices.Equal(foreseen, want) {
		t.Errorf("read again %v, foreseen %v", read, foreseen)
	}

	for name, ids := range map[string][]string{"not an id": {slot(0), "x"}, "an unknown change": {slot(0), domain.ID{Epoch: 1, Seq: 2}.String()}} {
		if r, err := a.carryOut(t.Context(), api.ActionOrder{IDs: ids}); err == nil || r != nil {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if len(applied) != 1 {
		t.Errorf("an order that was refused was carried out: %v", applied)
	}
	i.err = broken
	if _, err := a.carryOut(t.Context(), order); !errors.Is(err, broken) {
		t.Errorf("a change that cannot be read: %v", err)
	}
}

func TestAnActionThatFailsIsNotReported(t *testing.T) {
	broken := errors.New("broken")
	fails := func(context.Context, time.Time, []domain.ID) error { return broken }
	for name, a := range map[string]*actor{
		"of changes": {apply: fails},
		"of events": {reread: func(context.Context, time.Time, []domain.ID) ([]domain.ID, error) { return nil, broken },
			apply: func(context.Context, time.Time, []domain.ID) error { return nil }},
	} {
		a.inspect, a.fits = one{}, func(domain.ChangeInfo, *api.ChangePage) string { return "" }
		if r, err := a.carryOut(t.Context(), api.ActionOrder{IDs: []string{slot(1)}}); !errors.Is(err, broken) || r != nil && r.Done != 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// long is an Inspector whose outbox has as many full pages as it counts to, each of events or of changes in turn.
type long struct {
	api.Inspector
	pages int
}

func (l long) Changes(_ context.Context, f domain.OutboxFilter) (page []domain.ChangeInfo, next string, err error) {
	n, _ := strconv.Atoi(f.Cursor)
	kind := "received"
	if n%2 == 1 {
		kind = "attribute"
	}
	for i := range f.Limit {
		page = append(page, domain.ChangeInfo{ID: domain.ID{Epoch: 1, Seq: uint64(n*f.Limit + i)}.String(), Kind: kind})
	}
	if n+1 < l.pages {
		next = strconv.Itoa(n + 1)
	}
	return page, next, nil
}

// TestAnActionOnAMillionTakesNoMoreAtOnceThanTheStoreDoes: the rest was refused, or filled the memory.
func TestAnActionOnAMillionTakesNoMoreAtOnceThanTheStoreDoes(t *testing.T) {
	pages, taken := 3*store.MaxActionIDs/api.PageLimit, 0
	take := func(ids []domain.ID) {
		taken += len(ids)
		if len(ids) > store.MaxActionIDs {
			t.Errorf("%d at once", len(ids))
		}
	}
	together := 0 // between two parts of the listing
	a := &actor{inspect: long{pages: pages}, fits: func(domain.ChangeInfo, *api.ChangePage) string { return "" },
		apply: func(_ context.Context, _ time.Time, ids []domain.ID) error {
			take(ids)
			together = len(ids)
			return nil
		},
		reread: func(_ context.Context, _ time.Time, ids []domain.ID) ([]domain.ID, error) {
			if take(ids); together+len(ids) > store.MaxActionIDs {
				t.Errorf("%d changes and %d events at once", together, len(ids))
			}
			return nil, nil
		}}
	r, err := a.carryOut(t.Context(), api.ActionOrder{All: true})
	if err != nil || r.Done != taken || taken != pages*api.PageLimit {
		t.Errorf("%d of %d taken: %+v, %v", taken, pages*api.PageLimit, r, err)
	}
}

// TestADropTakesEventsAndChanges that are not done with, and no others.
func TestADropTakesEventsAndChanges(t *testing.T) {
	var dropped []domain.ID
	a := drops(nil, one{})
	a.apply = func(_ context.Context, _ time.Time, ids []domain.ID) error { dropped = ids; return nil }
	r, err := a.carryOut(t.Context(), api.ActionOrder{IDs: []string{slot(0), slot(1), slot(2), slot(3), slot(4)}})
	if err != nil || r.Done != 3 || len(dropped) != 3 || len(r.Skipped) != 2 || r.Skipped[1].Why != "it is delivered already" {
		t.Errorf("dropped %v: %+v, %v", dropped, r, err)
	}
	for _, state := range []string{"delivered", "superseded"} {
		if _, err := a.carryOut(t.Context(), api.ActionOrder{Filter: &api.ActionFilter{State: state}}); !errors.Is(err, api.ErrUsage) {
			t.Errorf("a drop of what is %s: %v", state, err)
		}
	}
}

// TestAReceiptNamesAFewIDsOnly: an order may take a million.
func TestAReceiptNamesAFewIDsOnly(t *testing.T) {
	var ids []string
	for n := range uint16(20) {
		ids = append(ids, domain.ID{Epoch: 1, Seq: 1, Slot: 100 + n}.String())
	}
	var taken int
	a := drops(nil, one{})
	a.apply = func(_ context.Context, _ time.Time, ids []domain.ID) error { taken += len(ids); return nil }
	r, err := a.carryOut(t.Context(), api.ActionOrder{IDs: ids})
	if err != nil || r.Done != 20 || taken != 20 || len(r.Samples) == 0 || len(r.Samples) > 10 {
		t.Errorf("%d taken: %+v, %v", taken, r, err)
	}
}

// TestAParkedEventIsReadAgainAsItArrived: by its route, with its receipt and its client's clock. A delete is never carried
// out. See CONTRACT: retry of a parked event reads its bytes again under today's config with its first receipt time.
func TestAParkedEventIsReadAgainAsItArrived(t *testing.T) {
	received := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	own := received.Add(-time.Hour)
	const nobody = `{"type":"identify","messageId":"inner","context":{"personas":{"computation_class":"audience","computation_key":"vip","computation_id":"aud_1","space_id":"s"}},"traits":{"vip":true}`
	for name, tt := range map[string]struct {
		event    domain.Event
		raw      string
		fault    string
		tracking bool
		at       time.Time
	}{
		"of the Tracking API":                     {domain.Event{Tracking: true, Fault: segment.FaultUndetermined}, nobody + `}`, segment.FaultNoUserAnonID, true, received},
		"of the Tracking API, by older version":   {domain.Event{Fault: segment.FaultNoUserAnonID}, nobody + `}`, segment.FaultNoUserAnonID, true, received},
		"of the webhook":                          {domain.Event{Fault: segment.FaultUndetermined}, nobody + `}`, segment.FaultNoIdentifier, false, received},
		"its own time":                            {domain.Event{Fault: segment.FaultUndetermined}, nobody + `,"userId":"ann","originalTimestamp":"2026-03-14T08:00:00Z"}`, "", false, own},
		"a time that cannot be read":              {domain.Event{Fault: segment.FaultUndetermined}, nobody + `,"userId":"ann","originalTimestamp":"yesterday"}`, "", false, received.Add(3)},
		"no time":                                 {domain.Event{Fault: segment.FaultUndetermined}, nobody + `,"userId":"ann"}`, "", false, received.Add(3)},
		"a client's clock that is an hour behind": {domain.Event{Tracking: true, ClockShift: time.Hour}, nobody + `,"userId":"ann","timestamp":"2026-03-14T07:00:00Z"}`, "", true, own},
		"a delete":                                {domain.Event{Fault: segment.FaultUnverified}, `{"type":"delete","userId":"ann"}`, segment.FaultUnverified, false, received.Add(3)},
	} {
		e := tt.event
		e.Received, e.Time, e.MessageID, e.Raw = received, received.Add(3), "outer", []byte(tt.raw)
		got := readAgain(&e)
		if tt.fault == segment.FaultNoUserAnonID || tt.fault == segment.FaultNoIdentifier {
			got.Time = tt.at // an event that is about nobody has no time worth comparing
		}
		if got.Fault != tt.fault || got.Tracking != tt.tracking || !got.Time.Equal(tt.at) || got.MessageID != "outer" || !got.Received.Equal(received) {
			t.Errorf("%s: fault %q, tracking %v, at %v, received %v, message id %s", name, got.Fault, got.Tracking, got.Time, got.Received, got.MessageID)
		}
	}
}

// TestOnlyAnOpenChangeIsDropped: a completed change stays as it is, and the answer says so.
func TestOnlyAnOpenChangeIsDropped(t *testing.T) {
	a := drops(new(store.Store), nil)
	for state, open := range map[string]bool{"pending": true, "held": true, "parked": true, "delivered": false, "dropped": false, "superseded": false} {
		if why := a.fits(domain.ChangeInfo{State: state}, nil); (why == "") != open || !open && why != "it is "+state+" already" {
			t.Errorf("%s: %q", state, why)
		}
	}
}
