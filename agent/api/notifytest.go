package api

import (
	"context"
	"net/http"

	"personasync/agent/api/internal/socket"
)

// NotifyTest is the result of a test message to one receiver of notifications.
type NotifyTest struct {
	Receiver string `json:"receiver"` // url | command
	Target   string `json:"target"`   // the host or the program; the rest of an address is a secret
	OK       bool   `json:"ok"`
	Answer   string `json:"answer"` // its first words
	Error    string `json:"error"`  // why it took nothing
	Do       string `json:"do"`     // the remedy
}

// TestNotify implements Running.
func (c *Client) TestNotify(ctx context.Context) (list []NotifyTest, err error) {
	return list, c.agent.Post(ctx, "/api/notify/test", nil, &list)
}

func testNotify(h *socket.Handlers, agent Running) http.HandlerFunc {
	return h.Order(h.Answer(func(r *http.Request) (any, error) { return agent.TestNotify(r.Context()) }))
}
