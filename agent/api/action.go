package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"personasync/agent/api/internal/socket"
	"personasync/store/domain"
)

// ActionOrder says which changes an operator wants retried or dropped: those of IDs, or those that pass Filter. All and
// Reason are older words for a filter of parked changes.
type ActionOrder struct {
	IDs    []string      `json:"ids"`
	Filter *ActionFilter `json:"filter,omitempty"`
	All    bool          `json:"all"`
	Reason string        `json:"reason"`
	DryRun bool          `json:"dry_run"` // report the effect, and change nothing

	// Most limits how many changes that pass the filter one order reads. The receipt then says where to continue. Zero
	// is no limit.
	Most   int    `json:"most,omitempty"`
	Cursor string `json:"cursor,omitempty"`
}

// ActionFilter says which changes an action takes, see [domain.OutboxFilter]. State "" is parked.
type ActionFilter struct {
	State       string    `json:"state,omitempty"`
	User        string    `json:"user,omitempty"`
	Computation string    `json:"computation,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Since       time.Time `json:"since,omitzero"`
	Until       time.Time `json:"until,omitzero"`
}

// Outbox returns the filter of the listing that an order by filter works through. ok is false for an order by ids.
func (o *ActionOrder) Outbox() (f domain.OutboxFilter, ok bool, err error) {
	f.State = domain.StateParked
	switch {
	case o.Filter != nil:
		f.User, f.Computation, f.Reason, f.Since, f.Until = o.Filter.User, o.Filter.Computation, o.Filter.Reason, o.Filter.Since, o.Filter.Until
		if o.Filter.State != "" {
			if f.State, ok = domain.ParseState(o.Filter.State); !ok {
				return f, false, fmt.Errorf("%w: %q is no state", socket.ErrUsage, o.Filter.State)
			}
		}
	case o.Reason != "":
		f.Reason = o.Reason
	case !o.All:
		return f, false, nil
	}
	f.Cursor = o.Cursor
	return f, true, nil
}

// ActionReceipt is the result of an action.
type ActionReceipt struct {
	Done    int       `json:"done"`
	Samples []string  `json:"samples"`        // ids of the first few of them
	Skipped []Skipped `json:"skipped"`        // of those named one by one
	Parked  int       `json:"parked"`         // events that were read again and still cannot be used
	Next    string    `json:"next,omitempty"` // cursor with which an order with Most continues; "" at the end
}

// Skipped is a change that was left alone.
type Skipped struct {
	ID  string `json:"id"`
	Why string `json:"why"`
}

const maxHandBody = 4 << 20

// act carries out operator actions that come over the socket.
func act(h *socket.Handlers, do func(context.Context, ActionOrder) (*ActionReceipt, error)) http.HandlerFunc {
	return h.Order(h.Answer(func(r *http.Request) (any, error) {
		var o ActionOrder
		body, err := io.ReadAll(io.LimitReader(r.Body, maxHandBody))
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(body, &o); err != nil {
			return nil, fmt.Errorf("%w: %w", socket.ErrUsage, err)
		}
		receipt, err := do(r.Context(), o)
		if err == nil && !o.DryRun {
			h.Log.Info("operator's action", append(socket.PeerOf(r.Context()).Attrs(), "path", r.URL.Path, "changes", receipt.Done, "filter", o.text())...)
		}
		return receipt, err
	}))
}

// text describes an order for the log, without a user id.
func (o *ActionOrder) text() string {
	f, filtered, err := o.Outbox()
	if err != nil || !filtered {
		return fmt.Sprintf("%d ids", len(o.IDs))
	}
	text := f.State.String()
	for _, part := range []struct{ name, value string }{
		{"reason", f.Reason}, {"computation", f.Computation}, {"since", domain.Timestamp(f.Since)}, {"until", domain.Timestamp(f.Until)},
	} {
		if part.value != "" {
			text += " " + part.name + "=" + part.value
		}
	}
	if f.User != "" {
		text += " of one user"
	}
	return text
}

// Retry implements Running.
func (c *Client) Retry(ctx context.Context, o ActionOrder) (*ActionReceipt, error) {
	return c.act(ctx, "/api/outbox/retry", o)
}

// Drop implements Running.
func (c *Client) Drop(ctx context.Context, o ActionOrder) (*ActionReceipt, error) {
	return c.act(ctx, "/api/outbox/drop", o)
}

func (c *Client) act(ctx context.Context, path string, o ActionOrder) (*ActionReceipt, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	r := new(ActionReceipt)
	return r, c.agent.Post(ctx, path, bytes.NewReader(body), r)
}
