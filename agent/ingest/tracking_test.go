package ingest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"personasync/store/domain"
)

const basicKey = "Basic d2tfdGVzdF8xMjM6" // wk_test_123 and a colon

func TestEveryPathImpliesItsCall(t *testing.T) {
	body := []byte(`{"userId":"u","event":"E","writeKey":"` + testWriteKey + `"}`)
	for paths, call := range map[string]domain.Call{
		"identify i": domain.CallIdentify, "track t": domain.CallTrack, "page p": domain.CallPage,
		"screen s": domain.CallScreen, "group g": domain.CallGroup, "alias a": domain.CallAlias,
	} {
		for path := range strings.FieldsSeq(paths) {
			w := newSite(nil)
			if a := w.send(t, post("/v1/"+path, body)); a.Status != 200 {
				t.Fatalf("%s: %+v", path, a)
			}
			if got := w.events[0].Call; got != call {
				t.Errorf("%s is %v, want %v", path, got, call)
			}
		}
	}
}

func TestWriteKeys(t *testing.T) {
	event := func(key string) []byte {
		return fmt.Appendf(nil, `{"userId":"u","event":"E","type":"track","writeKey":%q}`, key)
	}
	set := func(c *Config) {}
	cases := []struct {
		name   string
		config func(*Config)
		body   []byte
		auth   string
		status int
	}{
		{"basic", set, event(""), basicKey, 200},
		{"basic without the colon", set, event(""), "Basic d2tfdGVzdF8xMjM=", 200},
		{"basic without padding, in lower case", set, event(""), "basic d2tfdGVzdF8xMjM", 200},
		{"in the body", set, event(testWriteKey), "", 200},
		{"beside an OAuth token", set, event(testWriteKey), "Bearer token", 200},
		{"an OAuth token alone", set, event(""), "Bearer " + testWriteKey, 401},
		{"as a password", set, event(""), "Basic OndrX3Rlc3RfMTIz", 401},
		{"of another source", set, event("wk_other"), "", 401},
		{"none", set, []byte(`{"userId":"u","event":"E"}`), "", 401},
		{"what is not base64", set, event(""), "Basic ?", 401},
		{"rotated", func(c *Config) { c.WriteKeys = []string{"new", testWriteKey} }, event(testWriteKey), "", 200},
		{"off", func(c *Config) { c.AuthRequired = false }, event("any"), "", 200},
		{"nothing configured", func(c *Config) { c.WriteKeys = nil }, event(""), "", 503},
		{"nothing but an empty key configured", func(c *Config) { c.WriteKeys = []string{""} }, event(""), "Basic Og==", 503},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for path, body := range map[string][]byte{"/v1/track": c.body, "/v1/b": batchOf(c.body)} {
				w := newSite(c.config)
				r := post(path, body)
				if c.auth != "" {
					r.Header.Set("Authorization", c.auth)
				}
				if a := w.send(t, r); a.Status != c.status || (len(w.events) == 1) != (c.status == 200) {
					t.Errorf("%s: %+v, want %d; %d events", path, a, c.status, len(w.events))
				}
			}
		})
	}
}

// batchOf makes a batch of one event, with the write key in its body.
func batchOf(event []byte) []byte {
	return fmt.Appendf(nil, `{"batch":[%s],%s`, event, event[1:])
}

// Envelopes of SDKs, as their sources build them.
func TestEnvelopesOfSDKs(t *testing.T) {
	batch := []byte(`{"batch":[{"type":"track","messageId":"m1","userId":"u","event":"E"},{"type":"identify","messageId":"m2","anonymousId":"a","userId":null,"traits":{}}],"sentAt":"2026-03-14T09:26:53Z","writeKey":"` + testWriteKey + `"}`)
	keyless := bytes.Replace(batch, []byte(testWriteKey), nil, 1)
	cases := []struct {
		name, path string
		body       []byte
		header     []string
	}{
		{"Go", "/v1/batch", keyless, []string{"Authorization", basicKey, "Content-Type", "application/json"}},
		{"Node", "/v1/batch", batch, []string{"Authorization", basicKey, "Content-Type", "application/json", "X-Retry-Count", "1"}},
		{"Python", "/v1/batch", gzipped(t, batch), []string{"Content-Type", "application/json", "Content-Encoding", "gzip"}},
		{"Ruby", "/v1/import", keyless, []string{"Authorization", basicKey, "Content-Type", "application/json"}},
		{"Java", "/v1/import/", batch, []string{"Authorization", basicKey, "Content-Type", "application/json"}},
		{"PHP", "/v1/batch", gzipped(t, keyless), []string{"Authorization", basicKey, "Content-Encoding", "gzip"}},
		{"Kotlin", "/v1/b", gzipped(t, batch), []string{"Content-Type", "text/plain", "Content-Encoding", "gzip"}},
		{"Swift", "/v1/b", batch, []string{"Content-Type", "application/json; charset=utf-8"}},
		{"Analytics.js", "/v1/b", batch, []string{"Authorization", basicKey, "Content-Type", "text/plain", "Origin", "https://shop.example"}},
		{"none in particular", "/v1/batch", batch, []string{"Content-Type", "application/x-www-form-urlencoded"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newSite(nil)
			if a := w.send(t, post(c.path, c.body, c.header...)); a.Status != 200 {
				t.Fatalf("%+v", a)
			}
			if len(w.events) != 2 || w.events[0].MessageID != "m1" || w.events[1].MessageID != "m2" || w.appends != 1 {
				t.Errorf("%d events in %d appends", len(w.events), w.appends)
			}
		})
	}
}

func TestABadItemIsParkedAndTheBatchIsTaken(t *testing.T) {
	big := `{"type":"track","userId":"u","event":"E","x":"` + strings.Repeat("x", 32<<10) + `"}`
	good := `{"type":"track","userId":"u","event":"E"}`
	body := `{"batch":[` + strings.Join([]string{good, `{"userId":"u"}`, `{"type":"track","event":"E"}`, `{"type":"track","userId":"u"}`, `7`, big, `{"type":"delete","userId":"u"}`, good}, ",") + `]}`
	want := []string{"", "unknown_type", "no_user_anon_id", "no_event_name", "not_an_object", "event_too_large", "unverified_delete", ""}
	w := newSite(nil)
	if a := w.send(t, post("/v1/batch", []byte(body), "Authorization", basicKey)); a.Status != 200 {
		t.Fatalf("%+v", a)
	}
	if len(w.events) != len(want) {
		t.Fatalf("%d events", len(w.events))
	}
	for i, e := range w.events {
		if e.Fault != want[i] {
			t.Errorf("item %d: fault %q, want %q", i, e.Fault, want[i])
		}
	}
}

func TestTrackingRefusals(t *testing.T) {
	item := `{"type":"track","userId":"u","event":"E"}`
	large := `{"userId":"u","event":"` + strings.Repeat("x", 600<<10) + `"}`
	cases := []struct {
		name, path, body, encoding string
		code                       string
	}{
		{"no event name", "/v1/track", `{"userId":"u"}`, "", "no_event_name"},
		{"no user", "/v1/identify", `{"traits":{}}`, "", "no_user_anon_id"},
		{"no object", "/v1/t", `[` + item + `]`, "", "not_an_object"},
		{"not JSON", "/v1/t", `userId=u`, "", "invalid_json"},
		{"a batch that is not JSON", "/v1/b", `{"batch":[`, "", "invalid_json"},
		{"a batch without one", "/v1/batch", `{}`, "", "no_batch"},
		{"a batch of 2,501", "/v1/import/", `{"batch":[` + strings.Repeat("1,", 2500) + `1]}`, "", "too_many_events"},
		{"a batch of 600 KB", "/v1/batch", `{"batch":[` + large + `]}`, "", "batch_too_large"},
		{"an event of 600 KB", "/v1/track", large, "", "event_too_large"},
		{"a context that is larger than an event", "/v1/batch", `{"batch":[{}],"context":{"a":"` + strings.Repeat("x", 33<<10) + `"}}`, "", "batch_too_large"},
		{"an encoding we do not know", "/v1/batch", item, "br", "unknown_encoding"},
		{"no gzip", "/v1/batch", item, "gzip", "invalid_gzip"},
		{"gzip cut off", "/v1/batch", string(gzipped(t, []byte(item))[:20]), "gzip", "invalid_gzip"},
		{"a gzip bomb", "/v1/batch", string(gzipped(t, bytes.Repeat([]byte(" "), 20<<20))), "gzip", "batch_too_large"},
		{"a gzip bomb of one event", "/v1/track", string(gzipped(t, bytes.Repeat([]byte(" "), 5<<20))), "gzip", "event_too_large"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newSite(nil)
			r := post(c.path, []byte(c.body), "Authorization", basicKey)
			r.Header.Set("Content-Encoding", c.encoding)
			if a := w.send(t, r); a.Status != 400 || a.Code != c.code {
				t.Errorf("%+v, want %s", a, c.code)
			}
			if w.rejected != 1 || w.appends != 0 {
				t.Errorf("%d rejected, %d appends", w.rejected, w.appends)
			}
		})
	}
}

func TestBrowsersMayPost(t *testing.T) {
	w := newSite(nil)
	r := httptest.NewRequest("OPTIONS", "/v1/t", nil)
	r.Header.Set("Origin", "https://shop.example")
	r.Header.Set("Access-Control-Request-Method", "POST")
	a := w.send(t, r)
	if a.Status != 200 || a.Header.Get("Access-Control-Allow-Origin") != "https://shop.example" {
		t.Errorf("%+v", a)
	}
	for _, name := range []string{"authorization", "content-type", "x-retry-count"} {
		if !strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), name) {
			t.Errorf("%s is not allowed: %v", name, a.Header)
		}
	}
	if methods := a.Header.Get("Access-Control-Allow-Methods"); !strings.Contains(methods, "POST") {
		t.Errorf("a preflight allows %q", methods)
	}
	// A page must be able to read a refusal too.
	a = w.send(t, post("/v1/t", []byte(`{}`), "Origin", "https://shop.example"))
	if a.Status != 401 || a.Header.Get("Access-Control-Allow-Origin") != "https://shop.example" {
		t.Errorf("%+v", a)
	}
	if a = w.send(t, post("/segment/webhook", nil, "Origin", "https://shop.example")); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("pages may use the webhook route: %v", a.Header)
	}
}

// Analytics.js adds the headers of its setting deliveryStrategy.config.headers to each request, and cookies
// with credentials = "include". A browser does not send a header that the preflight does not allow.
func TestBrowsersMaySendHeadersOfTheirOwnAndCredentials(t *testing.T) {
	w := newSite(nil)
	r := httptest.NewRequest("OPTIONS", "/v1/t", nil)
	r.Header.Set("Origin", "https://shop.example")
	r.Header.Set("Access-Control-Request-Method", "POST")
	r.Header.Set("Access-Control-Request-Headers", "authorization,content-type,x-api-key,x-shop-region")
	a := w.send(t, r)
	for _, name := range []string{"authorization", "content-type", "x-api-key", "x-shop-region"} {
		if !slices.Contains(strings.Split(a.Header.Get("Access-Control-Allow-Headers"), ","), name) {
			t.Errorf("a preflight that asks for %s allows %q", name, a.Header.Get("Access-Control-Allow-Headers"))
		}
	}
	if vary := a.Header.Values("Vary"); !slices.Contains(vary, "Origin") || !slices.Contains(vary, "Access-Control-Request-Headers") {
		t.Errorf("a cache may give this answer to another page: Vary %q", vary)
	}
	for _, r := range []*http.Request{r, post("/v1/t", []byte(`{}`), "Origin", "https://shop.example")} {
		a := w.send(t, r)
		if a.Header.Get("Access-Control-Allow-Credentials") != "true" || a.Header.Get("Access-Control-Allow-Origin") != "https://shop.example" {
			t.Errorf("%s: credentials are not allowed with the page's own origin: %v", r.Method, a.Header)
		}
	}
	w = newSite(nil)
	w.SetUnready("starting")
	a = w.send(t, post("/v1/t", []byte(`{}`), "Origin", "https://shop.example"))
	if a.Status != 503 || a.Header.Get("Retry-After") == "" || a.Header.Get("Access-Control-Expose-Headers") != "Retry-After" {
		t.Errorf("a page cannot read Retry-After: %+v", a)
	}
}

func TestMetricsOfAnalyticsJSAreDropped(t *testing.T) {
	w := newSite(nil)
	if a := w.send(t, post("/v1/m", []byte(`{"series":[]}`))); a.Status != 200 || w.appends != 0 {
		t.Errorf("%+v", a)
	}
}

// Kotlin's SDK streams: no length, gzip, text/plain.
func TestAStreamedGzipBatchOverHTTP(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newSite(nil)
	server := httptest.NewServer(w)
	defer server.Close()
	client := server.Client()
	defer client.CloseIdleConnections()

	body := gzipped(t, readPayload(t, "api-batch-engage-events.json"))
	req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/v1/b", io.MultiReader(bytes.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/plain")
	req.Header.Set("Content-Encoding", "gzip")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if a := readAnswer(t, resp); a.Status != 200 {
		t.Fatalf("%+v", a)
	}
	if len(w.events) != 2 || w.events[0].Flag != domain.FlagIn || len(w.events[1].Columns) != 1 {
		t.Errorf("%d events", len(w.events))
	}
}
