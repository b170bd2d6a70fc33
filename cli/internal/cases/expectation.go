package cases

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/agent/preview"
	"personasync/cli/internal/term"
)

// expectation is a NAME.want.json.
type expectation struct {
	Path     string          `json:"path,omitempty"`     // that it is posted to; "" for the one that it looks like
	AsIf     string          `json:"as_if,omitempty"`    // what the users are: in, out, never; "" is never
	Received string          `json:"received,omitempty"` // when it comes; "" is a second after its latest time
	Refused  string          `json:"refused,omitempty"`  // code, if ingest does not take it
	Events   []expectedEvent `json:"events"`
}

type expectedEvent struct {
	Outcome  string            `json:"outcome"`
	Reason   string            `json:"reason,omitempty"` // of a parked event
	Requests []expectedRequest `json:"requests,omitempty"`
}

type expectedRequest struct {
	To   string          `json:"to"` // the path, without the workspace
	Body json.RawMessage `json:"body"`
}

// readExpectation reads a NAME.want.json.
func readExpectation(path string) (w expectation, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return w, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err = d.Decode(&w); err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is more behind the object")
		}
	}
	if err != nil {
		return w, fmt.Errorf("%s%s: %w: it is an object with path, as_if, received, refused and events; remove it, and --update writes it anew", path, lineOf(text, err), err)
	}
	if w.AsIf != "" {
		if _, err := preview.ParseMembership(w.AsIf); err != nil {
			return w, fmt.Errorf("%s: as_if is in, out or never, not %q", path, w.AsIf)
		}
	}
	if _, err := w.receipt(); err != nil {
		return w, fmt.Errorf("%s: received %q is no time: write it like 2026-03-14T09:26:53Z, or leave it out", path, w.Received)
	}
	return w, nil
}

// receipt is when the delivery comes; zero if that is not said.
func (w *expectation) receipt() (time.Time, error) {
	if w.Received == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339Nano, w.Received)
}

// lineOf says in which line of a text the error of its decoder is, if that is known.
func lineOf(text []byte, err error) string {
	var at int64
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		at = syntax.Offset
	} else if other := (*json.UnmarshalTypeError)(nil); errors.As(err, &other) {
		at = other.Offset
	}
	if at == 0 {
		return ""
	}
	return fmt.Sprintf(", line %d", 1+bytes.Count(text[:min(int(at), len(text))], []byte("\n")))
}

// tryCase returns the result of a delivery, tried as want says.
func tryCase(ctx context.Context, conf *config.Config, path string, want expectation) (got expectation, err error) {
	got = expectation{Path: want.Path, AsIf: want.AsIf, Received: want.Received, Events: []expectedEvent{}}
	q := api.PreviewQuery{Path: want.Path}
	if q.Body, err = ReadDelivery(ctx, path); err != nil {
		return got, err
	}
	if q.Received, err = want.receipt(); err == nil && q.Received.IsZero() {
		q.Received, err = preview.Receipt(conf, q)
	}
	if err != nil {
		return got, err
	}
	now := preview.Never
	if want.AsIf != "" {
		now = preview.Membership(want.AsIf)
	}
	r, err := preview.AsIf(conf, q, now)
	if err != nil {
		return got, err
	}
	if r.Refused != nil {
		got.Refused = r.Refused.Code
	}
	for i := range r.Events {
		got.Events = append(got.Events, expectedOf(conf, &r.Events[i]))
	}
	return got, nil
}

// expectedOf is the part of an event's preview that is compared.
func expectedOf(conf *config.Config, e *api.PreviewEvent) expectedEvent {
	x := expectedEvent{Outcome: e.Outcome, Reason: e.Reason}
	for i := range e.Requests {
		to := e.Requests[i].URL
		if u, err := url.Parse(to); err == nil {
			to = u.Path
		}
		to = strings.TrimSuffix(strings.TrimSuffix(to, conf.MoEngage.WorkspaceID), "/")
		x.Requests = append(x.Requests, expectedRequest{To: to, Body: e.Requests[i].Body})
	}
	return x
}

func writeExpectation(path string, w expectation) error {
	var b bytes.Buffer
	if err := term.PrintJSON(&b, w); err != nil {
		return err
	}
	if was, err := os.ReadFile(path); err == nil && bytes.Equal(was, b.Bytes()) {
		return nil
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// canonical writes an expectation so that equal ones have equal texts: the members of bodies are sorted.
func canonical(w expectation) (string, error) {
	text, err := json.Marshal(w)
	if err != nil {
		return "", err
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return "", err
	}
	var b strings.Builder
	err = term.PrintJSON(&b, v)
	return b.String(), err
}
