package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"personasync/agent/api/internal/socket"
	"personasync/store"
	"personasync/store/domain"
)

// Order changes the memberships of one computation.
type Order struct {
	Verb   string // import, baseline, reconcile, reconcile_told, close, release, discard, adopt, forget
	Key    string // of the computation, or its id
	ID     string // adopt: of the computation that continues Key
	AsOf   time.Time
	Events bool
	DryRun bool
	By     string // login of the operator; a running agent knows it from the socket

	// Since and Until limit a reconcile_told to users of whom MoEngage accepted a change in that time.
	Since, Until time.Time

	// Users is the list of an import or a baseline. Its first error ends the order with nothing changed.
	Users iter.Seq2[string, error]
}

// Orders carries out orders on memberships and users: a running agent does, or a command on the files of a stopped one.
type Orders interface {
	// Order carries out o. progress may be nil; it is called now and then with the users done and those to do.
	Order(ctx context.Context, o Order, progress func(done, total int64)) (store.MembershipReport, error)

	// Forget erases a user, and returns once their bytes are overwritten.
	Forget(ctx context.Context, o ForgetOrder) (store.ForgetReport, error)
}

var _ Orders = (*Client)(nil)

// carryOut takes orders on the socket.
func carryOut(h *socket.Handlers, orders Orders) http.HandlerFunc {
	return h.Order(func(w http.ResponseWriter, r *http.Request) {
		o, err := readOrder(r)
		if err != nil {
			socket.Refuse(w, err)
			return
		}
		h.Stream(w, r, func(ctx context.Context, progress func(done, total int64)) (any, error) {
			return orders.Order(ctx, o, progress)
		})
	})
}

func readOrder(r *http.Request) (o Order, err error) {
	q := r.URL.Query()
	o = Order{Verb: q.Get("verb"), Key: q.Get("key"), ID: q.Get("id"), Events: q.Has("events"), DryRun: q.Has("dry_run"), By: socket.PeerOf(r.Context()).Name(), Users: receiveUsers(r.Body)}
	for name, at := range map[string]*time.Time{"as_of": &o.AsOf, "since": &o.Since, "until": &o.Until} {
		if text := q.Get(name); text != "" {
			ns, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return o, fmt.Errorf("%w: %s %q is no time in nanoseconds", socket.ErrUsage, name, text)
			}
			*at = time.Unix(0, ns)
		}
	}
	return o, nil
}

// forgetUser takes the order to erase a user. The id comes in the body, so that no log of requests has it.
func forgetUser(h *socket.Handlers, orders Orders) http.HandlerFunc {
	return h.Order(func(w http.ResponseWriter, r *http.Request) {
		var o ForgetOrder
		if err := json.NewDecoder(io.LimitReader(r.Body, socket.MaxOrder)).Decode(&o); err != nil || o.User == "" || len(o.User) > domain.MaxUserID {
			socket.Refuse(w, fmt.Errorf("%w: it names no user", socket.ErrUsage))
			return
		}
		if name := socket.PeerOf(r.Context()).Name(); name != "" {
			o.By = name
		}
		h.Stream(w, r, func(ctx context.Context, _ func(done, total int64)) (any, error) {
			return orders.Forget(ctx, o)
		})
	})
}

// ForgetOrder says whom to erase.
type ForgetOrder struct {
	User     string `json:"user"`
	MoEngage bool   `json:"moengage,omitempty"` // have the user deleted at MoEngage, too
	By       string `json:"by,omitempty"`       // the operator's user name on the host; a running agent knows it from the socket
}

// ErrDeletesOff refuses to have a user deleted at MoEngage.
var ErrDeletesOff = fmt.Errorf("%w: moengage.delete_users is false, so nobody is deleted at MoEngage, and nothing was done: set it to true in the configuration and reload, or forget the user without --moengage", socket.ErrUsage)

// Forget implements Orders.
func (c *Client) Forget(ctx context.Context, o ForgetOrder) (r store.ForgetReport, err error) {
	body, err := json.Marshal(o)
	if err != nil {
		return r, err
	}
	return r, c.agent.Follow(ctx, "/api/user/forget", bytes.NewReader(body), nil, &r)
}

// Order implements Orders.
func (c *Client) Order(ctx context.Context, o Order, progress func(done, total int64)) (r store.MembershipReport, err error) {
	q := url.Values{"verb": {o.Verb}, "key": {o.Key}, "id": {o.ID}}
	if o.Events {
		q.Set("events", "")
	}
	if o.DryRun {
		q.Set("dry_run", "")
	}
	if o.Verb == "reconcile_told" {
		q.Set("since", strconv.FormatInt(o.Since.UnixNano(), 10))
		q.Set("until", strconv.FormatInt(o.Until.UnixNano(), 10))
	}
	var body io.Reader
	if o.Users != nil {
		q.Set("as_of", strconv.FormatInt(o.AsOf.UnixNano(), 10))
		pipe, in := io.Pipe()
		sent := make(chan struct{})
		defer func() { _ = pipe.Close(); <-sent }()
		go func() {
			defer close(sent)
			_ = in.CloseWithError(sendUsers(in, o.Users))
		}()
		body = pipe
	}
	return r, c.agent.Follow(ctx, "/api/order?"+q.Encode(), body, progress, &r)
}
