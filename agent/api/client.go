package api

import (
	"context"
	"net/url"

	"personasync/agent/api/internal/socket"
)

// Client asks the running agent over its unix socket. It may be used concurrently.
type Client struct{ agent *socket.Client }

// Dial greets the agent at path. It returns ErrNotRunning when nothing listens there, ErrFrozen when the agent has not
// answered after five seconds, and an error that is fs.ErrPermission when the caller may not connect.
func Dial(ctx context.Context, path, version string) (*Client, error) {
	agent, err := socket.Dial(ctx, path, version)
	if err != nil {
		return nil, err
	}
	return &Client{agent}, nil
}

// Close closes idle connections.
func (c *Client) Close() error { return c.agent.Close() }

// Where implements Inspector.
func (c *Client) Where() string { return c.agent.Where() }

// Metrics returns what Prometheus would read.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) { return c.agent.Metrics(ctx) }

func one[T any](ctx context.Context, c *Client, path string, q url.Values) (*T, error) {
	into := new(T)
	if err := c.agent.Get(ctx, path, q, into); err != nil {
		return nil, err
	}
	return into, nil
}
