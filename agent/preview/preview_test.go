package preview

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/agent/sending"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// payload is one body of the set beside package segment, with what its manifest says of it. The manifest was written from
// Segment's documents and not from our code.
type payload struct {
	File, Method, Path string
	Expect             struct {
		Kind, Key, UserID, Code string
		Membership              *bool
		Final                   *bool `json:"final_membership"`
		Value                   json.RawMessage
		Status, Events, Unique  int
		Rejected                bool
	}
}

func payloads(t *testing.T) (list []payload, dir string) {
	t.Helper()
	dir = filepath.Join("..", "segment", "testdata", "payloads")
	var manifest struct{ Files []payload }
	if err := json.Unmarshal(read1(t, filepath.Join(dir, "MANIFEST.json")), &manifest); err != nil {
		t.Fatal(err)
	}
	return manifest.Files, dir
}

func read1(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestEveryPayloadIsPreviewedAsItsManifestSays previews every body of the set, for users who were never seen and for
// members.
func TestEveryPayloadIsPreviewedAsItsManifestSays(t *testing.T) {
	list, dir := payloads(t)
	if len(list) < 40 {
		t.Fatalf("there are only %d bodies", len(list))
	}
	c := config.Default()
	for _, p := range list {
		q := api.PreviewQuery{Body: read1(t, filepath.Join(dir, p.File)), Path: p.Path}
		var err error
		if q.Received, err = Receipt(c, q); err != nil {
			t.Fatal(err)
		}
		never, err := AsIf(c, q, Never)
		if err != nil {
			t.Errorf("%s: %v", p.File, err)
			continue
		}
		in, err := AsIf(c, q, In)
		if err != nil {
			t.Errorf("%s, as a member: %v", p.File, err)
			continue
		}
		for _, complaint := range p.compare(never, in) {
			t.Errorf("%s: %s", p.File, complaint)
		}
	}
}

// compare lists what differs from the manifest.
func (p *payload) compare(never, in *api.PreviewResult) (list []string) {
	x := &p.Expect
	wrong := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	refused := x.Rejected || x.Code != "" || x.Status >= 400
	if (never.Refused != nil) != refused {
		wrong("refused %+v, want %v", never.Refused, refused)
	}
	if refused && never.Refused != nil && x.Code != "" && never.Refused.Code != x.Code {
		wrong("refused as %s, want %s", never.Refused.Code, x.Code)
	}
	if x.Events > 0 && len(never.Events) != x.Events {
		wrong("%d events, want %d", len(never.Events), x.Events)
	}
	if x.Unique > 0 && strings.Count(outcomes(never), "duplicate") != len(never.Events)-x.Unique {
		wrong("%s, want %d that are no duplicate", outcomes(never), x.Unique)
	}
	if len(never.Events) == 0 {
		return list
	}
	e, member := &never.Events[0], &in.Events[0]
	if x.Key != "" && e.Computation != x.Key || x.UserID != "" && e.User != x.UserID {
		wrong("computation %s of user %s, want %s of %s", e.Computation, e.User, x.Key, x.UserID)
	}
	switch {
	case x.Membership == nil:
	case e.Outcome == "parked":
		if e.UserFrom == "userId" || e.Sentence == "" {
			wrong("parked as %s: %s", e.Reason, e.Sentence)
		}
	case *x.Membership && (e.Says != "in" || e.Outcome != "enter" && !e.PassThrough || len(e.Requests) != 1 || !e.PassThrough && member.Outcome != "unchanged"):
		wrong("an enter comes to %s, and to %s for a member", e.Outcome, member.Outcome)
	case !*x.Membership && (e.Says != "out" || e.Outcome != "unchanged" || member.Outcome != "exit" || len(member.Requests) != 1):
		wrong("an exit comes to %s, and to %s for a member", e.Outcome, member.Outcome)
	}
	if x.Final != nil && strings.Contains(outcomes(in), "exit") == *x.Final {
		wrong("for a member: %s, want the final membership %v", outcomes(in), *x.Final)
	}
	if x.Kind == "trait" && (e.Outcome != "value" || len(e.Values) == 0) {
		wrong("a trait comes to %s with %v", e.Outcome, e.Values)
	}
	if x.Value != nil {
		var want bytes.Buffer
		if err := json.Compact(&want, x.Value); err != nil || !slices.ContainsFunc(values(e), func(v string) bool { return v == want.String() }) {
			wrong("values %q, want %s", values(e), &want)
		}
	}
	if x.Kind == "delete" && e.Outcome != "erased" {
		wrong("a delete comes to %s", e.Outcome)
	}
	return list
}

func outcomes(r *api.PreviewResult) string {
	var list []string
	for i := range r.Events {
		list = append(list, r.Events[i].Outcome)
	}
	return strings.Join(list, " ")
}

func values(e *api.PreviewEvent) (list []string) {
	for _, v := range e.Values {
		var b bytes.Buffer
		_ = json.Compact(&b, v)
		list = append(list, b.String())
	}
	return list
}

// event is an identify that says of a user whether they are in an audience.
func event(user, key string, in bool, minute int) string {
	return fmt.Sprintf(`{"type":"identify","userId":%[1]q,"messageId":"%[1]s-%[2]s-%[3]d","originalTimestamp":"2026-03-14T09:%02[3]d:00Z","traits":{%[2]q:%[4]v},
		"context":{"personas":{"computation_class":"audience","computation_id":"aud_%[2]s","computation_key":%[2]q,"space_id":"spa_1"}}}`, user, key, minute, in)
}

func asIf(t *testing.T, c *config.Config, body string, now Membership) *api.PreviewResult {
	t.Helper()
	r, err := AsIf(c, api.PreviewQuery{Body: []byte(body)}, now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAsIfSaysWhatTheUsersWere(t *testing.T) {
	c := config.Default()
	for _, send := range []domain.SendMethods{domain.SendAsReceived, domain.SendAttribute, domain.SendBoth, domain.SendCohort, domain.SendList} {
		c.Defaults.Send = send
		for _, x := range []struct {
			now  Membership
			in   bool
			want string
		}{{Never, true, "enter"}, {Out, true, "enter"}, {In, true, "unchanged"}, {Never, false, "unchanged"}, {Out, false, "unchanged"}, {In, false, "exit"}} {
			r := asIf(t, c, event("u1", "vip", x.in, 1), x.now)
			if got := outcomes(r); got != x.want {
				t.Errorf("send = %b, %s, says %v: %s, want %s", send, x.now, x.in, got, x.want)
			}
			if sends := len(r.Events[0].Requests) > 0; sends != (x.want == "enter" || x.want == "exit") {
				t.Errorf("send = %b, %s, says %v: %d requests", send, x.now, x.in, len(r.Events[0].Requests))
			}
		}
	}
}

// TestAllOfADeliveryIsCoveredOnlyByAToken: Segment signs the first event of an array.
func TestAllOfADeliveryIsCoveredOnlyByAToken(t *testing.T) {
	c := config.Default()
	body := `[{"type":"delete","userId":"u1"},{"type":"delete","userId":"u2"}]`
	r := asIf(t, c, body, Never)
	if got := outcomes(r); got != "erased parked" || r.Events[1].Reason != "unverified_delete" {
		t.Errorf("with a secret: %s", got)
	}
	c.Ingest.BearerToken = config.Secret{"t"}
	if got := outcomes(asIf(t, c, body, Never)); got != "erased erased" {
		t.Errorf("with a token: %s", got)
	}
}

// TestARunIsOnTopOfWhatTheStoreHas previews in a store that has another change of the user pending.
func TestARunIsOnTopOfWhatTheStoreHas(t *testing.T) {
	c := config.Default()
	s, err := store.Open(t.TempDir(), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetRules(t.Context(), c.Rules()); err != nil {
		t.Fatal(err)
	}
	events, _, err := read(c, delivery{method: "POST", path: "/segment/webhook", body: []byte(event("u1", "gold", true, 1))}, time.Time{})
	if err != nil || len(events) != 1 {
		t.Fatal(err)
	}
	if err := errors.Join(s.Append(t.Context(), events...), s.Applied(t.Context())); err != nil {
		t.Fatal(err)
	}
	settings := Settings{Config: c, Endpoint: func(e domain.Endpoint) syncer.Config { return sending.Config(c, e) }}
	for range 2 {
		r, err := Run(settings, api.PreviewQuery{Body: []byte(event("u1", "vip", true, 2))}, s.Try)
		if err != nil {
			t.Fatal(err)
		}
		e := &r.Events[0]
		if e.Outcome != "enter" || e.Earlier != 1 || len(e.Requests) != 1 || !strings.Contains(string(e.Requests[0].Body), `"gold":true,"vip":true`) {
			t.Errorf("%+v", e)
		}
	}
}

func TestAnHTTPRequestIsReadAsItIs(t *testing.T) {
	body := event("u1", "vip", true, 1)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte(body))
	_ = z.Close()
	for name, text := range map[string]string{
		"line ends of HTTP":     "POST /segment/webhook HTTP/1.1\r\nHost: h\r\nX-Signature: 00\r\n\r\n" + body,
		"line ends of a text":   "POST /segment/webhook HTTP/1.1\nHost: h\nContent-Type: application/json\n\n" + body + "\n",
		"a mixture":             "PUT /segment/webhook HTTP/1.1\nHost: h\n\n" + strings.Replace(body, ",", ",\r\n\r\n", 1),
		"HTTP/2":                "POST /segment/webhook HTTP/2\nhost: h\n\n" + body,
		"a length":              fmt.Sprintf("POST /segment/webhook HTTP/1.1\nHost: h\nContent-Length: %d\n\n%s\n\n", len(body), body),
		"gzip":                  "POST /segment/webhook HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\n\r\n" + zipped.String(),
		"chunks":                fmt.Sprintf("POST /segment/webhook HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body),
		"chunks put together":   "POST /segment/webhook HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + body,
		"a byte order mark":     "\ufeff" + body,
		"a URL with parameters": "POST /segment/webhook?x=1 HTTP/1.1\nHost: h\n\n" + body,
	} {
		r, err := AsIf(config.Default(), api.PreviewQuery{Body: []byte(text)}, Never)
		if err != nil || outcomes(r) != "enter" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	for text, want := range map[string]string{
		"POST /segment/webhook HTTP/1.1\nHost: h\n":                              "has no body",
		"POST /segment/webhook HTTP/1.1\nHost h\n\n{}":                           "cannot be read as one",
		"POST /segment/webhook HTTP/1.1\nHost: h\nContent-Length: 99\n\n{}":      "has only 2 of its 99 bytes",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n": "chunks",
		"Content-Type: application/json\n\n{}":                                   "begins with headers",
		"  \n\ufeff\n":                                                           "empty",
	} {
		if _, err := AsIf(config.Default(), api.PreviewQuery{Body: []byte(text)}, Never); !errors.Is(err, api.ErrUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestWhatIsNoEventIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		"{\"a\":1}\n{\"a\":2}\n":           "on each line",
		"{\n\"a\":1\n}\n{\n\"a\":2\n}\n":   "one event after the other",
		"user_id,email\nu1,a@example.com":  "list of members",
		"u1\nu2\n":                         "list of members",
		"curl -d '{}' http://h":            "behind its -d",
		"<html>":                           "HTML",
		`{"type":"identify","userId":"u1"`: "a JSON object",
		`{'type':'identify'}`:              "a JSON object",
	} {
		r, err := AsIf(config.Default(), api.PreviewQuery{Body: []byte(text)}, Never)
		if err != nil || r.Refused == nil || r.Refused.Code != "invalid_json" || !strings.Contains(r.Refused.Advice, want) {
			t.Errorf("%q: %+v, %v, want %s", text, r, err, want)
		}
	}
}

// TestManyEventsAreCut: each is shown with its requests.
func TestManyEventsAreCut(t *testing.T) {
	body := "[" + strings.TrimSuffix(strings.Repeat(event("u1", "vip", true, 1)+",", api.MaxPreview+5), ",") + "]"
	r := asIf(t, config.Default(), body, Never)
	if len(r.Events) != api.MaxPreview || r.More != 5 {
		t.Errorf("%d events and %d more", len(r.Events), r.More)
	}
}

// TestEveryOutcomeHasASentence reaches each of them.
func TestEveryOutcomeHasASentence(t *testing.T) {
	c := config.Default()
	c.Defaults.Anonymous = "ignore"
	received := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	old := strings.Replace(event("u1", "vip", true, 1), "2026", "2025", 1)
	step := strings.NewReplacer("identify", "track", `"audience"`, `"journey_step"`, "traits", "properties", `"type"`, `"event":"Step","type"`).Replace
	trait := func(value string) string {
		return strings.NewReplacer(`"audience"`, `"trait"`, "true}", value+"}").Replace(event("u1", "spent", true, 1))
	}
	for _, x := range []struct{ body, want, says string }{
		{event("u1", "vip", true, 1), "enter", "enters vip"},
		{"[" + event("u1", "vip", true, 1) + "," + event("u1", "vip", false, 2) + "]", "enter exit", "leaves vip"},
		{"[" + event("u1", "vip", true, 2) + "," + event("u1", "vip", false, 1) + "]", "enter stale", "later time"},
		{"[" + event("u1", "vip", true, 1) + "," + event("u1", "vip", true, 1) + "]", "enter duplicate", "before"},
		{step(old), "stale", "message_ids"},
		{step(event("u1", "vip", true, 1)), "enter", "enters vip"},
		{trait("3"), "value", "spent is new"},
		{trait("null"), "unchanged", "is the one"},
		{`{"type":"identify","userId":"u1"}`, "ignored", "ordinary"},
		{strings.Replace(event("u1", "vip", true, 1), "userId", "anonymousId", 1), "ignored", "no userId"},
		{`{"type":"delete","userId":"u1"}`, "erased", "MoEngage is not told"},
		{strings.Replace(event("u1", "vip", true, 1), `"vip":true`, `"other":1`, 1), "parked", "vip"},
	} {
		r, err := AsIf(c, api.PreviewQuery{Body: []byte(x.body), Received: received}, Never)
		if err != nil {
			t.Fatal(err)
		}
		if last := r.Events[len(r.Events)-1]; outcomes(r) != x.want || !strings.Contains(last.Sentence, x.says) {
			t.Errorf("%s: %q, want %s: %q", outcomes(r), last.Sentence, x.want, x.says)
		}
	}
}

// TestADeleteThatMoEngageIsToldOf said that it is not told, above the request that tells it.
func TestADeleteThatMoEngageIsToldOf(t *testing.T) {
	c := config.Default()
	c.MoEngage.DeleteUsers = true
	r, err := AsIf(c, api.PreviewQuery{Body: []byte(`{"type":"delete","userId":"u1"}`)}, In)
	if err != nil || outcomes(r) != "erased" {
		t.Fatalf("%s, %v", outcomes(r), err)
	}
	e := &r.Events[0]
	if !strings.Contains(e.Sentence, "MoEngage is asked to delete them") || len(e.Requests) != 1 || !strings.Contains(e.Requests[0].URL, "/v1/customer/delete") {
		t.Errorf("%q, %+v", e.Sentence, e.Requests)
	}
}

func FuzzPreview(f *testing.F) {
	f.Add([]byte(event("u1", "vip", true, 1)))
	f.Add([]byte("POST /v1/batch HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"))
	f.Add([]byte("user_id,\"x\ny"))
	c := config.Default()
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, now := range []Membership{In, Out} {
			r, err := AsIf(c, api.PreviewQuery{Body: body}, now)
			if err != nil && !errors.Is(err, api.ErrUsage) {
				t.Fatal(err)
			}
			if err == nil {
				if _, err := json.Marshal(r); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
