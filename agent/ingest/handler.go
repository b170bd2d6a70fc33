package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"personasync/agent/segment"
	"personasync/store/domain"
)

// Inbox stores accepted events. *store.Store is one.
type Inbox interface {
	// Append writes events to disk, in order, and returns nil only once they are there. After an error the
	// sender must keep them. ErrBusy, ErrFull, ErrMoved and ErrClosed of package domain say why.
	Append(ctx context.Context, events ...*domain.Event) error

	// CountRefusal counts one request that was refused for good. It never waits for the disk.
	CountRefusal(domain.Refusal)
}

// Handler is the http.Handler of ingest.listen: POST /segment/webhook and the Tracking API. All methods may be
// called concurrently.
//
// It answers 200 only after Append returned nil for every event of the request, and one bad event never fails a
// batch. If the cause is in the agent, the answer is 503 with Retry-After: Segment discards events after most 4xx
// answers, and retries for four hours after 5xx. Every answer is JSON.
type Handler struct {
	inbox   Inbox
	log     *slog.Logger
	intake  *intake
	times   oddTimes
	values  valuesLeftOut
	oddTime func(segment.OddTime) // times.note, made once
	config  atomic.Pointer[Config]
	unready atomic.Pointer[string] // the reason; nil or "" means ready
	memory  memory

	// The owner may set these before serving. Clock must not be nil.

	Clock    *Clock                                             // gives the time of receipt
	Observe  func(route string, status int, took time.Duration) // called for every request, before its answer is written
	Appended func(ctx context.Context, err error)               // called with the result of every append
}

// New returns a handler that accepts events at once.
func New(c Config, in Inbox, log *slog.Logger) *Handler {
	h := &Handler{inbox: in, Clock: NewClock(time.Time{}), log: log, times: oddTimes{log: log}, values: valuesLeftOut{log: log}, intake: newIntake(time.Now())}
	h.oddTime = h.times.note
	h.Reconfigure(c)
	return h
}

// Reconfigure checks new requests against c. Requests in progress finish with the configuration they began with.
func (h *Handler) Reconfigure(c Config) {
	h.config.Store(c.completed())
}

// TimesUnread returns how many events since the start had a time that could not be read.
func (h *Handler) TimesUnread() uint64 { return h.times.unread.Load() }

// ValuesLeftOut returns how many values since the start were left out of events.
func (h *Handler) ValuesLeftOut() uint64 { return h.values.leftOut.Load() }

// Know sets the known computations. An ignored event that has a value at one of their keys is counted as alike.
func (h *Handler) Know(seen []domain.ComputationInfo) { h.intake.know(seen) }

// Applied adds the growth of the ledger since the last call to the minute of now.
func (h *Handler) Applied(l domain.EventLedger, now time.Time) { h.intake.applied(l, now) }

// Lately sums up the hour that ends now.
func (h *Handler) Lately(now time.Time) *Intake { return h.intake.lately(now) }

// SetUnready makes every event route answer 503 with the reason why, until it is called with "".
func (h *Handler) SetUnready(why string) { h.unready.Store(&why) }

// route is one path of ingest.listen.
type route struct {
	answer func(h *Handler, r *request, c *Config, call domain.Call) answer
	call   domain.Call // the call that the path implies
	public bool        // pages of other origins may post here
}

// routes has the paths without a trailing slash. With one they mean the same, because the Java SDK posts to
// /v1/import/. http.ServeMux would answer some requests with HTML and with redirects, on which SDKs lose the body.
var routes = map[string]route{
	PathWebhook: {answer: (*Handler).webhook},

	"/v1/identify": trackingRoute(domain.CallIdentify), "/v1/i": trackingRoute(domain.CallIdentify),
	"/v1/track": trackingRoute(domain.CallTrack), "/v1/t": trackingRoute(domain.CallTrack),
	"/v1/page": trackingRoute(domain.CallPage), "/v1/p": trackingRoute(domain.CallPage),
	"/v1/screen": trackingRoute(domain.CallScreen), "/v1/s": trackingRoute(domain.CallScreen),
	"/v1/group": trackingRoute(domain.CallGroup), "/v1/g": trackingRoute(domain.CallGroup),
	"/v1/alias": trackingRoute(domain.CallAlias), "/v1/a": trackingRoute(domain.CallAlias),

	"/v1/batch":  {answer: (*Handler).trackingBatch, public: true},
	"/v1/import": {answer: (*Handler).trackingBatch, public: true},
	"/v1/b":      {answer: (*Handler).trackingBatch, public: true},
	"/v1/m":      {answer: (*Handler).trackingMetrics, public: true},
}

// methods returns the methods that the path takes. PUT and PATCH mean the same as POST: the mapping of Webhooks
// (Actions) lets its user choose among the three (action-destinations, webhook/send).
func (r route) methods() []string {
	if r.public {
		return []string{http.MethodOptions, http.MethodPost}
	}
	return []string{http.MethodPatch, http.MethodPost, http.MethodPut}
}

func trackingRoute(call domain.Call) route {
	return route{answer: (*Handler).trackingCall, call: call, public: true}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	path := strings.TrimSuffix(r.URL.Path, "/")
	to, known := routes[path]
	if to.public {
		allowOrigin(w.Header(), r)
	}
	a := h.decide(r, to, known)
	lost := a.refused() && a.lostDelivery(r, known)
	if a.refused() {
		h.inbox.CountRefusal(domain.Refusal{Route: routeName(path, known), Status: a.status, Code: a.code, Delivery: lost, Last: time.Now().UTC()})
	}
	if r.Method != http.MethodOptions {
		h.intake.answered(routeIndex(path, known), a, lost, lost && !likeSegment(r, path), began)
	}
	if lost || known && a.status != http.StatusMethodNotAllowed {
		logRefusal(h.log, path, known, a)
	}
	if h.Observe != nil {
		h.Observe(routeName(path, known), a.status, time.Since(began))
	}
	a.write(w)
}

// Unread counts a request that the server refused before it knew the path. Nobody can tell whether it was a delivery.
func (h *Handler) Unread(status int, code string) {
	if refused := refuse(status, code, ""); refused.refused() {
		h.inbox.CountRefusal(domain.Refusal{Route: RouteUnread, Status: status, Code: code, Last: time.Now().UTC()})
	}
	if h.Observe != nil {
		h.Observe(RouteUnread, status, 0)
	}
}

// decide returns the answer to a request. It reads the body only of a request that it may accept.
func (h *Handler) decide(r *http.Request, to route, known bool) answer {
	switch {
	case !known:
		return answer{status: http.StatusNotFound, code: "not_found", message: "This path does not exist. Send events to /segment/webhook, or to the /v1/ routes of Segment's Tracking API."}
	case r.Method == http.MethodOptions && to.public:
		return taken
	case !slices.Contains(to.methods(), r.Method):
		return methodNotAllowed(to)
	}
	if why := h.unready.Load(); why != nil && *why != "" {
		return unavailable("unready", "Not accepting events now: "+*why+".", 10*time.Second)
	}
	c := h.config.Load()
	memory, ok := h.memory.enter(c.MaxBodyBytes)
	if !ok {
		return crowded
	}
	q := &request{r, memory}
	defer q.memory.release()
	return to.answer(h, q, c, to.call)
}

// methodNotAllowed answers a path that exists, so that a wrong method is told apart from a wrong URL.
func methodNotAllowed(to route) answer {
	return answer{status: http.StatusMethodNotAllowed, code: "method_not_allowed", message: "Send events with POST.", allow: strings.Join(to.methods(), ", ")}
}

// take appends events to the inbox and returns the answer.
func (h *Handler) take(ctx context.Context, events []*domain.Event) answer {
	if len(events) == 0 {
		return taken
	}
	err := h.inbox.Append(ctx, events...)
	if h.Appended != nil {
		h.Appended(ctx, err)
	}
	switch {
	case err == nil:
		h.times.count(events)
		h.values.count(events)
		return taken
	case errors.Is(err, domain.ErrBusy):
		return unavailable("busy", "More events arrive than can be written. Retry shortly.", time.Second)
	case errors.Is(err, domain.ErrFull):
		return unavailable("full", "There is no space for more events. Retry later.", time.Minute)
	case errors.Is(err, domain.ErrMoved):
		return unavailable("unready", "The agent's data was moved. Retry later.", 10*time.Second)
	case errors.Is(err, domain.ErrClosed):
		return unavailable("stopping", "The agent is stopping. Retry shortly.", 10*time.Second)
	case ctx.Err() != nil:
		return unavailable("interrupted", "The request ended before its events were on disk. Retry.", time.Second)
	}
	a := unavailable("not_written", "The events could not be written. Retry later.", 30*time.Second)
	a.cause = err
	return a
}
