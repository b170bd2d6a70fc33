package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"personasync/agent/api"
	"personasync/agent/segment"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

const (
	samplesKept = 5
)

// actor retries or drops.
type actor struct {
	inspect api.Inspector
	apply   func(ctx context.Context, now time.Time, ids []domain.ID) error
	reread  func(ctx context.Context, now time.Time, ids []domain.ID) (parked []domain.ID, err error) // of events; nil: does takes them, too
	foresee func(ids []domain.ID) (parked []domain.ID, err error)                                     // what reads would leave parked
	fits    func(c domain.ChangeInfo, page *api.ChangePage) (why string)                              // "": it can be done
}

func retries(s *store.Store, i api.Inspector) *actor {
	reads := func(ctx context.Context, now time.Time, ids []domain.ID) ([]domain.ID, error) {
		return s.ReadAgain(ctx, now, ids, readAgain)
	}
	foresee := func(ids []domain.ID) ([]domain.ID, error) { return s.ForeseeAgain(ids, readAgain) }
	return &actor{inspect: i, apply: s.Retry, reread: reads, foresee: foresee, fits: func(c domain.ChangeInfo, page *api.ChangePage) string {
		switch {
		case c.State == "superseded" && page != nil:
			return "superseded by " + page.SupersededBy + ", which says what is true now"
		case c.State != "parked":
			return "it is " + c.State + ", and only what is parked can be retried"
		}
		return ""
	}}
}

// readAgain reads an event as it would be read today, had it come when it came. A delete is never carried out
// so: what covered its bytes then is not known any more.
func readAgain(e *domain.Event) *domain.Event {
	how := segment.Reading{Received: e.Received, Ahead: e.ClockAhead, CheckID: syncer.CheckID, Call: e.Call}
	if e.Tracking || segment.Refuses(e.Fault) { // an older version did not note the route; no other one parks for this
		how.Route = segment.RouteTracking
	}
	if e.ClockShift != 0 {
		how.SentAt = e.Received.Add(-e.ClockShift)
	}
	now := segment.Read(e.Raw, how)
	if now.MessageID = e.MessageID; now.TimeSource == domain.TimeNone || now.TimeSource == domain.TimeUnreadable {
		now.Time = e.Time // its receipt and its place in the delivery
	}
	return now
}

func drops(s *store.Store, i api.Inspector) *actor {
	return &actor{inspect: i, apply: s.Drop, fits: func(c domain.ChangeInfo, _ *api.ChangePage) string {
		switch c.State {
		case "pending", "held", "parked":
			return ""
		}
		return "it is " + c.State + " already"
	}}
}

// carryOut does what o says.
func (h *actor) carryOut(ctx context.Context, o api.ActionOrder) (*api.ActionReceipt, error) {
	r := &api.ActionReceipt{Samples: []string{}, Skipped: []api.Skipped{}}
	if o.All || o.Reason != "" {
		return r, h.everyParked(ctx, o, r)
	}
	var ids picked
	for _, text := range o.IDs {
		id, err := domain.ParseID(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", api.ErrUsage, err)
		}
		page, err := h.inspect.Change(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("there is no change %s, and nothing was done: %w", text, err)
		}
		if err != nil {
			return nil, err
		}
		if why := h.fits(page.ChangeInfo, page); why != "" {
			r.Skipped = append(r.Skipped, api.Skipped{ID: text, Why: why})
			continue
		}
		ids.add(id, page.Kind)
	}
	return r, h.do(ctx, o, ids, r)
}

// picked are the ids of changes and of events that an order concerns.
type picked struct{ changes, events []domain.ID }

func (p *picked) add(id domain.ID, kind string) {
	if kind == "received" {
		p.events = append(p.events, id)
		return
	}
	p.changes = append(p.changes, id)
}

// everyParked walks what is parked, and does as much at once as the store takes. What is retried leaves
// the listing, which goes on behind it.
func (h *actor) everyParked(ctx context.Context, o api.ActionOrder, r *api.ActionReceipt) error {
	var ids picked
	for cursor, more := "", true; more; more = cursor != "" {
		page, next, err := h.inspect.Changes(ctx, domain.OutboxFilter{State: domain.StateParked, Limit: api.PageLimit, Cursor: cursor})
		if err != nil {
			return err
		}
		for _, c := range page {
			id, err := domain.ParseID(c.ID)
			if err == nil && h.fits(c, nil) == "" && (o.All || c.Reason == o.Reason || c.Cause == o.Reason) {
				ids.add(id, c.Kind)
			}
		}
		if cursor = next; len(ids.changes)+len(ids.events)+api.PageLimit > store.MaxActionIDs {
			if err := h.do(ctx, o, ids, r); err != nil {
				return err
			}
			ids = picked{}
		}
	}
	return h.do(ctx, o, ids, r)
}

func (h *actor) do(ctx context.Context, o api.ActionOrder, ids picked, r *api.ActionReceipt) error {
	if h.reread == nil {
		ids = picked{changes: slices.Concat(ids.changes, ids.events)}
	}
	done := slices.Concat(ids.changes, ids.events)
	if !o.DryRun {
		for part := range slices.Chunk(ids.changes, store.MaxActionIDs) {
			if err := h.apply(ctx, time.Now(), part); err != nil {
				return err
			}
		}
	}
	parked, err := h.readEvents(ctx, o, ids.events, r)
	if err != nil {
		return err
	}
	still := make(map[domain.ID]bool, len(parked))
	for _, id := range parked {
		still[id] = true
	}
	done = slices.DeleteFunc(done, func(id domain.ID) bool { return still[id] })
	r.Done += len(done)
	for _, id := range done[:min(len(done), samplesKept-min(samplesKept, len(r.Samples)))] {
		r.Samples = append(r.Samples, id.String())
	}
	return nil
}

// readEvents has parked events read again, or foresees what would come of it. Of those named one by one the receipt says why they stay parked.
func (h *actor) readEvents(ctx context.Context, o api.ActionOrder, ids []domain.ID, r *api.ActionReceipt) (parked []domain.ID, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	happens := "it was read again and is parked still"
	if o.DryRun {
		happens = "it would stay parked"
		parked, err = h.foresee(ids)
	} else {
		parked, err = h.reread(ctx, time.Now(), ids)
	}
	if err != nil {
		return nil, err
	}
	r.Parked += len(parked)
	if len(o.IDs) == 0 {
		return parked, nil
	}
	for _, id := range parked {
		page, err := h.inspect.Change(ctx, id)
		if err != nil {
			return nil, err
		}
		r.Skipped = append(r.Skipped, api.Skipped{ID: id.String(), Why: happens + " (" + page.Reason + "): " + page.Sentence})
	}
	return parked, nil
}
