package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"personasync/agent/segment"
	"personasync/store/domain"
)

// Inbox keeps what comes in. *store.Store is one.
type Inbox interface {
	// Append puts events on disk, in order, and returns once they are. After an error the sender keeps
	// them: ErrBusy, ErrFull and ErrClosed of package store ask it to try again.
	Append(ctx context.Context, events ...*domain.Event) error

	// CountRefusal counts one request that was refused for good. It waits for no disk.
	CountRefusal(domain.Refusal)
}

// Config is the part of [ingest] that requests are held against. Of each list every entry is
// accepted, so that secrets can be rotated; empty entries count for nothing.
type Config struct {
	SharedSecrets []string // of the webhook's X-Signature
	BearerTokens  []string // of the webhook's Authorization header
	WriteKeys     []string // of the Tracking routes
	AuthRequired  bool     // false: take everything, and believe it
	MaxBodyBytes  int64    // of the webhook route; zero takes the default
	CheckID       func(id string) (fault string)
}

// defaultMaxBody is ingest.max_body_bytes: Segment's largest batches are 4 MB.
const defaultMaxBody = 8 << 20

// Handler is the http.Handler of ingest.listen: POST /segment/webhook and the Tracking API. All methods may
// be called concurrently.
//
// It promises: 200 is answered only after Append returned nil for every event of the request, and one
// bad event never fails a batch. Whenever the agent is to blame the answer is 503 with Retry-After,
// because Segment throws away events that are answered with most 4xx and keeps trying for four hours on
// 5xx. Every answer is JSON.
type Handler struct {
	inbox   Inbox
	log     *slog.Logger
	intake  *intake
	times   oddTimes
	values  valuesLeftOut
	oddTime func(segment.OddTime) // times.note
	config  atomic.Pointer[Config]
	unready atomic.Pointer[string] // why; nil or "" is ready
	room    room

	// What follows is set before serving, and may be nil but for the clock.

	Clock    *Clock                                             // says when events come
	Observe  func(route string, status int, took time.Duration) // is told of every request once it was decided
	Appended func(ctx context.Context, err error)               // is told what came of every append
}

// New returns a door that accepts events at once.
func New(c Config, in Inbox, log *slog.Logger) *Handler {
	d := &Handler{inbox: in, Clock: NewClock(time.Time{}), log: log, times: oddTimes{log: log}, values: valuesLeftOut{log: log}, intake: newIntake(time.Now())}
	d.oddTime = d.times.note
	d.Reconfigure(c)
	return d
}

// Reconfigure holds requests against c from now on. Requests under way finish with what they began with.
func (d *Handler) Reconfigure(c Config) {
	c.SharedSecrets = withoutEmpty(c.SharedSecrets)
	c.BearerTokens = withoutEmpty(c.BearerTokens)
	c.WriteKeys = withoutEmpty(c.WriteKeys)
	if c.MaxBodyBytes <= 0 {
		c.MaxBodyBytes = defaultMaxBody
	}
	d.config.Store(&c)
}

// withoutEmpty copies a list without its empty entries: an empty secret would let everybody in.
func withoutEmpty(list []string) []string {
	var out []string
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

// TimesUnread counts the events since the start that had a time which could not be read.
func (d *Handler) TimesUnread() uint64 { return d.times.unread.Load() }

// ValuesLeftOut counts the values since the start that were left out of events.
func (d *Handler) ValuesLeftOut() uint64 { return d.values.leftOut.Load() }

// Know takes the computations that are known: an event that names none may be of one of them.
func (d *Handler) Know(seen []domain.ComputationInfo) { d.intake.know(seen) }

// Applied takes what the ledger counts now. What it counted since the last call is of this minute.
func (d *Handler) Applied(l domain.EventLedger, now time.Time) { d.intake.applied(l, now) }

// Lately sums up what came in the hour that ends now.
func (d *Handler) Lately(now time.Time) *Intake { return d.intake.lately(now) }

// SetUnready makes every event route answer 503 and why, until it is called with "".
func (d *Handler) SetUnready(why string) { d.unready.Store(&why) }

// knock is one request at the door.
type knock struct {
	*http.Request
	claim claim
}

// doorRoute is what one path takes. A zero answer function is a path that is not ours.
type doorRoute struct {
	answer func(d *Handler, k *knock, c *Config, call domain.Call) answer
	call   domain.Call // that the path implies
	public bool        // browsers of other origins may post here
}

// PathWebhook is where Segment's Webhook destinations post to.
const PathWebhook = "/segment/webhook"

// doorRoutes are the paths of ingest.listen, without a trailing slash: with one they are the same, since
// the Java SDK posts to /v1/import/. http.ServeMux would answer some requests with HTML and redirects,
// on which SDKs lose the body.
var doorRoutes = map[string]doorRoute{
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

// methods are what a path can be asked with. PUT and PATCH mean what POST does: the mapping of Webhooks
// (Actions) lets its user choose among the three (action-destinations, webhook/send).
func (r doorRoute) methods() []string {
	if r.public {
		return []string{http.MethodOptions, http.MethodPost}
	}
	return []string{http.MethodPatch, http.MethodPost, http.MethodPut}
}

func trackingRoute(call domain.Call) doorRoute {
	return doorRoute{answer: (*Handler).trackingCall, call: call, public: true}
}

// ServeHTTP implements http.Handler.
func (d *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	path := strings.TrimSuffix(r.URL.Path, "/")
	route, known := doorRoutes[path]
	if route.public {
		allowOrigin(w.Header(), r)
	}
	a := d.decide(r, route, known)
	lost := a.refused() && a.lostDelivery(r, known)
	if a.refused() {
		d.inbox.CountRefusal(domain.Refusal{Route: routeName(path, known), Status: a.status, Code: a.code, Delivery: lost, Last: time.Now().UTC()})
	}
	if r.Method != http.MethodOptions {
		d.intake.answered(routeIndex(path, known), a, lost, lost && !likeSegment(r, path), began)
	}
	if lost || known && a.status != http.StatusMethodNotAllowed {
		d.complain(path, known, a)
	}
	if d.Observe != nil {
		d.Observe(routeName(path, known), a.status, time.Since(began))
	}
	a.write(w)
}

func (d *Handler) decide(r *http.Request, route doorRoute, known bool) answer {
	switch {
	case !known:
		return answer{status: http.StatusNotFound, code: "not_found", message: "There is nothing here. Events go to /segment/webhook, or to the /v1/ routes of Segment's Tracking API."}
	case r.Method == http.MethodOptions && route.public:
		return taken
	case !slices.Contains(route.methods(), r.Method):
		return methodNotAllowed(route)
	}
	if why := d.unready.Load(); why != nil && *why != "" {
		return unwell("unready", "Not accepting events now: "+*why+".", 10*time.Second)
	}
	c := d.config.Load()
	claim, ok := d.room.enter(c.MaxBodyBytes)
	if !ok {
		return crowded
	}
	k := &knock{r, claim}
	defer k.claim.release()
	return route.answer(d, k, c, route.call)
}

var crowded = unwell("crowded", "More is being received at once than there is room for. Send the events again in a moment.", time.Second)

func methodNotAllowed(route doorRoute) answer {
	return answer{status: http.StatusMethodNotAllowed, code: "method_not_allowed", message: "Events are posted: use POST.", allow: strings.Join(route.methods(), ", ")}
}

// take puts events on disk and answers for it.
func (d *Handler) take(ctx context.Context, events []*domain.Event) answer {
	if len(events) == 0 {
		return taken
	}
	err := d.inbox.Append(ctx, events...)
	if d.Appended != nil {
		d.Appended(ctx, err)
	}
	switch {
	case err == nil:
		d.times.count(events)
		d.values.count(events)
		return taken
	case errors.Is(err, domain.ErrBusy):
		return unwell("busy", "More events are coming in than can be written. Send them again in a moment.", time.Second)
	case errors.Is(err, domain.ErrFull):
		return unwell("full", "There is no room for more events. Send them again later.", time.Minute)
	case errors.Is(err, domain.ErrMoved):
		return unwell("unready", "The agent's data is not where it was. Send the events again later.", 10*time.Second)
	case errors.Is(err, domain.ErrClosed):
		return unwell("stopping", "The agent is stopping. Send the events again in a moment.", 10*time.Second)
	case ctx.Err() != nil:
		return unwell("interrupted", "The request ended before its events were on disk. Send them again.", time.Second)
	}
	a := unwell("not_written", "The events could not be written. Send them again later.", 30*time.Second)
	a.cause = err
	return a
}

// webhook takes what a Segment Webhook destination sends.
func (d *Handler) webhook(k *knock, c *Config, _ domain.Call) answer {
	received, latest, ahead := d.Clock.receipt()
	if bad := c.checkBeforeBody(k.Request); bad != nil {
		return *bad
	}
	body, err := readBody(k, c.MaxBodyBytes)
	if err != nil {
		return unreadableBody(err, webhookTooLarge(c.MaxBodyBytes))
	}
	items, array, err := segment.Split(withoutMark(body))
	covered := c.covered(k.Request, body, items, array)
	if covered == coversNothing {
		return refuse(http.StatusUnauthorized, "invalid_signature", "The X-Signature does not match this body. Compare the shared secret in Segment's webhook settings with ingest.shared_secret, and let no proxy change the body.")
	}
	if err != nil {
		return notEvents(err, http.StatusRequestEntityTooLarge)
	}
	if !k.claim.take(int64(len(items)*eventCost + len(body))) {
		return crowded
	}
	events := make([]*domain.Event, len(items))
	for i, item := range items {
		events[i] = segment.Read(item, segment.Reading{
			Route:    segment.RouteWebhook,
			Received: received,
			Latest:   latest,
			Ahead:    ahead,
			Verified: covered == coversAll || i == 0,
			CheckID:  c.CheckID,
			Position: i,
			OddTime:  d.oddTime,
		})
	}
	a := d.take(k.Context(), events)
	if a.status == http.StatusOK {
		d.intake.webhook(events, received)
	}
	return a
}

func webhookTooLarge(limit int64) answer {
	return refuse(http.StatusRequestEntityTooLarge, "body_too_large", fmt.Sprintf("The body has more than %d bytes. Lower the batch size in Segment's webhook settings, or raise ingest.max_body_bytes.", limit))
}

// notEvents refuses a body that package segment could not take apart.
func notEvents(err error, tooLarge int) answer {
	var notJSON *segment.NotJSON
	switch {
	case errors.As(err, &notJSON):
		return refuse(http.StatusBadRequest, "invalid_json", "The body is "+notJSON.Error()+".")
	case errors.Is(err, segment.ErrTooMany):
		return refuse(tooLarge, "too_many_events", "There are "+err.Error()+". Send fewer at a time.")
	case errors.Is(err, segment.ErrTooLarge):
		return refuse(tooLarge, "batch_too_large", "For one request, "+err.Error()+". Send fewer at a time.")
	}
	return refuse(http.StatusBadRequest, "no_batch", "A batch is an object with the events in its batch array.")
}
