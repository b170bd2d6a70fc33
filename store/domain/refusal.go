package domain

import (
	"fmt"
	"time"
)

// A Refusal is one kind of request that was refused for good, how often, and when last. It holds no
// user id: route, code and status are of the program's own lists.
type Refusal struct {
	Route    string    `json:"route"`    // webhook, tracking, other: a path that takes no events, or RouteUnread; "" for those that an older program counted, without a kind
	Status   int       `json:"status"`   // of HTTP
	Code     string    `json:"code"`     // of the answer
	Delivery bool      `json:"delivery"` // it looked like a delivery of Segment's, so that an event was lost
	Count    uint64    `json:"count"`    // ever
	Last     time.Time `json:"last"`
}

// RouteUnread is the route of requests that were refused before their path was read, because they are no HTTP or too large.
const RouteUnread = "unread"

// The codes of these requests.
const (
	CodeHeadersTooLarge = "headers_too_large"
	CodeNotHTTP         = "not_http"
	CodeHTTPSToHTTP     = "https_to_http" // the client speaks HTTPS, and the address HTTP
	CodeHTTPToHTTPS     = "http_to_https"
)

// OfKind returns r without its count and time. Refusals with equal results are counted together.
func (r *Refusal) OfKind() Refusal {
	return Refusal{Route: r.Route, Status: r.Status, Code: r.Code, Delivery: r.Delivery}
}

// Sentence names a kind in few words: "401 invalid_signature at webhook".
func (r *Refusal) Sentence() string {
	route := r.Route
	if route == RouteUnread {
		return fmt.Sprintf("%d %s, before its path was read", r.Status, r.Code)
	}
	if route == "other" {
		route = "a path that takes no events"
	}
	text := fmt.Sprintf("%d %s at %s", r.Status, r.Code, route)
	if !r.Delivery {
		text += ", no delivery of Segment's"
	}
	return text
}

// LastReceived is when the newest event applied was received, of each route; zero before the first.
type LastReceived struct{ Webhook, Tracking time.Time }

// Last is the later of both.
func (r LastReceived) Last() time.Time { return Later(r.Webhook, r.Tracking) }

// Note takes the receipt of an event into account.
func (r *LastReceived) Note(e *Event) {
	at := &r.Webhook
	if e.Tracking {
		at = &r.Tracking
	}
	*at = Later(*at, e.Received)
}
