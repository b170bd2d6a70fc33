package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// ActionOrder says which changes an operator wants retried or dropped: those of IDs; or, to be retried,
// all that are parked, or all that are parked for a reason or a cause.
type ActionOrder struct {
	IDs    []string `json:"ids"`
	All    bool     `json:"all"`
	Reason string   `json:"reason"`
	DryRun bool     `json:"dry_run"` // say what would be done, and do nothing
}

// ActionReceipt is the result of an action.
type ActionReceipt struct {
	Done    int       `json:"done"`
	Samples []string  `json:"samples"` // ids of the first few of them
	Skipped []Skipped `json:"skipped"` // of those named one by one
	Parked  int       `json:"parked"`  // events that were read again and still cannot be used
}

// Skipped is a change that was left alone.
type Skipped struct {
	ID  string `json:"id"`
	Why string `json:"why"`
}

const maxHandBody = 4 << 20

// act carries out operator actions that come over the socket.
func (f *frame) act(do func(context.Context, ActionOrder) (*ActionReceipt, error)) http.HandlerFunc {
	return f.order(f.answer(func(r *http.Request) (any, error) {
		var o ActionOrder
		body, err := io.ReadAll(io.LimitReader(r.Body, maxHandBody))
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(body, &o); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUsage, err)
		}
		receipt, err := do(r.Context(), o)
		if err == nil && !o.DryRun {
			f.log.Info("operator's action", append(peerOf(r.Context()).attrs(), "path", r.URL.Path, "changes", receipt.Done, "reason", o.Reason)...)
		}
		return receipt, err
	}))
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
	return r, c.do(ctx, http.MethodPost, path, bytes.NewReader(body), r)
}
