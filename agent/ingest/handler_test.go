package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"personasync/agent/segment"
	"personasync/store"
	"personasync/store/domain"
)

const (
	testSecret   = "test-shared-secret"
	testWriteKey = "wk_test_123"
)

// fakeInbox is an Inbox made of functions.
type fakeInbox struct {
	append  func(ctx context.Context, events ...*domain.Event) error
	refused func(domain.Refusal)
}

func (f fakeInbox) Append(ctx context.Context, events ...*domain.Event) error {
	return f.append(ctx, events...)
}
func (f fakeInbox) CountRefusal(one domain.Refusal) { f.refused(one) }

// site is a handler and the events that it accepted.
type site struct {
	*Handler
	log bytes.Buffer

	mu       sync.Mutex
	events   []*domain.Event
	appends  int
	rejected int
	refused  []domain.Refusal
	fail     error // what Append answers
}

func newSite(change func(*Config)) *site {
	w := &site{}
	c := Config{SharedSecrets: []string{testSecret}, WriteKeys: []string{testWriteKey}, AuthRequired: true}
	if change != nil {
		change(&c)
	}
	in := fakeInbox{
		append: func(_ context.Context, events ...*domain.Event) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.appends++
			if w.fail == nil {
				w.events = append(w.events, events...)
			}
			return w.fail
		},
		refused: func(one domain.Refusal) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.rejected++
			w.refused = append(w.refused, one)
		},
	}
	w.Handler = New(c, in, slog.New(slog.NewTextHandler(&w.log, nil)))
	return w
}

// told is an answer as a client reads it.
type told struct {
	Status  int
	Header  http.Header
	Success bool
	Code    string
	Message string
	Error   string
}

// send sends a request and checks the promises of every answer.
func (w *site) send(t *testing.T, r *http.Request) told {
	t.Helper()
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return readAnswer(t, rec.Result())
}

func readAnswer(t *testing.T, resp *http.Response) told {
	t.Helper()
	defer resp.Body.Close()
	a := told{Status: resp.StatusCode, Header: resp.Header}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		t.Errorf("the answer is not JSON: %v", err)
	}
	if a.Success != (a.Status == 200) {
		t.Errorf("status %d with success %t", a.Status, a.Success)
	}
	if !a.Success && (a.Code == "" || a.Message == "" || a.Error == "") {
		t.Errorf("an SDK cannot read this error: %+v", a)
	}
	again, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if a.Status == 503 && (err != nil || again < 1 || again > 60) || a.Status != 503 && resp.Header.Get("Retry-After") != "" {
		t.Errorf("status %d with Retry-After %q", a.Status, resp.Header.Get("Retry-After"))
	}
	return a
}

func post(path string, body []byte, header ...string) *http.Request {
	r := httptest.NewRequest("POST", path, bytes.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func sign(secret string, text []byte) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write(text)
	return hex.EncodeToString(mac.Sum(nil))
}

func signedPost(body []byte) *http.Request {
	return post("/segment/webhook", body, "X-Signature", sign(testSecret, body))
}

func readPayload(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("..", "segment", "testdata", "payloads", name))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

type fixture struct {
	File, Transport, Path string
	Headers               map[string]string
	Signature             string `json:"x_signature"`
	SignatureFirst        string `json:"x_signature_first_event"`
	SignatureWhole        string `json:"x_signature_whole_body"`
	Expect                struct {
		Status, Events *int
		Code           string
		Rejected       bool
	}
}

func fixtures(t *testing.T) []fixture {
	t.Helper()
	var m struct{ Files []fixture }
	if err := json.Unmarshal(readPayload(t, "MANIFEST.json"), &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Files) == 0 {
		t.Fatal("the manifest names no file")
	}
	return m.Files
}

func TestEveryPayloadIsAccepted(t *testing.T) {
	for _, f := range fixtures(t) {
		body := readPayload(t, f.File)
		if f.Transport == "tracking-api" {
			t.Run(f.File, func(t *testing.T) { sendTracking(t, f, body) })
			continue
		}
		for form, signature := range map[string]string{"": f.Signature, " first event": f.SignatureFirst, " whole body": f.SignatureWhole} {
			if signature == "" {
				continue
			}
			t.Run(f.File+form, func(t *testing.T) {
				w := newSite(nil)
				r := post("/segment/webhook", body, "X-Signature", signature)
				for name, value := range f.Headers {
					r.Header.Set(name, value)
				}
				if a := w.send(t, r); a.Status != 200 {
					t.Fatalf("%+v", a)
				}
				if n := f.Expect.Events; n != nil && len(w.events) != *n || len(w.events) == 0 {
					t.Errorf("%d events", len(w.events))
				}
			})
		}
	}
}

// sendTracking posts a body as its manifest entry says. An entry without credentials gets a write key.
func sendTracking(t *testing.T, f fixture, body []byte) {
	w := newSite(nil)
	r := post(f.Path, body)
	for name, value := range f.Headers {
		r.Header.Set(name, value)
	}
	if r.Header.Get("Authorization") == "" && !bytes.Contains(body, []byte(testWriteKey)) {
		r.SetBasicAuth(testWriteKey, "")
	}
	a := w.send(t, r)
	want := 200
	if f.Expect.Status != nil {
		want = *f.Expect.Status
	} else if f.Expect.Code != "" || f.Expect.Rejected {
		want = 400
	}
	if a.Status != want || f.Expect.Code != "" && a.Code != f.Expect.Code {
		t.Errorf("%+v, want status %d and code %q", a, want, f.Expect.Code)
	}
	if n := f.Expect.Events; n != nil && len(w.events) != *n {
		t.Errorf("%d events, want %d", len(w.events), *n)
	}
	if rejected := want != 200; rejected != (w.rejected == 1) || rejected != (len(w.events) == 0 && w.appends == 0) && f.File != "api-batch-empty.json" {
		t.Errorf("%d rejected, %d events", w.rejected, len(w.events))
	}
}

func TestWebhookCredentials(t *testing.T) {
	one := []byte(`{"type":"delete","userId":"u"}`)
	two := []byte(`[ {"type":"delete","userId":"u"} ,{"type":"delete","userId":"v"}]`)
	wrapped := []byte(`[{"json":{"type":"delete","userId":"u"}},{"json":{"type":"delete","userId":"v"}}]`)
	const all, first = "verified", "first only"
	secret := func(c *Config) {}
	rotated := func(c *Config) { c.SharedSecrets = []string{"new", "", testSecret} }
	token := func(c *Config) { c.SharedSecrets, c.BearerTokens = nil, []string{"old-token", "tok"} }
	both := func(c *Config) { c.BearerTokens = []string{"tok"} }
	off := func(c *Config) { c.AuthRequired = false }
	none := func(c *Config) { c.SharedSecrets = []string{""} }
	cases := []struct {
		name   string
		config func(*Config)
		body   []byte
		header []string
		status int
		want   string // for 200: which deletes are verified; else the code
	}{
		{"whole body", secret, one, []string{"X-Signature", sign(testSecret, one)}, 200, all},
		{"upper case", secret, one, []string{"X-Signature", strings.ToUpper(sign(testSecret, one))}, 200, all},
		{"whole array", secret, two, []string{"X-Signature", sign(testSecret, two)}, 200, all},
		{"first event", secret, two, []string{"X-Signature", sign(testSecret, one)}, 200, first},
		{"first event of a wrapped array", secret, wrapped, []string{"X-Signature", sign(testSecret, one)}, 200, first},
		{"first element of a wrapped array", secret, wrapped, []string{"X-Signature", sign(testSecret, []byte(`{"json":`+string(one)+`}`))}, 200, first},
		{"second event", secret, two, []string{"X-Signature", sign(testSecret, []byte(`{"type":"delete","userId":"v"}`))}, 401, "invalid_signature"},
		{"an older secret", rotated, one, []string{"X-Signature", sign(testSecret, one)}, 200, all},
		{"another secret", secret, one, []string{"X-Signature", sign("guess", one)}, 401, "invalid_signature"},
		{"the empty secret", rotated, one, []string{"X-Signature", sign("", one)}, 401, "invalid_signature"},
		{"no hexadecimal", secret, one, []string{"X-Signature", "sha1=zz"}, 401, "invalid_signature"},
		{"no signature", secret, one, nil, 401, "missing_signature"},
		{"not JSON and signed", secret, []byte(`{`), []string{"X-Signature", sign(testSecret, []byte(`{`))}, 400, "invalid_json"},
		{"not JSON and not signed", secret, []byte(`{`), []string{"X-Signature", "00"}, 401, "invalid_signature"},
		{"an array without events, signed as nothing", secret, []byte(`[]`), []string{"X-Signature", sign(testSecret, nil)}, 401, "invalid_signature"},

		{"token", token, two, []string{"Authorization", "tok"}, 200, all},
		{"token as bearer", token, two, []string{"Authorization", "bearer tok"}, 200, all},
		{"older token", token, two, []string{"Authorization", "Bearer old-token"}, 200, all},
		{"part of a token", token, two, []string{"Authorization", "Bearer to"}, 401, "invalid_token"},
		{"no token", token, two, []string{"X-Signature", sign(testSecret, two)}, 401, "invalid_token"},

		{"both", both, two, []string{"Authorization", "tok", "X-Signature", sign(testSecret, one)}, 200, all},
		{"both are needed: no token", both, two, []string{"X-Signature", sign(testSecret, two)}, 401, "invalid_token"},
		{"both are needed: no signature", both, two, []string{"Authorization", "tok"}, 401, "missing_signature"},
		{"both are needed: wrong signature", both, two, []string{"Authorization", "tok", "X-Signature", sign("x", two)}, 401, "invalid_signature"},

		{"off", off, two, nil, 200, all},
		{"off, for a web page", off, two, []string{"Origin", "https://evil.example"}, 403, "web_page"},
		{"nothing configured", none, two, []string{"X-Signature", sign("", two)}, 503, "no_credentials"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newSite(c.config)
			a := w.send(t, post("/segment/webhook", c.body, c.header...))
			if a.Status != c.status {
				t.Fatalf("%+v, want %d %s", a, c.status, c.want)
			}
			if c.status != 200 {
				if a.Code != c.want || len(w.events) != 0 || (w.rejected == 1) != (c.status < 500) {
					t.Errorf("%+v; %d events, %d rejected", a, len(w.events), w.rejected)
				}
				return
			}
			for i, e := range w.events {
				if verified := e.Fault == ""; verified != (i == 0 || c.want == all) {
					t.Errorf("event %d: fault %q", i, e.Fault)
				}
			}
		})
	}
}

func TestBadInputIsRefusedOrParkedAndNothingElseIsLost(t *testing.T) {
	good := string(readPayload(t, "audience-identify-enter.json"))
	nested := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	cases := []struct {
		name, body string
		status     int
		faults     []string // of the events, in order
	}{
		{"not JSON", good[:100], 400, nil},
		{"nothing", "", 400, nil},
		{"9 MB", `{"x":"` + strings.Repeat("x", 9<<20) + `"}`, 413, nil},
		{"too many elements", "[1" + strings.Repeat(",1", segment.MaxArray) + "]", 413, nil},
		{"no events", "[]", 200, nil},
		{"missing flag", strings.Replace(good, `"high_value_shoppers":true`, `"x":1`, 1), 200, []string{"undetermined"}},
		{"unknown class", strings.Replace(good, `"computation_class":"audience"`, `"computation_class":"cohort"`, 1), 200, []string{"unknown_class"}},
		{"numeric userId", strings.Replace(good, `"usr_48213"`, `48213`, 1), 200, []string{""}},
		{"null everywhere", `{"type":null,"userId":null,"context":null,"traits":null}`, 200, []string{""}},
		{"10,000 nested arrays among events", "[" + good + "," + nested + "," + good + "]", 200, []string{"", "not_an_object", ""}},
		{"invalid UTF-8 among events", "[" + good + ",{\"a\":\"\xff\"}," + good + "]", 200, []string{"", "invalid_utf8", ""}},
		{"numbers and nulls among events", "[1," + good + ",null]", 200, []string{"not_an_object", "", "not_an_object"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newSite(nil)
			if a := w.send(t, signedPost([]byte(c.body))); a.Status != c.status {
				t.Fatalf("%+v, want %d", a, c.status)
			}
			if len(w.events) != len(c.faults) {
				t.Fatalf("%d events, want %d", len(w.events), len(c.faults))
			}
			for i, e := range w.events {
				if e.Fault != c.faults[i] || e.Received.IsZero() {
					t.Errorf("event %d: fault %q, received %v", i, e.Fault, e.Received)
				}
			}
			if w.rejected == 1 != (c.status != 200) {
				t.Errorf("%d rejected", w.rejected)
			}
		})
	}
}

func TestUnlessEventsAreOnDiskTheAnswerIs503(t *testing.T) {
	body := readPayload(t, "audience-identify-enter.json")
	for code, err := range map[string]error{
		"busy": store.ErrBusy, "full": fmt.Errorf("append: %w", store.ErrFull), "stopping": store.ErrClosed, "unready": domain.ErrMoved, "not_written": errors.New("input/output error"),
	} {
		w := newSite(nil)
		w.fail = err
		if a := w.send(t, signedPost(body)); a.Status != 503 || a.Code != code || w.rejected != 0 {
			t.Errorf("%v: %+v", err, a)
		}
		if a := w.send(t, post("/v1/batch", readPayload(t, "api-batch-go.json"), "Authorization", "Basic d2tfdGVzdF8xMjM6")); a.Status != 503 {
			t.Errorf("%v: %+v", err, a)
		}
		if code == "not_written" && !strings.Contains(w.log.String(), "input/output error") {
			t.Errorf("the log does not have it: %s", &w.log)
		}
	}
	w := newSite(nil)
	w.fail = context.Canceled
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a := w.send(t, signedPost(body).WithContext(ctx)); a.Status != 503 || a.Code != "interrupted" {
		t.Errorf("%+v", a)
	}
}

func TestAnUnreadyHandlerLeavesEventsToTheirSender(t *testing.T) {
	w := newSite(nil)
	body := readPayload(t, "audience-identify-enter.json")
	w.SetUnready("the store is being checked")
	if a := w.send(t, signedPost(body)); a.Status != 503 || !strings.Contains(a.Message, "the store is being checked") {
		t.Errorf("%+v", a)
	}
	if a := w.send(t, post("/v1/t", []byte(`{`))); a.Status != 503 {
		t.Errorf("%+v", a)
	}
	w.SetUnready("")
	if a := w.send(t, signedPost(body)); a.Status != 200 {
		t.Errorf("%+v", a)
	}
}

func TestReconfigureRotatesSecrets(t *testing.T) {
	w := newSite(nil)
	body := readPayload(t, "audience-identify-enter.json")
	w.Reconfigure(Config{SharedSecrets: []string{"new"}, AuthRequired: true})
	if a := w.send(t, signedPost(body)); a.Status != 401 {
		t.Errorf("%+v", a)
	}
	if a := w.send(t, post("/segment/webhook", body, "X-Signature", sign("new", body))); a.Status != 200 {
		t.Errorf("%+v", a)
	}
}

func TestIDsAreCheckedOnReceipt(t *testing.T) {
	w := newSite(func(c *Config) { c.CheckID = func(string) string { return "id_blocked" } })
	w.send(t, signedPost(readPayload(t, "audience-identify-enter.json")))
	w.send(t, post("/v1/batch", readPayload(t, "api-batch-engage-events.json")))
	w.send(t, post("/v1/identify", readPayload(t, "api-identify-writekey-in-body.json")))
	if len(w.events) != 4 {
		t.Fatalf("%d events", len(w.events))
	}
	for _, e := range w.events {
		if e.User.Fault != "id_blocked" || e.Fault != "" {
			t.Errorf("user %+v, fault %q", e.User, e.Fault)
		}
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	cases := []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/", 404, ""},
		{"POST", "/segment", 404, ""},
		{"POST", "/v1/batch/more", 404, ""},
		{"POST", "//v1/batch", 404, ""},
		{"GET", "/segment/webhook", 405, "PATCH, POST, PUT"},
		{"OPTIONS", "/segment/webhook", 405, "PATCH, POST, PUT"},
		{"PUT", "/v1/track", 405, "OPTIONS, POST"},
		{"DELETE", "/v1/import/", 405, "OPTIONS, POST"},
	}
	for _, c := range cases {
		w := newSite(nil)
		a := w.send(t, httptest.NewRequest(c.method, "http://agent"+c.path, nil))
		if a.Status != c.status || a.Header.Get("Allow") != c.allow || w.rejected != 1 {
			t.Errorf("%s %s: %+v", c.method, c.path, a)
		}
	}
}

// TestARefusedRequestOfSegmentIsALostDelivery: Segment discards what is answered 4xx. Whether a request on another path is
// one of Segment shows in either of its marks.
func TestARefusedRequestOfSegmentIsALostDelivery(t *testing.T) {
	for name, tt := range map[string]struct {
		method, path string
		header       []string
		lost         bool
	}{
		"somebody opens the URL":           {"GET", "/segment/webhook", nil, false},
		"a scanner":                        {"POST", "/login", nil, false},
		"Segment, by its name":             {"GET", "/segment/webhook", []string{"User-Agent", "Segment.io/1.0"}, true},
		"Segment, by its signature":        {"GET", "/segment/webhook", []string{"X-Signature", "00"}, true},
		"Segment, on another path":         {"POST", "/segment", []string{"User-Agent", "Segment.io/1.0"}, true},
		"a signature, on another path":     {"POST", "/segment", []string{"X-Signature", "00"}, true},
		"an SDK, on another path":          {"POST", "/v2/track", []string{"User-Agent", "analytics-python/2.0"}, true},
		"a preflight":                      {"OPTIONS", "/segment/webhook", []string{"X-Signature", "00"}, false},
		"a look whether something answers": {"HEAD", "/segment/webhook", []string{"User-Agent", "Segment.io/1.0"}, false},
	} {
		r := httptest.NewRequest(tt.method, "http://agent"+tt.path, nil)
		for i := 0; i < len(tt.header); i += 2 {
			r.Header.Set(tt.header[i], tt.header[i+1])
		}
		a := answer{status: 404, code: "not_found"}
		if got := a.lostDelivery(r, tt.path == "/segment/webhook"); got != tt.lost {
			t.Errorf("%s: lost %v", name, got)
		}
	}
}

// TestNoCredentialIsTheEmptyOne: a secret that is configured as "" would let everybody in.
func TestNoCredentialIsTheEmptyOne(t *testing.T) {
	for _, given := range []string{"", "guess"} {
		if oneOfSecrets([]string{""}, given) || oneOfSecrets(nil, given) {
			t.Errorf("%q is let in", given)
		}
	}
	if !oneOfSecrets([]string{"new", "old"}, "old") || !oneOfSecrets([]string{"new", "old"}, "new") || oneOfSecrets([]string{"new", "old"}, "newold") {
		t.Error("secrets that are being rotated")
	}
}

// Webhooks (Actions) lets the user of a mapping choose among three methods. An answer of 405 loses the event.
func TestEveryMethodOfWebhooksActionsIsTaken(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "PATCH"} {
		w := newSite(nil)
		body := []byte(`{"type":"identify","userId":"u1","traits":{"vip":true}}`)
		r := signedPost(body)
		r.Method = method
		if a := w.send(t, r); a.Status != 200 || w.appends != 1 {
			t.Errorf("%s: %+v, %d appends", method, a, w.appends)
		}
	}
}

// TestTheLogNamesTheFaultAndNoUser: folding repeated lines is up to the log of the process.
func TestTheLogNamesTheFaultAndNoUser(t *testing.T) {
	w := newSite(nil)
	body := []byte(`{"userId":"usr_private","traits":{"email":"ann@example.com"}}`)
	wrong := sign("guess", body)
	w.send(t, post("/segment/webhook", body, "X-Signature", wrong))
	w.send(t, post("/v1/identify", body, "Authorization", "Basic c2VjcmV0LWtleTo="))

	log := w.log.String()
	if !strings.Contains(log, "invalid_signature") || !strings.Contains(log, "invalid_write_key") {
		t.Errorf("the log does not name it:\n%s", log)
	}
	for _, private := range []string{"usr_private", "ann@", wrong, "secret-key", testSecret, testWriteKey} {
		if strings.Contains(log, private) {
			t.Errorf("%q is in the log:\n%s", private, log)
		}
	}
}

// A sender that is still writing must be able to read the refusal, over a real connection.
func TestALargeBodyGetsItsAnswerOverHTTP(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newSite(nil)
	server := httptest.NewServer(w)
	defer server.Close()
	client := server.Client()
	defer client.CloseIdleConnections()

	body := bytes.Repeat([]byte("x"), 9<<20)
	for _, r := range []io.Reader{bytes.NewReader(body), struct{ io.Reader }{bytes.NewReader(body)}} { // with a length, and in chunks
		req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/segment/webhook", r)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Signature", sign(testSecret, body))
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if a := readAnswer(t, resp); a.Status != 413 || a.Code != "body_too_large" {
			t.Errorf("%+v", a)
		}
	}
}

func TestABodyThatEndsEarlyMayBeSentAgain(t *testing.T) {
	w := newSite(nil)
	r := signedPost(readPayload(t, "audience-identify-enter.json"))
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), brokenReader{}))
	if a := w.send(t, r); a.Status != 408 || w.rejected != 0 {
		t.Errorf("%+v, %d rejected", a, w.rejected)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func gzipped(t *testing.T, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestTheOwnerGetsTheResultOfEveryAppend: the agent derives its readiness from it.
func TestTheOwnerGetsTheResultOfEveryAppend(t *testing.T) {
	w := newSite(nil)
	var told []error
	w.Appended = func(_ context.Context, err error) { told = append(told, err) }
	body := readPayload(t, "audience-identify-enter.json")
	w.send(t, signedPost(body))
	w.fail = store.ErrFull
	w.send(t, signedPost(body))
	w.send(t, post("/segment/webhook", body, "X-Signature", "00"))
	if len(told) != 2 || told[0] != nil || !errors.Is(told[1], store.ErrFull) {
		t.Errorf("told %v", told)
	}
}

// TestTheOwnerObservesEveryRequest: metrics and conditions are made from it.
func TestTheOwnerObservesEveryRequest(t *testing.T) {
	w := newSite(nil)
	var seen []string
	w.Observe = func(route string, status int, took time.Duration) {
		seen = append(seen, fmt.Sprint(route, " ", status))
		if took < 0 || took > time.Minute {
			t.Errorf("it took %v", took)
		}
	}
	w.send(t, signedPost(readPayload(t, "audience-identify-enter.json")))
	w.send(t, post(PathWebhook, []byte("{}"), "X-Signature", "00"))
	w.send(t, post("/v1/track", []byte(`{}`)))
	w.send(t, post("/elsewhere", []byte(`{}`)))
	if want := "webhook 200, webhook 401, tracking 401, other 404"; strings.Join(seen, ", ") != want {
		t.Errorf("observed %s, want %s", strings.Join(seen, ", "), want)
	}
	w.Know([]domain.ComputationInfo{{Key: "vip", Class: "audience"}})
	w.send(t, signedPost([]byte(`{"type":"identify","userId":"u","traits":{"vip":true}}`)))
	w.Applied(domain.EventLedger{Accepted: 1}, time.Now())
	w.Applied(domain.EventLedger{Accepted: 4, Ignored: 2}, time.Now())
	lately := w.Lately(time.Now())
	if lately.Alike != 1 || lately.AlikeKey != "vip" || lately.Settled != 3 || lately.Ignored != 2 || lately.WebhookEvents != 2 || lately.WebhookOrdinary != 1 {
		t.Errorf("lately %+v", lately)
	}
}

// TestABodyThatAProxySpoiltIsNamed: of an empty body it was said that byte 0 should be a value, or that the secrets differ.
func TestABodyThatAProxySpoiltIsNamed(t *testing.T) {
	zipped := []byte("\x1f\x8b\x08\x00rest")
	for _, c := range []struct {
		name, key  string
		body       []byte
		code, want string
	}{
		{"empty, signed as sent", testSecret, nil, "invalid_json", "The body is empty."},
		{"empty, signed as it was", "of another body", nil, "invalid_signature", "The body is empty."},
		{"gzip without its header", "of another body", zipped, "invalid_signature", "no Content-Encoding"},
		{"gzip without its header, signed as sent", testSecret, zipped, "invalid_json", "no Content-Encoding"},
		{"another", "of another body", []byte(`{}`), "invalid_signature", "Compare the shared secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newSite(func(c *Config) { c.SharedSecrets, c.AuthRequired = []string{testSecret}, true }).send(t, post("/segment/webhook", c.body, "X-Signature", sign(c.key, c.body)))
			if a.Code != c.code || !strings.Contains(a.Message, c.want) {
				t.Errorf("%+v, want %s: %s", a, c.code, c.want)
			}
		})
	}
}

// TestEmptySecretsAreNone: a route whose only secret is "" asks its operator for one, and its callers for patience.
func TestEmptySecretsAreNone(t *testing.T) {
	body := []byte(`{"type":"identify","userId":"ann","traits":{"vip":true}}`)
	for path, empty := range map[string]func(*Config){
		"/segment/webhook": func(c *Config) { c.SharedSecrets, c.BearerTokens = []string{""}, []string{"", ""} },
		"/v1/identify":     func(c *Config) { c.WriteKeys = []string{""} },
	} {
		none := newSite(func(c *Config) { c.SharedSecrets, c.WriteKeys = nil, nil }).send(t, post(path, body))
		if a := newSite(empty).send(t, post(path, body)); a.Status != 503 || a.Code != none.Code {
			t.Errorf("%s: %+v, want %+v", path, a, none)
		}
	}
}

// TestOrdinaryEventsOfTheWebhookAreCounted: those without context.personas say that the mapping leaves it out. A statement of
// consent is none of them where a computation asks for it, and a question of a browser is no delivery.
func TestOrdinaryEventsOfTheWebhookAreCounted(t *testing.T) {
	body := []byte(`[{"type":"track","userId":"ann","event":"Order Completed"},
		{"type":"track","userId":"ann","event":"Order Completed","context":{"personas":{}}},
		{"type":"track","userId":"ann","event":"Segment Consent Preference Updated","context":{"consent":{"categoryPreferences":{"Marketing":true}}}}]`)
	for asks, want := range map[bool][3]uint64{false: {3, 3, 2}, true: {2, 2, 1}} {
		w := newSite(func(c *Config) { c.AsksConsent = asks })
		w.send(t, signedPost(body))
		w.Handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodOptions, "/segment/webhook", nil))
		sum := w.Lately(time.Now())
		if got := [3]uint64{sum.WebhookEvents, sum.WebhookOrdinary, sum.NoPersonas}; got != want {
			t.Errorf("consent asked for %v: events, ordinary ones and those without personas are %v, want %v", asks, got, want)
		}
		if r := sum.Routes[0]; r.Accepted != 1 || r.Lost+r.Strangers+r.Deferred != 0 {
			t.Errorf("of one delivery: %+v", r)
		}
	}
}
