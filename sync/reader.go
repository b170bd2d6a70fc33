package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"personasync/sync/internal/ratelimit"
)

// MoEngage's limits for Get User: 20 users a request, 1,000 users a minute for the workspace.
const (
	MaxExport        = 20
	exportsPerMinute = 1_000
)

// exportTries is how often a request is tried while MoEngage fails. The caller is a waiting operator or a job
// that runs again.
const exportTries = 5

// A Reader reads users back from MoEngage. It enforces the limits over all its requests. A restart resets its
// count, and then MoEngage answers 429 if necessary. It is safe for concurrent use.
type Reader struct {
	meter ratelimit.Meter

	mu     sync.Mutex // protects the fields below
	config Config
	client *client
}

// NewReader returns a reader for the workspace of c.
func NewReader(c Config) *Reader {
	r := new(Reader)
	r.meter.SetLimits(ratelimit.Amount{Users: exportsPerMinute})
	r.Reconfigure(c)
	return r
}

// Reconfigure applies c from the next request on.
func (r *Reader) Reconfigure(c Config) {
	c = c.withDefaults()
	if c.Transport == nil {
		c.Transport = newTransport()
	}
	made := newClient(c, c.Transport)
	made.url = strings.TrimRight(c.BaseURL, "/") + "/v1/customers/export?app_id=" + url.QueryEscape(c.WorkspaceID)
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.config.Transport.(interface{ CloseIdleConnections() }); ok {
		old.CloseIdleConnections()
	}
	r.config, r.client = c, made
}

// Close closes idle connections.
func (r *Reader) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t, ok := r.config.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// ReadError says why MoEngage did not return the data. [Explain] knows its code.
type ReadError struct{ Code, Sentence string }

// Error says what happened and which command explains the code.
func (e *ReadError) Error() string {
	return fmt.Sprintf("MoEngage did not answer as it should (%s): %s; see `personasync outbox explain-code %s`", e.Code, e.Sentence, e.Code)
}

// Held has MoEngage's data of one user: those of the requested attributes that exist, by their names at
// MoEngage.
type Held struct {
	Known      bool // the user exists
	Attributes map[string]json.RawMessage
}

// Read returns the data of at most MaxExport users, in the given order. names are as returned by
// domain.AttributeName. It waits for the limits and retries temporary failures a few times. Any other failure is
// a *ReadError.
func (r *Reader) Read(ctx context.Context, users, names []string) ([]Held, error) {
	if len(users) == 0 || len(users) > MaxExport {
		return nil, fmt.Errorf("%d users in one request: 1 to %d can be read back", len(users), MaxExport)
	}
	body, err := exportRequest(users, names)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	client, backoff, longest := r.client, r.config.MinBackoff, r.config.MaxBackoff
	r.mu.Unlock()
	for try := 1; ; try++ {
		a, text, err := r.ask(ctx, client, len(users), body)
		if err != nil {
			return nil, err
		}
		if a.act == actAccept {
			held, err := parseExport(text, users)
			if err == nil {
				return held, nil
			}
			a.Meaning, a.message = meanings[codeUnreadable], err.Error()
		}
		if a.act != actRetry && a.act != actUncertain || try == exportTries || a.pause > maxReadPause {
			return nil, readError(a, users)
		}
		if err := sleep(ctx, max(a.pause, backoff)); err != nil {
			return nil, err
		}
		backoff = min(2*backoff, longest)
	}
}

// maxReadPause is the longest pause requested by MoEngage for which Read waits.
const maxReadPause = time.Minute

// readError returns why users could not be read back. MoEngage enables Get User by a support ticket, and does
// not document the answer until then. So any refusal may mean that it is not enabled.
func readError(a answer, users []string) *ReadError {
	if a.status/100 == 4 && (a.act == actStop && a.Code != codeAddress && a.Code != "http_401" || a.Code == codeUnexplained) {
		a.message = strings.TrimRight(fmt.Sprintf("HTTP %d, %s", a.status, a.message), ", ")
		a.Meaning = meanings[codeReadBack]
	}
	more := ""
	switch {
	case a.Code == "http_401":
		more = "; if sending works, ask MoEngage's support to enable Get User, which is off until then"
	case a.pause > maxReadPause:
		more = fmt.Sprintf("; it asks for a pause of %s: verify again after that", a.pause)
	}
	return &ReadError{a.Code, strings.TrimRight(a.public(users), ". ") + more}
}

// ask makes one request as soon as the limit allows.
func (r *Reader) ask(ctx context.Context, c *client, users int, body []byte) (a answer, text []byte, err error) {
	g, again := r.meter.Admit(ratelimit.Amount{Users: users}, time.Now())
	for !again.IsZero() {
		if err := sleep(ctx, time.Until(again)); err != nil {
			return a, nil, err
		}
		g, again = r.meter.Admit(ratelimit.Amount{Users: users}, time.Now())
	}
	a, text = c.exchange(ctx, body, readExport)
	r.meter.Settle(g, a.mayHaveLeft(), time.Now())
	return a, text, ctx.Err()
}

// readExport is the largest export in bytes: twenty users with 256 attributes of 512 four-byte characters, and
// their names.
const readExport = 16 << 20

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type exportIdentifier struct {
	Type string `json:"identifier_type"`
	ID   string `json:"identifier"`
}

// exportRequest returns the body of Get User:
//
//	{"data":{"identifiers":[{"identifier_type":"customer_id","identifier":"u"}],"user_fields_to_export":["a"]}}
func exportRequest(users, names []string) ([]byte, error) {
	var body struct {
		Data struct {
			Identifiers []exportIdentifier `json:"identifiers"`
			Fields      []string           `json:"user_fields_to_export"`
		} `json:"data"`
	}
	for _, u := range users {
		body.Data.Identifiers = append(body.Data.Identifiers, exportIdentifier{"customer_id", u})
	}
	body.Data.Fields = names
	return json.Marshal(body)
}

// parseExport finds each user in an answer. The answer is unreadable if a user is in none of its lists: then it
// comes from another program, or from a version of MoEngage's API unknown here.
func parseExport(text []byte, users []string) ([]Held, error) {
	var body struct {
		Data *struct {
			Users []struct {
				Attributes map[string]json.RawMessage `json:"user_attributes"`
			} `json:"users"`
			NotFound []exportIdentifier `json:"users_not_found"`
		} `json:"data"`
	}
	if err := json.Unmarshal(text, &body); err != nil {
		return nil, err
	}
	if body.Data == nil {
		return nil, errors.New("the answer has no data")
	}
	found := make(map[string]Held)
	for _, n := range body.Data.NotFound {
		found[n.ID] = Held{}
	}
	for _, u := range body.Data.Users {
		found[asText(u.Attributes["customer_id"])] = Held{Known: true, Attributes: u.Attributes}
	}
	held := make([]Held, len(users))
	for i, u := range users {
		h, ok := found[u]
		if !ok {
			return nil, errors.New("the answer does not contain all requested users")
		}
		held[i] = h
	}
	return held, nil
}

// Authenticate tests credentials at MoEngage's endpoint for that, which changes nothing. It returns the time of
// MoEngage's clock, or zero if the answer has none. The error is a *ReadError if MoEngage refuses the
// credentials or cannot be reached.
func Authenticate(ctx context.Context, c Config) (theirs time.Time, err error) {
	c = c.withDefaults()
	if c.Transport == nil {
		t := newTransport()
		defer t.CloseIdleConnections()
		c.Transport = t
	}
	body, err := json.Marshal(map[string]string{"app_id": c.WorkspaceID, "app_secret": c.APIKey, "source": userAgent, "region": c.Region})
	if err != nil {
		return theirs, err
	}
	client := newClient(c, dated{c.Transport, &theirs})
	client.url = strings.TrimRight(c.BaseURL, "/") + "/v1/integrations/authentication"
	if a := client.post(ctx, body); a.act != actAccept {
		return theirs, &ReadError{a.Code, a.public(nil)}
	}
	return theirs, nil
}

// dated is a transport that records the Date of an answer.
type dated struct {
	http.RoundTripper
	at *time.Time
}

// RoundTrip implements http.RoundTripper.
func (d dated) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := d.RoundTripper.RoundTrip(r)
	if err == nil {
		*d.at, _ = http.ParseTime(resp.Header.Get("Date"))
	}
	return resp, err
}
