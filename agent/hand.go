package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"personasync/store"
)

// HandOrder says which changes an operator wants retried or dropped: those of IDs; or, to be retried,
// all that are parked, or all that are parked for a reason or a cause.
type HandOrder struct {
	IDs    []string `json:"ids"`
	All    bool     `json:"all"`
	Reason string   `json:"reason"`
	DryRun bool     `json:"dry_run"` // say what would be done, and do nothing
}

// HandReceipt says what was done.
type HandReceipt struct {
	Done    int          `json:"done"`
	Samples []string     `json:"samples"` // ids of the first few of them
	Skipped []SkippedOne `json:"skipped"` // of those named one by one
}

// SkippedOne is a change that was left alone.
type SkippedOne struct {
	ID  string `json:"id"`
	Why string `json:"why"`
}

const (
	maxHandBody = 4 << 20
	samplesKept = 5
)

// hand retries or drops.
type hand struct {
	inspect Inspector
	does    func(ctx context.Context, now time.Time, ids []store.ID) error
	fits    func(c store.ChangeInfo, page *ChangePage) (why string) // "": it can be done
}

func (p *process) retries() *hand {
	return &hand{inspect: p.inspector(), does: p.store.Retry, fits: func(c store.ChangeInfo, page *ChangePage) string {
		switch {
		case c.State == "superseded" && page != nil:
			return "superseded by " + page.SupersededBy + ", which says what is true now"
		case c.State != "parked":
			return "it is " + c.State + ", and only what is parked can be retried"
		case c.Kind == "received":
			return "it is an event that could not be used, and not a change: mend the cause and have Segment replay it, or drop it"
		}
		return ""
	}}
}

func (p *process) drops() *hand {
	return &hand{inspect: p.inspector(), does: p.store.Drop, fits: func(c store.ChangeInfo, _ *ChangePage) string {
		switch c.State {
		case "pending", "held", "parked":
			return ""
		}
		return "it is " + c.State + " already"
	}}
}

// carryOut does what o says.
func (h *hand) carryOut(ctx context.Context, o HandOrder) (*HandReceipt, error) {
	r := &HandReceipt{Samples: []string{}, Skipped: []SkippedOne{}}
	if o.All || o.Reason != "" {
		return r, h.everyParked(ctx, o, r)
	}
	var ids []store.ID
	for _, text := range o.IDs {
		id, err := store.ParseID(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errUsage, err)
		}
		page, err := h.inspect.Change(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("there is no change %s, and nothing was done: %w", text, err)
		}
		if err != nil {
			return nil, err
		}
		if why := h.fits(page.ChangeInfo, page); why != "" {
			r.Skipped = append(r.Skipped, SkippedOne{text, why})
			continue
		}
		ids = append(ids, id)
	}
	return r, h.do(ctx, o, ids, r)
}

// everyParked walks what is parked, and does as much at once as the store takes. What is retried leaves
// the listing, which goes on behind it.
func (h *hand) everyParked(ctx context.Context, o HandOrder, r *HandReceipt) error {
	var ids []store.ID
	for cursor, more := "", true; more; more = cursor != "" {
		page, next, err := h.inspect.Changes(ctx, store.OutboxFilter{State: store.StateParked, Limit: pageLimit, Cursor: cursor})
		if err != nil {
			return err
		}
		for _, c := range page {
			id, err := store.ParseID(c.ID)
			if err == nil && h.fits(c, nil) == "" && (o.All || c.Reason == o.Reason || c.Cause == o.Reason) {
				ids = append(ids, id)
			}
		}
		if cursor = next; len(ids)+pageLimit > store.MaxHand {
			if err := h.do(ctx, o, ids, r); err != nil {
				return err
			}
			ids = ids[:0]
		}
	}
	return h.do(ctx, o, ids, r)
}

func (h *hand) do(ctx context.Context, o HandOrder, ids []store.ID, r *HandReceipt) error {
	for part := range slices.Chunk(ids, store.MaxHand) {
		if !o.DryRun {
			if err := h.does(ctx, time.Now(), part); err != nil {
				return err
			}
		}
	}
	r.Done += len(ids)
	for _, id := range ids[:min(len(ids), samplesKept-min(samplesKept, len(r.Samples)))] {
		r.Samples = append(r.Samples, id.String())
	}
	return nil
}

// handle answers an order over the socket.
func (a *Admin) handle(carryOut func(context.Context, HandOrder) (*HandReceipt, error)) http.HandlerFunc {
	return a.order(a.answer(func(r *http.Request) (any, error) {
		var o HandOrder
		body, err := io.ReadAll(io.LimitReader(r.Body, maxHandBody))
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(body, &o); err != nil {
			return nil, fmt.Errorf("%w: %w", errUsage, err)
		}
		receipt, err := carryOut(r.Context(), o)
		if err == nil && !o.DryRun {
			a.Log.Info("operator's hand", append(peerOf(r.Context()).attrs(), "path", r.URL.Path, "changes", receipt.Done, "reason", o.Reason)...)
		}
		return receipt, err
	}))
}

// Retry has parked changes wait again.
func (c *Client) Retry(ctx context.Context, o HandOrder) (*HandReceipt, error) {
	return c.hand(ctx, "/api/outbox/retry", o)
}

// Drop throws changes away.
func (c *Client) Drop(ctx context.Context, o HandOrder) (*HandReceipt, error) {
	return c.hand(ctx, "/api/outbox/drop", o)
}

func (c *Client) hand(ctx context.Context, path string, o HandOrder) (*HandReceipt, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	r := new(HandReceipt)
	return r, c.do(ctx, http.MethodPost, path, bytes.NewReader(body), r)
}
