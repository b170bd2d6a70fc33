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
	"personasync/agent/config"
)

// Running is answered by a running agent alone. [Client] asks it over the socket.
type Running interface {
	// Configuration is the one in force.
	Configuration(ctx context.Context) (*Configuration, error)

	// Authenticate makes the one request to MoEngage that tests credentials. No secret crosses the socket.
	Authenticate(ctx context.Context) (Authentication, error)

	// TestNotify sends a test message to every receiver of notifications; nil: there is none.
	TestNotify(ctx context.Context) ([]NotifyTest, error)

	// Flush sends pending changes now that wait for their schedule or for a retry: all of them, or those on the
	// schedule of one computation. It does not wait for MoEngage.
	Flush(ctx context.Context, computation string) (FlushReceipt, error)

	// Retry makes parked changes pending again.
	Retry(ctx context.Context, o ActionOrder) (*ActionReceipt, error)

	// Drop removes changes from the outbox for good.
	Drop(ctx context.Context, o ActionOrder) (*ActionReceipt, error)

	// Verify reads users back from MoEngage and compares. It takes a minute for every thousand users beyond the first.
	// progress may be nil; it is called with the users done and those to do.
	Verify(ctx context.Context, o VerifyOrder, progress func(done, total int64)) (*VerifyReport, error)

	// VerifyUser reads one user back from MoEngage and compares. It changes and records nothing.
	VerifyUser(ctx context.Context, user string, settle time.Duration) (*UserVerification, error)
}

var _ Running = (*Client)(nil)

// Configuration is the one that an agent runs on.
type Configuration struct {
	File     string           `json:"file"`     // "" without one
	Settings []config.Setting `json:"settings"` // secrets masked
}

// Authentication is the result of a test of the credentials for MoEngage.
type Authentication struct {
	BaseURL  string    `json:"base_url"`
	Code     string    `json:"code"`     // of a refusal, as `outbox explain-code` explains it; "" without one
	Sentence string    `json:"sentence"` // of the refusal
	Error    string    `json:"error"`    // why there was no answer; "" when there was one
	Date     time.Time `json:"date"`     // MoEngage's clock; zero when it did not say
	Now      time.Time `json:"now"`      // the agent's at that moment
}

// FlushReceipt is the result of a flush.
type FlushReceipt struct {
	Job     string `json:"job"`     // the schedule that was released; "" for all
	Pending uint64 `json:"pending"` // pending changes before it, of every schedule
}

// Flush implements Running.
func (c *Client) Flush(ctx context.Context, computation string) (r FlushReceipt, err error) {
	body, err := json.Marshal(flushOrder{computation})
	if err != nil {
		return r, err
	}
	return r, c.agent.Post(ctx, "/api/flush", bytes.NewReader(body), &r)
}

type flushOrder struct {
	Computation string `json:"computation"`
}

func flush(h *socket.Handlers, agent Running) http.HandlerFunc {
	return h.Order(h.Answer(func(r *http.Request) (any, error) {
		var order flushOrder
		body, err := io.ReadAll(io.LimitReader(r.Body, socket.MaxOrder))
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(body, &order); err != nil {
			return nil, fmt.Errorf("%w: %w", socket.ErrUsage, err)
		}
		return agent.Flush(r.Context(), order.Computation)
	}))
}

func configuration(h *socket.Handlers, agent Running) http.HandlerFunc {
	return h.Answer(func(r *http.Request) (any, error) { return agent.Configuration(r.Context()) })
}

func authenticate(h *socket.Handlers, agent Running) http.HandlerFunc {
	return h.Order(h.Answer(func(r *http.Request) (any, error) { return agent.Authenticate(r.Context()) }))
}

// Configuration implements Running.
func (c *Client) Configuration(ctx context.Context) (*Configuration, error) {
	return one[Configuration](ctx, c, "/api/config", nil)
}

// Authenticate implements Running.
func (c *Client) Authenticate(ctx context.Context) (a Authentication, err error) {
	return a, c.agent.Post(ctx, "/api/authenticate", nil, &a)
}
