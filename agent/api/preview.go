package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"personasync/agent/api/internal/socket"
	syncer "personasync/sync"
)

// PreviewQuery is a delivery to read as if it were received, and to show the outcome of.
type PreviewQuery struct {
	Body     []byte    // as it is posted, or the whole HTTP request
	Path     string    // that it is posted to; "" for the one that the body looks like
	Received time.Time // zero: now
}

// MaxPreview is how many events of a delivery a preview shows.
const MaxPreview = MaxDryRun

// MaxPreviewBytes is the largest body of a preview. Bodies over ingest's own limit are refused as ingest refuses them.
const MaxPreviewBytes = 64 << 20

// PreviewResult is what the events of a delivery come to, in order, each on top of the ones before. Secrets are masked.
type PreviewResult struct {
	Path    string          `json:"path"`
	Refused *PreviewRefusal `json:"refused,omitempty"` // ingest's answer, if it does not take the delivery
	More    int             `json:"more,omitempty"`    // events that are not shown, beyond MaxPreview
	Remarks []string        `json:"remarks"`
	Events  []PreviewEvent  `json:"events"`
}

// PreviewRefusal is ingest's answer to a delivery that it does not take.
type PreviewRefusal struct {
	Status  int    `json:"status"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"` // what the body looks like instead, and what to do
}

// PreviewEvent is one event of a delivery.
type PreviewEvent struct {
	PreviewReading
	PreviewOutcome
}

// PreviewReading is how an event was read. It has more than 15 fields because the contract has one
// flat object.
type PreviewReading struct {
	Type          string                     `json:"type"`
	Name          string                     `json:"name,omitempty"` // of a track call
	User          string                     `json:"user"`
	UserFrom      string                     `json:"user_from"` // userId | anonymousId | email | ""
	Class         string                     `json:"class"`
	Computation   string                     `json:"computation"`
	ComputationID string                     `json:"computation_id"`
	Space         string                     `json:"space"`
	Says          string                     `json:"says"`             // in | out | ""
	Values        map[string]json.RawMessage `json:"values,omitempty"` // of a trait
	PassThrough   bool                       `json:"pass_through,omitempty"`
	MessageID     string                     `json:"message_id"`
	EventTime     string                     `json:"event_time"`
	TimeSource    string                     `json:"event_time_source,omitempty"`
	TimeSentence  string                     `json:"event_time_sentence,omitempty"`
	LeftOut       []string                   `json:"left_out,omitempty"`
	Consent       *[]string                  `json:"consent,omitempty"` // the categories that the event gives; nil: it says nothing
}

// PreviewOutcome is what an event comes to.
type PreviewOutcome struct {
	Outcome   string           `json:"outcome"`           // enter | exit | value | event | consent | unchanged | duplicate | stale | ignored | erased | parked
	Reason    string           `json:"reason,omitempty"`  // of a parked event
	Sentence  string           `json:"sentence"`          // the outcome for people
	Do        string           `json:"to_do,omitempty"`   // how to change it
	Changes   []PreviewChange  `json:"changes"`           // that it makes
	Requests  []syncer.Preview `json:"requests"`          // in which they leave
	Earlier   int              `json:"earlier,omitempty"` // changes that were pending before and leave in the same requests
	WouldPark []string         `json:"would_park,omitempty"`
}

// PreviewChange is a change that an event makes.
type PreviewChange struct {
	Kind        string          `json:"kind"`
	Computation string          `json:"computation"`
	Transition  string          `json:"transition"`
	Name        string          `json:"name"`
	Value       json.RawMessage `json:"value"`
	State       string          `json:"state"`
	Reason      string          `json:"reason,omitempty"`
	Sentence    string          `json:"sentence,omitempty"`
}

// Preview implements Inspector.
func (c *Client) Preview(ctx context.Context, q PreviewQuery) (*PreviewResult, error) {
	v := url.Values{"path": {q.Path}}
	if !q.Received.IsZero() {
		v.Set("received", q.Received.Format(time.RFC3339Nano))
	}
	r := new(PreviewResult)
	return r, c.agent.Post(ctx, "/api/preview?"+v.Encode(), bytes.NewReader(q.Body), r)
}

// preview answers a Preview. The delivery comes in the body, so that no log of requests has it.
func (i questions) preview(r *http.Request) (any, error) {
	q := PreviewQuery{Path: r.URL.Query().Get("path")}
	if text := r.URL.Query().Get("received"); text != "" {
		var err error
		if q.Received, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return nil, fmt.Errorf("%w: received %q is no time", socket.ErrUsage, text)
		}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxPreviewBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%w: receive the delivery: %w", socket.ErrUsage, err)
	}
	if len(body) > MaxPreviewBytes {
		return nil, fmt.Errorf("%w: the delivery has more than %d bytes", socket.ErrUsage, MaxPreviewBytes)
	}
	q.Body = body
	return i.Inspector.Preview(r.Context(), q)
}
