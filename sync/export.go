package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"
)

// MoEngage's limits on reading users back, by its page on Get User: 20 users a request, 1,000 users a
// minute for the workspace.
const (
	MaxExport        = 20
	exportsPerMinute = 1_000
)

// exportTries is how often one request is tried while MoEngage is not well. Whoever reads back is a
// person who waits, or a job that comes again.
const exportTries = 5

// A Reader reads back from MoEngage what it holds of users. It keeps the limits of that over all its
// requests; a restart forgets them, and a 429 then says so. It may be used concurrently.
type Reader struct {
	meter meter

	mu     sync.Mutex // guards what follows
	config Config
	client *client
}

// NewReader makes a reader of the workspace of c.
func NewReader(c Config) *Reader {
	r := new(Reader)
	r.meter.limit(grant{users: exportsPerMinute})
	r.Reconfigure(c)
	return r
}

// Reconfigure holds from the next request on.
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

// Close lets go of idle connections.
func (r *Reader) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t, ok := r.config.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// ReadError says why MoEngage did not tell. [Explain] knows its code.
type ReadError struct{ Code, Sentence string }

func (e *ReadError) Error() string {
	return fmt.Sprintf("MoEngage did not answer as it should (%s): %s; see `personasync outbox explain-code %s`", e.Code, e.Sentence, e.Code)
}

// Held is what MoEngage holds of one user: the attributes asked for that it has, by their names in
// MoEngage.
type Held struct {
	Known      bool // there is such a user
	Attributes map[string]json.RawMessage
}

// Read asks for at most MaxExport users, and answers in their order. names are as store.AttributeName
// returns them. It waits for the limits, and through trouble that passes within a few tries; what does
// not is a *ReadError.
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
		if a.act == actTake {
			held, err := parseExport(text, users)
			if err == nil {
				return held, nil
			}
			a.Meaning, a.words = rows[codeUnreadable], err.Error()
		}
		if a.act != actRetry && a.act != actUnsure || try == exportTries || a.pause > longestRead {
			return nil, readError(a, users)
		}
		if err := sleep(ctx, max(a.pause, backoff)); err != nil {
			return nil, err
		}
		backoff = min(2*backoff, longest)
	}
}

// longestRead is the longest pause that MoEngage may ask for before Read gives up.
const longestRead = time.Minute

// readError says why users could not be read back. Get User is the one endpoint that MoEngage enables by
// ticket, so any refusal of it may mean that, and nothing documents which.
func readError(a answer, users []string) *ReadError {
	if a.status/100 == 4 && (a.act == actStop && a.Code != codeAddress && a.Code != "http_401" || a.Code == codeUnexplained) {
		a.words = strings.TrimRight(fmt.Sprintf("HTTP %d, %s", a.status, a.words), ", ")
		a.Meaning = rows[codeReadBack]
	}
	more := ""
	switch {
	case a.Code == "http_401":
		more = "; if sending works, ask MoEngage's support to enable Get User, which is off until then"
	case a.pause > longestRead:
		more = fmt.Sprintf("; it wants to be left alone for %s, so verify again after that", a.pause)
	}
	return &ReadError{a.Code, strings.TrimRight(a.public(users), ". ") + more}
}

// ask makes one request as soon as the limit has room for it.
func (r *Reader) ask(ctx context.Context, c *client, users int, body []byte) (a answer, text []byte, err error) {
	g, again := r.meter.admit(grant{users: users}, time.Now())
	for !again.IsZero() {
		if err := sleep(ctx, time.Until(again)); err != nil {
			return a, nil, err
		}
		g, again = r.meter.admit(grant{users: users}, time.Now())
	}
	a, text = c.exchange(ctx, body, readExport)
	r.meter.settle(g, a.mayHaveLeft(), time.Now())
	return a, text, ctx.Err()
}

// readExport is how many bytes of an export are read: 256 attributes of 512 four-byte characters, with
// their names, of twenty users fit in.
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

// exportRequest makes the body of Get User:
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

// parseExport finds each user in an answer. A user that is in none of its lists makes it unreadable:
// the answer of something else, or of a MoEngage that this version does not know.
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
			return nil, errors.New("the answer leaves out users that it was asked for")
		}
		held[i] = h
	}
	return held, nil
}
