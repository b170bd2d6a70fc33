package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"personasync/agent/condition"
	"personasync/store"
)

var lag = condition.Condition{
	Name: "lag", Severity: "critical", Since: "2026-03-01T11:00:00Z", Text: "The oldest of <!channel> & 3 pending changes waits.",
	Commands: []string{"personasync outbox list", "personasync outbox stats"},
}

// received is a request as a stub got it.
type received struct {
	header http.Header
	body   map[string]any
}

// stub answers with a status and a body, and keeps what it got.
func stub(t *testing.T, status int, answer string, headers ...string) (url string, got *[]received) {
	got = &[]received{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		one := received{header: r.Header}
		_ = json.Unmarshal(text, &one.body)
		*got = append(*got, one)
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/services/T0/B0/SECRETPATH", got
}

func message(c *Config, state string) *Message {
	n := &store.Notice{Condition: "lag", Severity: "critical", Began: noon, Differs: noon.Add(time.Hour)}
	if state == ended {
		return newMessage(c, n, nil)
	}
	return newMessage(c, n, &lag)
}

func TestSlackGetsTextAndPlainFields(t *testing.T) {
	url, got := stub(t, 200, "ok")
	c := Config{URL: url, Format: "json", Host: "edge-1", Version: "1.2", Headers: []string{"Authorization: Bearer s3cret", "X-Team: growth"}}
	for _, state := range []string{began, ended} {
		answer, err := (&poster{c}).deliver(t.Context(), message(&c, state))
		if err != nil || answer != "200 ok" {
			t.Fatalf("%q, %v", answer, err)
		}
	}
	first, second := (*got)[0], (*got)[1]
	if h := first.header; h.Get("Authorization") != "Bearer s3cret" || h.Get("X-Team") != "growth" || h.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("headers %v", h)
	}
	want := map[string]string{
		"condition": "lag", "severity": "critical", "state": "began", "host": "edge-1", "version": "1.2",
		"since": "2026-03-01T11:00:00Z", "at": "2026-03-01T13:00:00Z", "runbook": "docs/operating.md#personasynclag",
		"lost": lag.Text,
		"text": "[critical] personasync on edge-1: lag. The oldest of &lt;!channel&gt; &amp; 3 pending changes waits.\n`personasync outbox list`\n`personasync outbox stats`\nRunbook: docs/operating.md#personasynclag",
	}
	for key, value := range want {
		if first.body[key] != value {
			t.Errorf("%s is %q, want %q", key, first.body[key], value)
		}
	}
	if fmt.Sprint(first.body["commands"]) != "[personasync outbox list personasync outbox stats]" {
		t.Errorf("commands %v", first.body["commands"])
	}
	if second.body["state"] != "ended" || second.body["text"] != "[over] personasync on edge-1: lag is over. It began at 2026-03-01T12:00:00Z." || second.body["id"] == first.body["id"] {
		t.Errorf("the end is %v", second.body)
	}
}

// TestPagerDutyGetsAnEvent: the fields that its Events API v2 documents, and no other at the top.
func TestPagerDutyGetsAnEvent(t *testing.T) {
	url, got := stub(t, 202, `{"status":"success","message":"Event processed","dedup_key":"x"}`)
	c := Config{URL: url, Format: "pagerduty", RoutingKey: "R0UT1NG", Host: "edge-1"}
	long := message(&c, began)
	long.Text = strings.Repeat("é", 3000)
	for _, m := range []*Message{message(&c, began), message(&c, ended), long} {
		if _, err := (&poster{c}).deliver(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for i, action := range []string{"trigger", "resolve", "trigger"} {
		b := (*got)[i].body
		payload := b["payload"].(map[string]any)
		if b["routing_key"] != "R0UT1NG" || b["event_action"] != action || b["dedup_key"] != "personasync/edge-1/lag" || len(b) != 5 {
			t.Errorf("the event is %v", b)
		}
		if payload["source"] != "edge-1" || payload["severity"] != "critical" || payload["timestamp"] != "2026-03-01T13:00:00Z" || payload["class"] != "lag" {
			t.Errorf("its payload is %v", payload)
		}
		if n := len([]rune(payload["summary"].(string))); n == 0 || n > 1024 || strings.Contains(payload["summary"].(string), "\n") {
			t.Errorf("the summary has %d characters", n)
		}
		if details := payload["custom_details"].(map[string]any); details["runbook"] != "docs/operating.md#personasynclag" {
			t.Errorf("its details are %v", details)
		}
	}
}

func TestTeamsGetsAnAdaptiveCard(t *testing.T) {
	url, got := stub(t, 202, "")
	c := Config{URL: url, Format: "teams", Host: "edge-1"}
	if answer, err := (&poster{c}).deliver(t.Context(), message(&c, began)); err != nil || answer != "202" {
		t.Fatal(answer, err)
	}
	text, _ := json.Marshal((*got)[0].body)
	for _, want := range []string{`"type":"message"`, `"contentType":"application/vnd.microsoft.card.adaptive"`, `"type":"AdaptiveCard"`, `"fontType":"Monospace","text":"personasync outbox list"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

// TestARefusalSaysWhatToDo: and repeats no secret.
func TestARefusalSaysWhatToDo(t *testing.T) {
	for _, c := range []struct {
		status  int
		answer  string
		headers []string
		want    string
	}{
		{403, "invalid_token", nil, "it answered 403 invalid_token: the token is wrong or was revoked"},
		{404, "no_service", nil, "it answered 404 no_service: the webhook does not exist or was removed: make a new one there, and set notify.url"},
		{200, "invalid_token", nil, "it answered 200 invalid_token: it says 200 and took nothing"},
		{200, `{"ok":false,"error":"invalid_auth"}`, nil, "it says 200 and took nothing"},
		{200, "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429", nil, "it says 200 and took nothing"},
		{302, "", []string{"Location: https://login.example/SECRETPATH?x"}, "a redirect to https://login.example: set notify.url to the address"},
		{400, `{"status":"invalid event","errors":["'routing_key' is missing"]}`, nil, "'routing_key' is missing\"]}: the receiver does not take this body: look at notify.format"},
		{413, "", nil, "smaller bodies"},
		{429, "", []string{"Retry-After: 90"}, "it is retried"},
		{500, "echo /services/T0/B0/SECRETPATH s3cret\x1b[31m", nil, "it answered 500 echo"},
	} {
		url, _ := stub(t, c.status, c.answer, c.headers...)
		config := Config{URL: url, Headers: []string{"Authorization: s3cret"}}
		_, err := (&poster{config}).deliver(t.Context(), message(&config, began))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d %s: %v", c.status, c.answer, err)
		}
		if f := failed(err, ""); (c.status == 429) != (f.after == 90*time.Second) {
			t.Errorf("%d: to be retried after %v", c.status, f.after)
		}
		if s := err.Error(); strings.Contains(s, "s3cret") || strings.ContainsRune(s, '\x1b') || strings.Contains(s, url) {
			t.Errorf("repeats a secret, or a control character: %q", s)
		}
	}
}

// TestAnErrorRepeatedAPartOfAnAddressOrHeader: a page of a proxy shows the path alone, and a debugger the token alone.
func TestAnErrorRepeatedAPartOfAnAddressOrHeader(t *testing.T) {
	const answer = "Cannot POST /services/T0/B0/SECRETPATH?sig=a%2FSIGNATURE: no SECRETPATH, a/SIGNATURE, tok-0123456789, pass-0123456789"
	address, _ := stub(t, 404, answer)
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // it does not speak HTTP
		c, _, _ := w.(http.Hijacker).Hijack()
		fmt.Fprintf(c, "%s\r\n", strings.ReplaceAll(answer, " ", "_"))
		c.Close()
	}))
	defer echo.Close()
	for _, host := range []string{strings.TrimSuffix(address, "/services/T0/B0/SECRETPATH"), echo.URL} {
		config := Config{
			URL:     strings.Replace(host, "http://", "http://user:pass-0123456789@", 1) + "/services/T0/B0/SECRETPATH?sig=a%2FSIGNATURE",
			Headers: []string{"Authorization: Bearer tok-0123456789"},
		}
		_, err := (&poster{config}).deliver(t.Context(), message(&config, began))
		if err == nil || !strings.Contains(err.Error(), "Cannot") {
			t.Fatalf("%s: %v", host, err)
		}
		for _, secret := range []string{"SECRETPATH", "SIGNATURE", "0123456789"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("it repeats %s: %v", secret, err)
			}
		}
	}
}

// TestARequestThatTheAgentGaveUpBlamedTheNetwork of the machine.
func TestARequestThatTheAgentGaveUpBlamedTheNetwork(t *testing.T) {
	stopping, stop := context.WithCancelCause(t.Context())
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		stop(errors.New("the store is closed"))
		<-r.Context().Done()
	}))
	defer hangs.Close()
	config := Config{URL: hangs.URL}
	_, err := (&poster{config}).deliver(stopping, message(&config, began))
	if err == nil || !strings.Contains(err.Error(), "because the agent stops") || strings.Contains(err.Error(), "this machine") {
		t.Error(err)
	}
}

func TestAnAnswerOfAnyLengthIsBounded(t *testing.T) {
	url, _ := stub(t, 500, strings.Repeat("x", 1<<20))
	c := Config{URL: url}
	if _, err := (&poster{c}).deliver(t.Context(), message(&c, began)); err == nil || len(err.Error()) > 500 {
		t.Errorf("%d bytes of %v", len(err.Error()), err)
	}
	m := newMessage(&c, &store.Notice{Condition: "config_refused"}, &condition.Condition{Severity: "warning", Text: strings.Repeat("é\xff", 9000), Commands: make([]string, 40)})
	if text, _ := body("json", "", m); len(text) > 16<<10 {
		t.Errorf("a message of %d bytes", len(text))
	}
}

func TestAReceiverThatIsNotThereIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	l.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-r.Context().Done() }))
	defer hangs.Close()
	for _, c := range []struct{ url, want string }{
		{"http://" + gone + "/SECRETPATH", "connection refused"},
		{secure.URL + "/SECRETPATH", "unknown authority"},
		{strings.Replace(plain.URL, "http:", "https:", 1) + "/SECRETPATH", "does not speak TLS"},
		{hangs.URL + "/SECRETPATH", "no answer within"},
	} {
		ctx := t.Context()
		if c.url == hangs.URL+"/SECRETPATH" {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
		}
		config := Config{URL: c.url}
		_, err := (&poster{config}).deliver(ctx, message(&config, began))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "SECRETPATH") {
			t.Errorf("%s: %v", c.url, err)
		}
	}
}

func TestACommandGetsTheMessage(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("PERSONASYNC_MOENGAGE_API_KEY", "s3cret")
	for _, c := range []struct {
		name, want string
		command    []string
	}{
		{"it works", "", []string{"/bin/sh", "-c", "cat > " + dir + "/got; env > " + dir + "/env"}},
		{"it does not read", "", []string{"/bin/true"}},
		{"it fails", "ended with exit status 3, and said: no such channel: run it by hand", []string{"/bin/sh", "-c", "echo no such channel >&2; exit 3"}},
		{"it is missing", "was not found", []string{dir + "/missing"}},
		{"it may not be run", "may not be run", []string{script("plain", "#!/bin/sh\n", 0o600)}},
		{"it is no program", "is not a program", []string{script("text", "hello\n", 0o700)}},
		{"it floods", "exit status 1", []string{"/bin/sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; exit 1"}},
	} {
		config := Config{Command: c.command}
		_, err := (&runner{config}).deliver(t.Context(), message(&config, began))
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || len(err.Error()) > 800) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	text, _ := os.ReadFile(filepath.Join(dir, "got"))
	var m Message
	if err := json.Unmarshal(text, &m); err != nil || m.Condition != "lag" || m.Lost != lag.Text || !strings.HasSuffix(string(text), "\n") {
		t.Errorf("it got %s", text)
	}
	if env, _ := os.ReadFile(filepath.Join(dir, "env")); strings.Contains(string(env), "s3cret") || !strings.Contains(string(env), "PATH=") {
		t.Errorf("its environment is %s", env)
	}
}

// TestACommandThatHangsIsKilled: with all that it started.
func TestACommandThatHangsIsKilled(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	config := Config{Command: []string{"/bin/sh", "-c", "sleep 600 & echo $! > " + dir + "/pid; mv " + dir + "/pid " + dir + "/child; wait"}}
	done := make(chan error)
	go func() {
		_, err := (&runner{config}).deliver(ctx, message(&config, began))
		done <- err
	}()
	for {
		if _, err := os.Stat(filepath.Join(dir, "child")); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel(errHangs)
	if err := <-done; err == nil || !strings.Contains(err.Error(), "did not end within 30s and was killed") {
		t.Error(err)
	}
	pid, _ := os.ReadFile(filepath.Join(dir, "child"))
	for range 1000 {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z") {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("process %s lives on", pid)
}
