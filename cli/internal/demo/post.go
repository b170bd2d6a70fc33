package demo

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"

	"personasync/cli/internal/term"
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

// deliver posts a body and checks, in the agent's ledger, that each of its events had the expected outcome.
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

// forge posts a delivery with a signature made without the secret.
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
	req.Close = true // the agent is stopped and started
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

// requests prints the requests that MoEngage received since the last call.
func (s *story) requests() {
	all := s.box.Requests()
	if n := s.refusals(); n > 0 {
		s.line("MoEngage", "%s", s.Paint.Dim(fmt.Sprintf("had answered 503 to %s", term.Plural(n, "request"))))
	}
	for _, r := range all[s.sent:] {
		if r.Stored {
			s.request(r)
		}
	}
	s.sent = len(all)
}
