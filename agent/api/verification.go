package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"personasync/agent/api/internal/socket"
	"personasync/store"
)

// VerifyOrder says which users to read back from MoEngage.
type VerifyOrder struct {
	Key    string        // of the computation, or its id
	Sample int           // how many users; 0: all of whom something was sent
	Repair bool          // queue differing values again
	Settle time.Duration // users who were sent something within it are left out: MoEngage takes a moment to apply
}

// DefaultSettle is how long MoEngage may take to apply a request that it accepted. It documents no time.
const DefaultSettle = time.Minute

// VerifyReport is the result of a verification.
type VerifyReport struct {
	store.Verification
	Agreement   *Agreement   `json:"agreement"`   // null when there was nothing to compare
	Differences []Difference `json:"differences"` // the first MaxDifferences
}

// MaxDifferences is how many differences a report lists; all are counted, and repaired.
const MaxDifferences = 1000

// Agreement is the share of users of whom MoEngage holds the values that were sent, with an interval that contains the
// share of all users in 95 of 100 samples (Wilson's). Of all users it is exact.
type Agreement struct {
	Share float64 `json:"share"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Level float64 `json:"confidence"`
}

// Difference is one attribute that MoEngage does not hold as it was sent.
type Difference struct {
	User      string          `json:"user"`
	Attribute string          `json:"attribute"` // its name in MoEngage; of an entry in a list, NAME[ENTRY], with true or false
	Want      json.RawMessage `json:"want"`      // null: it should hold none
	Got       json.RawMessage `json:"got"`       // null: it holds none
	Why       string          `json:"why"`       // unknown_user | missing | other_value
}

// verify takes the order over the socket.
func verify(h *socket.Handlers, agent Running) http.HandlerFunc {
	return h.Order(func(w http.ResponseWriter, r *http.Request) {
		o, err := readVerifyOrder(r.URL.Query())
		if err != nil {
			socket.Refuse(w, err)
			return
		}
		h.Stream(w, r, func(ctx context.Context, progress func(done, total int64)) (any, error) {
			return agent.Verify(ctx, o, progress)
		})
	})
}

func readVerifyOrder(q url.Values) (o VerifyOrder, err error) {
	o.Key, o.Repair = q.Get("key"), q.Get("repair") == "true"
	if o.Sample, err = strconv.Atoi(q.Get("sample")); err != nil || o.Sample < 0 {
		return o, fmt.Errorf("%w: sample %q is no count", socket.ErrUsage, q.Get("sample"))
	}
	if o.Settle, err = time.ParseDuration(q.Get("settle")); err != nil || o.Settle < 0 {
		return o, fmt.Errorf("%w: settle %q is no duration", socket.ErrUsage, q.Get("settle"))
	}
	return o, nil
}

// Verify implements Running.
func (c *Client) Verify(ctx context.Context, o VerifyOrder, progress func(done, total int64)) (*VerifyReport, error) {
	q := url.Values{"key": {o.Key}, "sample": {strconv.Itoa(o.Sample)}, "repair": {strconv.FormatBool(o.Repair)}, "settle": {o.Settle.String()}}
	r := new(VerifyReport)
	return r, c.agent.Follow(ctx, "/api/verify?"+q.Encode(), nil, progress, r)
}
