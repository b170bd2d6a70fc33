package demo

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"personasync/store/domain"
)

const (
	identify = "identify"
	track    = "track"
)

// delivery is one event of Segment, with what the story needs to know about it.
type delivery struct {
	call, user, key string
	value           any
	at              time.Time
	fields          map[string]any
}

// body is the event's JSON, the same bytes each time.
func (d *delivery) body() []byte {
	raw, err := json.Marshal(d.fields)
	if err != nil {
		panic(err) // it holds strings, numbers and booleans
	}
	return raw
}

// computed makes an event of the shape that Engage sends: research shows sentAt null, nanoseconds in
// originalTimestamp, and integrations that are not all booleans.
func (s *story) computed(call, user, class, key string, value any) *delivery {
	d := &delivery{call: call, user: user, key: key, value: value, at: time.Now()}
	object := map[string]any{key: value}
	d.fields = map[string]any{
		"type": call, "userId": user, "sentAt": nil, "writeKey": "REDACTED",
		"messageId":    "personas_" + rand.Text(),
		"integrations": map[string]any{"All": false, "Webhooks (Actions)": true, "Warehouses": map[string]any{"all": false}},
		"context": map[string]any{
			"integrations": map[string]any{"personas": false},
			"library":      map[string]any{"name": "unknown", "version": "unknown"},
			"personas": map[string]any{
				"computation_class": class, "computation_id": computationIDs[key], "computation_key": key,
				"namespace": "spa_demo", "space_id": "spa_demo",
			},
		},
	}
	switch call {
	case identify:
		d.fields["traits"] = object
	case track:
		object["audience_key"] = key
		d.fields["properties"] = object
		d.fields["event"] = "Audience Entered"
		if value == false {
			d.fields["event"] = "Audience Exited"
		}
	}
	d.happenedAt(d.at)
	return d
}

var computationIDs = map[string]string{
	shoppers: "aud_2bIXzfWru4zCBz3N14fvoj3cUCt",
	carts:    "aud_24n91ijropk2L9eNImJsYCSZPIq",
	value:    "tra_2c0Vd9QmPmH7yRzq1WbD4nJtXsE",
}

func (d *delivery) happenedAt(at time.Time) {
	d.at = at.UTC()
	d.fields["originalTimestamp"] = d.at.Format(time.RFC3339Nano)
	d.fields["timestamp"] = d.at.Format("2006-01-02T15:04:05.000Z")
	d.fields["receivedAt"] = d.at.Add(time.Second).Format("2006-01-02T15:04:05.000Z")
}

func (s *story) membership(call, user, key string, in bool) *delivery {
	return s.computed(call, user, "audience", key, in)
}

func (s *story) trait(user, key string, v float64) *delivery {
	return s.computed(identify, user, "trait", key, v)
}

// anHourEarlier makes a late delivery: Segment retries for hours and promises no order.
func (s *story) anHourEarlier(d *delivery) *delivery {
	d.happenedAt(d.at.Add(-time.Hour))
	return d
}

// undetermined makes a track of an audience that does not say whether the user is in.
func (s *story) undetermined(user, key string) *delivery {
	d := s.computed(track, user, "audience", key, nil)
	d.fields["properties"] = map[string]any{"audience_key": key}
	return d
}

// verdict is what must become of a delivery: its word, and the ledger's count that shows it.
type verdict struct {
	word  string
	count func(domain.EventLedger) uint64
}

var (
	enters   = verdict{"enter", func(l domain.EventLedger) uint64 { return l.Transitions }}
	exits    = verdict{"exit", func(l domain.EventLedger) uint64 { return l.Transitions }}
	changes  = verdict{"value", func(l domain.EventLedger) uint64 { return l.Transitions }}
	repeats  = verdict{"duplicate", func(l domain.EventLedger) uint64 { return l.Duplicate }}
	isStale  = verdict{"stale", func(l domain.EventLedger) uint64 { return l.Stale }}
	isParked = verdict{"parked", func(l domain.EventLedger) uint64 { return l.Parked }}
)

// post delivers one event in a request of its own.
func (s *story) post(ctx context.Context, want verdict, d *delivery) error {
	body := d.body()
	return s.deliver(ctx, want, body, body, []*delivery{d})
}

// postArray delivers several events in one request. Segment signs the first one's bytes.
func (s *story) postArray(ctx context.Context, want verdict, list ...*delivery) error {
	var bodies [][]byte
	for _, d := range list {
		bodies = append(bodies, d.body())
	}
	body := append(append([]byte("["), bytes.Join(bodies, []byte(","))...), ']')
	return s.deliver(ctx, want, body, bodies[0], list)
}

// deliver posts a body and checks, in the agent's own ledger, that each of its events became what it
// should.
func (s *story) deliver(ctx context.Context, want verdict, body, signed []byte, list []*delivery) error {
	before, err := s.inspector.Status(ctx)
	if err != nil {
		return err
	}
	code, err := s.send(ctx, body, sign(signed, demoSecret))
	if err != nil {
		return err
	}
	if code != http.StatusOK {
		return fmt.Errorf("a signed delivery of %s was answered HTTP %d", list[0].user, code)
	}
	after, err := s.applied(ctx, before.Events.Accepted+uint64(len(list)))
	if err != nil {
		return err
	}
	n := uint64(len(list))
	if got := want.count(after.Events) - want.count(before.Events); got != n || after.Events.Accepted-before.Events.Accepted != n {
		return fmt.Errorf("%d of %d events of %s, %s = %v, became %q", got, n, list[0].user, list[0].key, list[0].value, want.word)
	}
	for _, d := range list {
		s.expected.learn(d, want)
		s.delivered(d, want, after.Pending)
	}
	return nil
}

// forge posts a delivery that somebody without the secret has signed.
func (s *story) forge(ctx context.Context, d *delivery) error {
	body := d.body()
	code, err := s.send(ctx, body, sign(body, "a guess"))
	if err != nil {
		return err
	}
	if code != http.StatusUnauthorized {
		return fmt.Errorf("a forged delivery was answered HTTP %d, not 401", code)
	}
	s.delivered(d, verdict{word: "refused, HTTP 401"}, 0)
	return nil
}

func (s *story) send(ctx context.Context, body []byte, signature string) (code int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.webhook(), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Segment (Actions)")
	req.Header.Set("X-Signature", signature)
	req.Close = true // the agent goes away and comes back
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, err
}

// sign is Segment's X-Signature: the hex of HMAC-SHA1 over the raw bytes.
func sign(body []byte, secret string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}
