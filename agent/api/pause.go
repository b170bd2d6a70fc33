package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"personasync/agent/api/internal/socket"
	"personasync/store/domain"
)

// Pauser pauses the sending of changes: a running agent does, or a command on the files of a stopped one.
type Pauser interface {
	// Pause pauses sending as p says, in place of an earlier pause of the same. It returns the pause in force. The
	// computation of p may be given by key or id.
	Pause(ctx context.Context, p domain.Pause) (*domain.Pause, error)

	// Resume ends the pause of a computation, given by key or id, or with "" that of everything. It returns the pause, or
	// nil if there was none.
	Resume(ctx context.Context, computation string) (*domain.Pause, error)
}

var _ Pauser = (*Client)(nil)

// maxWhy limits the reason of a pause, in bytes.
const maxWhy = 500

// pause takes the order to pause. The operator is the user at the other end of the socket.
func pause(h *socket.Handlers, to Pauser) http.HandlerFunc {
	return h.Order(h.Answer(func(r *http.Request) (any, error) {
		var p domain.Pause
		if err := json.NewDecoder(io.LimitReader(r.Body, socket.MaxOrder)).Decode(&p); err != nil {
			return nil, fmt.Errorf("%w: %w", socket.ErrUsage, err)
		}
		if p.Why == "" || len(p.Why) > maxWhy {
			return nil, fmt.Errorf("%w: the reason of a pause has 1 to %d bytes", socket.ErrUsage, maxWhy)
		}
		if name := socket.PeerOf(r.Context()).Name(); name != "" {
			p.By = name
		}
		return to.Pause(r.Context(), p)
	}))
}

func resume(h *socket.Handlers, to Pauser) http.HandlerFunc {
	return h.Order(h.Answer(func(r *http.Request) (any, error) {
		return to.Resume(r.Context(), r.URL.Query().Get("computation"))
	}))
}

// Pause implements Pauser.
func (c *Client) Pause(ctx context.Context, p domain.Pause) (*domain.Pause, error) {
	body, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	now := new(domain.Pause)
	return now, c.agent.Post(ctx, "/api/"+pausedPart(p.Computation)+"/pause", bytes.NewReader(body), now)
}

// Resume implements Pauser.
func (c *Client) Resume(ctx context.Context, computation string) (was *domain.Pause, err error) {
	query := url.Values{"computation": {computation}}
	return was, c.agent.Post(ctx, "/api/"+pausedPart(computation)+"/resume?"+query.Encode(), nil, &was)
}

// pausedPart is the part of the route that tells an agent what to pause. The one for a computation is unknown to an agent
// of an older version, which would pause everything.
func pausedPart(computation string) string {
	if computation == "" {
		return "outbox"
	}
	return "computation"
}
