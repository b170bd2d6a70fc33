package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"personasync/agent/api/internal/socket"
)

// UserVerification is one user as MoEngage holds them, compared with the sent values.
type UserVerification struct {
	User   string      `json:"user"`
	Known  bool        `json:"known"` // MoEngage has a user of this id
	At     time.Time   `json:"at"`
	Values []UserValue `json:"values"` // of every attribute that was sent, and every entry of a list
	Unseen []string    `json:"unseen"` // computations of the user of which MoEngage returns nothing
}

// The states of a UserValue.
const (
	ValueAgrees  = "agrees"
	ValueDiffers = "differs"
	ValueMissing = "missing" // MoEngage holds none
	ValueMoving  = "moving"  // a change is on the way, or was sent a moment ago: the comparison proves nothing
)

// UserValue is one value that was sent, and the one that MoEngage holds.
type UserValue struct {
	Computation string          `json:"computation"`
	ID          string          `json:"id"`        // of the computation
	Attribute   string          `json:"attribute"` // its name in MoEngage
	Entry       string          `json:"entry"`     // of a list; the values are true or false then. "": the attribute has one value
	Want        json.RawMessage `json:"want"`      // null: it should hold none
	Got         json.RawMessage `json:"got"`       // null: it holds none
	State       string          `json:"state"`
}

// verifyUser takes the question over the socket.
func verifyUser(h *socket.Handlers, agent Running) http.HandlerFunc {
	return h.Order(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		settle, err := time.ParseDuration(q.Get("settle"))
		if err != nil || settle < 0 || q.Get("user") == "" {
			socket.Refuse(w, fmt.Errorf("%w: it takes a user, and settle as a duration", socket.ErrUsage))
			return
		}
		h.Stream(w, r, func(ctx context.Context, _ func(done, total int64)) (any, error) {
			return agent.VerifyUser(ctx, q.Get("user"), settle)
		})
	})
}

// VerifyUser implements Running.
func (c *Client) VerifyUser(ctx context.Context, user string, settle time.Duration) (*UserVerification, error) {
	q := url.Values{"user": {user}, "settle": {settle.String()}}
	r := new(UserVerification)
	return r, c.agent.Follow(ctx, "/api/verify-user?"+q.Encode(), nil, nil, r)
}
