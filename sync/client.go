package syncer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"personasync/store/domain"
)

// userAgent identifies us in the logs of proxies.
const userAgent = "personasync"

// newTransport returns the default transport. It verifies certificates and requires TLS 1.2. It resolves names
// for every connection, because MoEngage's addresses change. Pings detect a dead HTTP/2 connection before a
// request times out.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   16,

		MaxResponseHeaderBytes: readBody, // net/http's default is 10 MB

		DisableCompression: true,
		ForceAttemptHTTP2:  true,
		HTTP2:              &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}

// client posts bodies to one address with one set of credentials. It is immutable, so a new configuration
// creates a new client. It is safe for concurrent use.
type client struct {
	transport http.RoundTripper
	url       string
	header    http.Header
	timeout   time.Duration
	secrets   *strings.Replacer // masks secrets in an answer
	deletes   bool              // posts deletes: an unknown user is gone already
	allowed   func() error      // of Config; nil allows all
	trace     *domain.Trace     // that its requests are part of; nil: none
}

func newClient(c Config, transport http.RoundTripper) *client {
	auth := base64.StdEncoding.EncodeToString([]byte(c.WorkspaceID + ":" + c.APIKey))
	return &client{
		transport: transport,
		url:       c.url(),
		header:    c.header("Basic " + auth),
		timeout:   c.Timeout,
		secrets:   masking(c.APIKey, auth),
		deletes:   c.Endpoint == domain.EndpointDelete,
		allowed:   c.Allowed,
	}
}

// within returns a client whose requests are part of a trace, if there is one.
func (c *client) within(trace *domain.Trace) *client {
	if trace == nil {
		return c
	}
	with := *c
	with.trace = trace
	return &with
}

func masking(secrets ...string) *strings.Replacer {
	var pairs []string
	for _, s := range secrets {
		if s != "" {
			pairs = append(pairs, s, mask)
		}
	}
	return strings.NewReplacer(pairs...)
}

// mask replaces a secret.
const mask = "********"

// url returns the address for an endpoint's requests: the bulk endpoint, Cohort Sync or Delete User.
func (c Config) url() string {
	switch c.Endpoint {
	case domain.EndpointCohort:
		return strings.TrimRight(c.BaseURL, "/") + "/v1/integrations/cohortsync"
	case domain.EndpointDelete:
		return strings.TrimRight(c.BaseURL, "/") + "/v1/customer/delete?app_id=" + url.QueryEscape(c.WorkspaceID)
	}
	return strings.TrimRight(c.BaseURL, "/") + "/v1/transition/" + url.PathEscape(c.WorkspaceID)
}

// header returns the headers of every request. MoEngage documents MOE-APPKEY as required for some endpoints and
// not for this one. Existing connectors always send it.
func (c Config) header(authorization string) http.Header {
	h := http.Header{}
	h.Set("Authorization", authorization)
	h.Set("MOE-APPKEY", c.WorkspaceID)
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json")
	h.Set("User-Agent", userAgent)
	if c.ForwardedFor != "" {
		h.Set("X-Forwarded-For", c.ForwardedFor)
	}
	return h
}

// post sends one body and reads the answer. Errors are answers too. It returns within the client's timeout.
func (c *client) post(ctx context.Context, body []byte) answer {
	a, _ := c.exchange(ctx, body, readBody)
	if c.deletes {
		return a.ofDelete()
	}
	return a
}

// exchange is post that also returns the text of the answer, up to limit bytes. It uses RoundTrip instead of
// Do, so it follows no redirect and retries only if nothing of the first attempt was sent.
func (c *client) exchange(ctx context.Context, body []byte, limit int64) (a answer, text []byte) {
	if c.allowed != nil {
		if err := c.allowed(); err != nil {
			return failure(err, false, time.Now()), nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var progress requestProgress
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, progress.trace()), http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return failure(err, false, time.Now()), nil
	}
	req.Header = c.header.Clone()
	if c.trace != nil {
		var span [8]byte
		binary.BigEndian.PutUint64(span[:], max(rand.Uint64(), 1))
		req.Header.Set("Traceparent", c.trace.Parent(span))
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return c.masked(failure(err, progress.mayHaveLeft(), time.Now())), nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		// The body is now the raw connection, which has no timeout: reading it would hang.
		return c.masked(readAnswer(resp.StatusCode, resp.Header, nil, time.Now())), nil
	}
	text, err = io.ReadAll(io.LimitReader(resp.Body, limit))
	now := time.Now()
	if err != nil && resp.StatusCode/100 == 2 {
		return c.masked(failure(err, true, now)), nil
	}
	if err == nil {
		io.CopyN(io.Discard, resp.Body, readBody) // drain it, so that the connection can be reused
	}
	return c.masked(readAnswer(resp.StatusCode, resp.Header, text, now)), text
}

// masked removes our credentials from an answer, because a proxy may echo them, and cuts its body to the stored
// length.
func (c *client) masked(a answer) answer {
	a.body = clip(c.secrets.Replace(a.body), keepBody)
	a.message = c.secrets.Replace(a.message)
	return a
}

// requestProgress records how far a request got. A request without a connection certainly did not arrive, whatever
// the error says.
type requestProgress struct {
	asked, got atomic.Bool
}

func (d *requestProgress) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn: func(string) { d.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { d.got.Store(true) },
	}
}

// mayHaveLeft returns false only if the transport reported that it looked for a connection and found none. A
// transport that reports nothing may have sent the request.
func (d *requestProgress) mayHaveLeft() bool {
	return !d.asked.Load() || d.got.Load()
}
