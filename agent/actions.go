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

// samplesKept is how many ids a receipt names.
const samplesKept = 5

// actor retries or drops changes.
type actor struct {
	inspect api.Inspector
	apply   func(ctx context.Context, now time.Time, ids []domain.ID) error
	reread  func(ctx context.Context, now time.Time, ids []domain.ID) (parked []domain.ID, err error) // of parked events; nil: apply takes them, too
	foresee func(ids []domain.ID) (parked []domain.ID, err error)                                     // what reread would leave parked
	fits    func(c domain.ChangeInfo, page *api.ChangePage) (why string)                              // why c is skipped; "": it is not
}

func retries(s *store.Store, i api.Inspector) *actor {
	reads := func(ctx context.Context, now time.Time, ids []domain.ID) ([]domain.ID, error) {
		return s.ReadAgain(ctx, now, ids, readAgain)
	}
	foresee := func(ids []domain.ID) ([]domain.ID, error) { return s.ForeseeAgain(ids, readAgain) }
	return &actor{inspect: i, apply: s.Retry, reread: reads, foresee: foresee, fits: func(c domain.ChangeInfo, page *api.ChangePage) string {
		switch {
		case c.State == "superseded" && page != nil:
			return "superseded by " + page.SupersededBy + ", which carries the current value"
		case c.State == "held" && c.Reason == domain.ReasonDeleteLimit:
		case c.State != "parked":
			return "it is " + c.State + ", and only parked changes can be retried"
		}
		return ""
	}}
}

// readAgain reads an event by today's rules with its first receipt time. It never carries out a delete: whether a
// signature or a token covered its bytes is no longer known.
func readAgain(e *domain.Event) *domain.Event {
	how := segment.Reading{Received: e.Received, Ahead: e.ClockAhead, CheckID: syncer.CheckID, Call: e.Call, Trace: e.Trace}
	if e.Tracking || segment.Refuses(e.Fault) { // an older version did not record the route; no other route parks for this
		how.Route = segment.RouteTracking
	}
	if e.ClockShift != 0 {
		how.SentAt = e.Received.Add(-e.ClockShift)
	}
	now := segment.Read(e.Raw, how)
	if now.MessageID = e.MessageID; now.TimeSource == domain.TimeNone || now.TimeSource == domain.TimeUnreadable {
		now.Time = e.Time // its receipt, plus its position in the delivery
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

// carryOut acts on the changes that o names, or on those that pass its filter.
func (a *actor) carryOut(ctx context.Context, o api.ActionOrder) (*api.ActionReceipt, error) {
	r := &api.ActionReceipt{Samples: []string{}, Skipped: []api.Skipped{}}
	filter, filtered, err := o.Outbox()
	if err != nil {
		return nil, err
	}
	if filtered {
		if why := a.fits(domain.ChangeInfo{State: filter.State.String(), Reason: filter.Reason}, nil); why != "" {
			return nil, fmt.Errorf("%w: the filter takes changes of a state that this is not for: %s", api.ErrUsage, why)
		}
		return r, a.everyMatching(ctx, o, filter, r)
	}
	var ids picked
	for _, text := range o.IDs {
		id, err := domain.ParseID(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", api.ErrUsage, err)
		}
		page, err := a.inspect.Change(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("there is no change %s, and nothing was done: %w", text, err)
		}
		if err != nil {
			return nil, err
		}
		if why := a.fits(page.ChangeInfo, page); why != "" {
			r.Skipped = append(r.Skipped, api.Skipped{ID: text, Why: why})
			continue
		}
		ids.add(id, page.Kind)
	}
	return r, a.do(ctx, o, ids, r)
}

// picked are the ids of the changes and events that an action concerns.
type picked struct{ changes, events []domain.ID }

func (p *picked) add(id domain.ID, kind string) {
	if kind == "received" {
		p.events = append(p.events, id)
		return
	}
	p.changes = append(p.changes, id)
}

// everyMatching acts on every change that passes the filter, on as many at once as the store takes. A change that was
// acted on leaves the listing, which continues behind it. So an order that was interrupted can be given again.
func (a *actor) everyMatching(ctx context.Context, o api.ActionOrder, f domain.OutboxFilter, r *api.ActionReceipt) error {
	var ids picked
	f.Limit = api.PageLimit
	for read, more := 0, true; more; more = f.Cursor != "" && (o.Most == 0 || read < o.Most) {
		page, next, err := a.inspect.Changes(ctx, f)
		if err != nil {
			return err
		}
		for _, c := range page {
			id, err := domain.ParseID(c.ID)
			if err != nil {
				return err
			}
			ids.add(id, c.Kind)
		}
		read += len(page)
		if f.Cursor = next; len(ids.changes)+len(ids.events)+api.PageLimit > store.MaxActionIDs {
			if err := a.do(ctx, o, ids, r); err != nil {
				return err
			}
			ids = picked{}
		}
	}
	r.Next = f.Cursor
	return a.do(ctx, o, ids, r)
}

func (a *actor) do(ctx context.Context, o api.ActionOrder, ids picked, r *api.ActionReceipt) error {
	if a.reread == nil {
		ids = picked{changes: slices.Concat(ids.changes, ids.events)}
	}
	done := slices.Concat(ids.changes, ids.events)
	if !o.DryRun {
		for part := range slices.Chunk(ids.changes, store.MaxActionIDs) {
			if err := a.apply(ctx, time.Now(), part); err != nil {
				return err
			}
		}
	}
	parked, err := a.readEvents(ctx, o, ids.events, r)
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

// readEvents has parked events read again, or foresees the result. Where the order names ids, the receipt says why each
// that stays parked does.
func (a *actor) readEvents(ctx context.Context, o api.ActionOrder, ids []domain.ID, r *api.ActionReceipt) (parked []domain.ID, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	happens := "it was read again and is parked still"
	if o.DryRun {
		happens = "it would stay parked"
		parked, err = a.foresee(ids)
	} else {
		parked, err = a.reread(ctx, time.Now(), ids)
	}
	if err != nil {
		return nil, err
	}
	r.Parked += len(parked)
	if len(o.IDs) == 0 {
		return parked, nil
	}
	for _, id := range parked {
		page, err := a.inspect.Change(ctx, id)
		if err != nil {
			return nil, err
		}
		r.Skipped = append(r.Skipped, api.Skipped{ID: id.String(), Why: happens + " (" + page.Reason + "): " + page.Sentence})
	}
	return parked, nil
}
