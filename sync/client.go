package syncer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"personasync/store/domain"
)

// userAgent names us in the logs of whoever runs the proxy.
const userAgent = "personasync"

// newTransport is how requests travel unless Config.Transport says otherwise. Certificates are
// checked, and nothing older than TLS 1.2 is spoken. Names are resolved for every connection, because
// MoEngage's addresses change. Pings find a dead HTTP/2 connection before a whole timeout is lost on it.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   16,

		MaxResponseHeaderBytes: readBody, // net/http would take 10 MB of every answer

		DisableCompression: true,
		ForceAttemptHTTP2:  true,
		HTTP2:              &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}

// client posts bodies to one address with one set of credentials. It is immutable; a new
// configuration makes a new one. It may be used concurrently.
type client struct {
	transport http.RoundTripper
	url       string
	header    http.Header
	timeout   time.Duration
	secrets   *strings.Replacer // masks what must not be kept of an answer
}

func newClient(c Config, transport http.RoundTripper) *client {
	auth := base64.StdEncoding.EncodeToString([]byte(c.WorkspaceID + ":" + c.APIKey))
	return &client{
		transport: transport,
		url:       c.url(),
		header:    c.header("Basic " + auth),
		timeout:   c.Timeout,
		secrets:   masking(c.APIKey, auth),
	}
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

// mask stands where a secret stood.
const mask = "********"

// url is the address that a road's requests go to: the bulk endpoint, or Cohort Sync.
func (c Config) url() string {
	if c.Endpoint == domain.EndpointCohort {
		return strings.TrimRight(c.BaseURL, "/") + "/v1/integrations/cohortsync"
	}
	return strings.TrimRight(c.BaseURL, "/") + "/v1/transition/" + url.PathEscape(c.WorkspaceID)
}

// header is what every request bears. MOE-APPKEY is documented as required for some endpoints and as
// unknown for this one; connectors in the field always send it.
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

// post sends one body and reads the answer; whatever goes wrong is an answer, too. It returns within
// the client's timeout.
func (c *client) post(ctx context.Context, body []byte) answer {
	a, _ := c.exchange(ctx, body, readBody)
	return a
}

// exchange is post for who wants the whole text of the answer, as far as limit. RoundTrip rather than
// Do: it follows no redirect, and a second try of its own happens only when nothing of the first has
// left.
func (c *client) exchange(ctx context.Context, body []byte, limit int64) (a answer, text []byte) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var way departure
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, way.trace()), http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return failure(err, false, time.Now()), nil
	}
	req.Header = c.header.Clone()
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return c.masked(failure(err, way.mayHaveLeft(), time.Now())), nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		// What follows is the raw connection, which no timeout ends any more: whoever read it would hang.
		return c.masked(read(resp.StatusCode, resp.Header, nil, time.Now())), nil
	}
	text, err = io.ReadAll(io.LimitReader(resp.Body, limit))
	now := time.Now()
	if err != nil && resp.StatusCode/100 == 2 {
		return c.masked(failure(err, true, now)), nil
	}
	if err == nil {
		io.CopyN(io.Discard, resp.Body, readBody) // drained, the connection can be used again
	}
	return c.masked(read(resp.StatusCode, resp.Header, text, now)), text
}

// masked removes our own credentials from an answer, which a chatty proxy may have echoed, and cuts its
// body to what is worth keeping.
func (c *client) masked(a answer) answer {
	a.body = clip(c.secrets.Replace(a.body), keepBody)
	a.words = c.secrets.Replace(a.words)
	return a
}

// departure notes how far a request got. A request that never got a connection certainly did not
// arrive, whatever the error says.
type departure struct {
	asked, got atomic.Bool
}

func (d *departure) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn: func(string) { d.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { d.got.Store(true) },
	}
}

// mayHaveLeft is true unless the transport reported looking for a connection and finding none. A
// transport that reports nothing is not believed to have sent nothing.
func (d *departure) mayHaveLeft() bool {
	return !d.asked.Load() || d.got.Load()
}
