package api

import (
	"context"
	"net/http"
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
	return list, c.do(ctx, http.MethodPost, "/api/notify/test", nil, &list)
}

func (f *frame) testNotify(agent Running) http.HandlerFunc {
	return f.order(f.answer(func(r *http.Request) (any, error) { return agent.TestNotify(r.Context()) }))
}
