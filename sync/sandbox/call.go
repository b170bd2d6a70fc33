package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"mime"
	"net/http"
	"slices"

	"personasync/sync/sandbox/internal/rawjson"
)

// endpoint is a MoEngage endpoint with the properties that the checks need.
type endpoint struct {
	name       string
	inURL      bool // the workspace is in the path or in ?app_id=
	appKey     bool // MOE-APPKEY is required
	titled     bool // its 429 and 500 have title and description instead of error
	soft, hard int  // bytes: the smaller and the larger reading of the documented limit

	read func(body []byte) (content, *refusal) // checks the schema; knows nothing of the workspace
}

const (
	bulkSoft, bulkHard = 100_000, 102_400 // "100 KB"
	soft, hard         = 128_000, 131_072 // "128 KB"
)

var (
	transition     = &endpoint{name: "transition", inURL: true, soft: bulkSoft, hard: bulkHard, read: readBulk}
	trackUser      = &endpoint{name: "customer", inURL: true, soft: soft, hard: hard, read: readSingle(customer)}
	trackEvent     = &endpoint{name: "event", inURL: true, soft: soft, hard: hard, read: readSingle(event)}
	cohortSync     = &endpoint{name: "cohortsync", appKey: true, soft: soft, hard: hard, read: readCohort}
	export         = &endpoint{name: "export", inURL: true, soft: soft, hard: hard, read: readExport}
	authentication = &endpoint{name: "authentication", appKey: true, soft: soft, hard: hard, read: readAuthentication}
	partner        = &endpoint{name: "segment", inURL: true, soft: soft, hard: hard, read: readPartner}
	trackDevice    = &endpoint{name: "device", inURL: true, soft: soft, hard: hard, read: readSingle(device)}
	deletionOfUser = &endpoint{name: "delete", inURL: true, titled: true, soft: soft, hard: hard, read: readDeletion}
	merger         = &endpoint{name: "merge", inURL: true, soft: soft, hard: hard, read: readMerger}
)

var endpoints = []*endpoint{transition, trackUser, trackEvent, cohortSync, export, authentication, partner, trackDevice, deletionOfUser, merger}

// call is a request in progress.
type call struct {
	Request
	*endpoint
	ctx     context.Context
	header  http.Header
	query   string // app_id
	pathApp string // {ws}
	body    []byte // trimmed; nil if over the limit
	size    int
	content
	unread *refusal // why the body is invalid
}

// readCall reads and parses a request as far as possible, before any check. So a fault can select a user, and
// the record counts refused users and events.
func readCall(e *endpoint, r *http.Request) *call {
	c := &call{
		Request:  Request{Method: r.Method, Path: r.URL.Path, Endpoint: e.name},
		endpoint: e,
		ctx:      r.Context(),
		header:   r.Header,
		query:    appID(r),
		pathApp:  r.PathValue("ws"),
	}
	body, err := readBody(r, e.hard)
	c.size = len(body)
	c.Bytes = len(body)
	if len(body) > e.hard {
		c.Bytes = max(len(body), int(r.ContentLength))
		return c
	}
	c.body = bytes.TrimSpace(body)
	c.unread = c.wellFormed(err)
	if c.unread == nil {
		c.content, c.unread = e.read(c.body)
	}
	for _, el := range c.elements {
		c.count(el)
	}
	return c
}

// appID returns the workspace in the query. Segment's destination spells the parameter differently.
func appID(r *http.Request) string {
	q := r.URL.Query()
	return cmp.Or(q.Get("app_id"), q.Get("appId"))
}

// readBody reads at most one byte more than allowed.
func readBody(r *http.Request, allowed int) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(min(max(int(r.ContentLength), 0), allowed) + bytes.MinRead)
	_, err := b.ReadFrom(io.LimitReader(r.Body, int64(allowed)+1))
	return b.Bytes(), err
}

func (c *call) wellFormed(readErr error) *refusal {
	switch {
	case len(c.body) == 0:
		return &emptyBody
	case readErr != nil || !rawjson.WellFormed(c.body):
		return &malformed
	case c.body[0] != '{':
		return &notAnObject
	}
	return nil
}

func (c *call) count(e element) {
	switch {
	case e.refusal != nil:
	case e.kind == customer, e.kind == uid:
		c.Users++
	case e.kind == event:
		c.Events += e.events
	}
}

func (c *call) names(user string) bool {
	return slices.ContainsFunc(c.elements, func(e element) bool { return e.user == user })
}

// checkContentType is the first check: the header must be application/json.
func (c *call) checkContentType() *refusal {
	given := c.header.Get("Content-Type")
	if given == "" {
		return &noContentType
	}
	if media, _, err := mime.ParseMediaType(given); err != nil || media != "application/json" {
		return &unsupportedMedia
	}
	return nil
}

// checkCredentials checks Basic authentication and MOE-APPKEY, and that all name the same workspace. An empty
// workspace or key in the options accepts any value except an empty one.
func (c *call) checkCredentials(workspace, key string) *refusal {
	header := c.header.Get("Authorization")
	if header == "" {
		return &noAuth
	}
	app, secret, ok := (&http.Request{Header: c.header}).BasicAuth()
	appKey := c.header.Get("MOE-APPKEY")
	inURL := c.pathApp
	inURL = cmp.Or(inURL, c.query)
	switch {
	case !ok:
		return &undecodableAuth
	case app == "":
		return &noAppKey
	case secret == "":
		return &noSecret
	case workspace != "" && app != workspace:
		return &wrongApp
	case key != "" && secret != key:
		return &wrongSecret
	case c.inURL && inURL == "":
		return &paramsRequired
	case c.inURL && inURL != app:
		return &appMismatch
	case c.appKey && appKey == "":
		return &noAppKey
	case appKey != "" && appKey != app:
		return &appMismatch
	}
	return nil
}

func (c *call) checkSize() *refusal {
	if c.size > c.hard {
		return &tooLarge
	}
	return nil
}

// requestID returns eight letters like MoEngage's request ids. Each number gives a different one, because the
// factor and 52^8 have no common divisor.
func requestID(number uint64) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	const all = 52 * 52 * 52 * 52 * 52 * 52 * 52 * 52
	n := number % all * 179_426_549 % all
	var id [8]byte
	for i := range id {
		id[i] = letters[n%52]
		n /= 52
	}
	return string(id[:])
}
