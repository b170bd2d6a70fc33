package syncer

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// wire is a MoEngage without sockets, which do not work in fake time. It answers by a script and records
// requests.
type wire struct {
	t       testing.TB
	latency time.Duration
	answer  func(r sentRequest) (*http.Response, error) // nil: accept

	mu       sync.Mutex
	requests []sentRequest
	flying   int
	widest   int // requests in flight at once
	accepted []string
}

// sentRequest is a received request.
type sentRequest struct {
	at            time.Time
	users, events int
	ids           []string // customer ids in order, events with a leading "!"
	bytes         int
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	var r sentRequest
	if test := strings.HasSuffix(req.URL.Path, "/authentication"); !test {
		r = w.parse(req)
	}
	w.mu.Lock()
	if len(r.ids) > 0 {
		w.requests = append(w.requests, r)
	}
	latency := w.latency
	w.flying++
	w.widest = max(w.widest, w.flying)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.flying--
		w.mu.Unlock()
	}()
	select {
	case <-time.After(latency):
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	resp, err := ok(), error(nil)
	if w.answer != nil {
		resp, err = w.answer(r)
	}
	if err == nil && resp.StatusCode == http.StatusOK {
		w.mu.Lock()
		w.accepted = append(w.accepted, r.ids...)
		w.mu.Unlock()
	}
	return resp, err
}

func (w *wire) parse(req *http.Request) sentRequest {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		w.t.Error(err)
	}
	var b struct {
		Type     string
		Elements []struct {
			Type       string
			CustomerID string `json:"customer_id"`
			Actions    []struct{ Action string }
		}
	}
	if err := json.Unmarshal(body, &b); err != nil || b.Type != "transition" || len(b.Elements) == 0 {
		w.t.Errorf("not a bulk request: %v: %.200s", err, body)
	}
	r := sentRequest{at: time.Now(), bytes: len(body)}
	for _, e := range b.Elements {
		if e.Type == "event" {
			r.events += len(e.Actions)
			r.ids = append(r.ids, "!"+e.CustomerID)
			continue
		}
		r.users++
		r.ids = append(r.ids, e.CustomerID)
	}
	return r
}

func (w *wire) count() int { return len(w.seen()) }

// seen returns the requests so far in order.
func (w *wire) seen() []sentRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests[:len(w.requests):len(w.requests)]
}

// taken returns the ids in the accepted requests in order.
func (w *wire) taken() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.accepted[:len(w.accepted):len(w.accepted)]
}

// width returns the largest number of concurrent requests since the last call.
func (w *wire) width() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	widest := w.widest
	w.widest = w.flying
	return widest
}

// reply returns a response. header has alternating names and values.
func reply(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func ok() *http.Response {
	return reply(200, `{"status":"success","message":"Your request has been accepted and will be processed soon.","request_id":"kXwpDESb"}`)
}

func fail(status int, kind, message string) *http.Response {
	return reply(status, fmt.Sprintf(`{"status":"fail","error":{"type":%q,"message":%q,"request_id":"ZbPXtKFL"}}`, kind, message))
}

// cut is the error of a network that is down.
func cut() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
}

// reset is the error of a connection that broke after the request was sent.
func reset() error {
	return &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
}

func testConfig(w http.RoundTripper) Config {
	return Config{
		BaseURL: "https://moengage.test", WorkspaceID: "WS", APIKey: "s3cret", Transport: w,
		MinBackoff: time.Second, MaxBackoff: 5 * time.Minute, MaxDelay: time.Second,
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
