package agent

import (
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"personasync/agent/config"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// The credentials of a service are seen by the service alone. So the commands that judge a configuration
// ask the running agent what it has, and whether MoEngage takes it. No secret crosses the socket.

// Configuration is what an agent runs on.
type Configuration struct {
	File     string           `json:"file"`     // "" without one
	Settings []config.Setting `json:"settings"` // secrets masked
}

// Authentication is what came of a test of the credentials for MoEngage.
type Authentication struct {
	BaseURL  string    `json:"base_url"`
	Code     string    `json:"code"`     // of a refusal, as `outbox explain-code` explains it; "" without one
	Sentence string    `json:"sentence"` // of the refusal
	Error    string    `json:"error"`    // why there was no answer; "" when there was one
	Date     time.Time `json:"date"`     // MoEngage's clock; zero when it did not say
	Now      time.Time `json:"now"`      // the agent's at that moment
}

// authenticationPatience is how long a test of the credentials may take.
const authenticationPatience = 10 * time.Second

// authenticate makes the one request that MoEngage has for it.
func authenticate(ctx context.Context, c *config.Config) Authentication {
	ctx, cancel := context.WithTimeout(ctx, authenticationPatience)
	defer cancel()
	a := Authentication{BaseURL: c.BaseURL()}
	var err error
	a.Date, err = syncer.Authenticate(ctx, senderConfig(c, domain.EndpointTransition))
	a.Now = time.Now()
	if refused := (*syncer.ReadError)(nil); errors.As(err, &refused) {
		a.Code, a.Sentence = refused.Code, refused.Sentence
	} else if err != nil {
		a.Error = err.Error()
	}
	return a
}

// configuration is what p runs on.
func (p *process) configuration() Configuration {
	c := p.config.Load()
	return Configuration{c.Path, c.Effective()}
}

// asked adds the routes of the socket for such commands.
func (a *Admin) asked(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/config", a.answer(func(*http.Request) (any, error) { return a.Configuration(), nil }))
	mux.HandleFunc("POST /api/authenticate", a.order(a.answer(func(r *http.Request) (any, error) { return a.Authenticate(r.Context()), nil })))
}

// Configuration asks what the agent runs on.
func (c *Client) Configuration(ctx context.Context) (*Configuration, error) {
	return one[Configuration](ctx, c, "/api/config", nil)
}

// Authenticate has the agent test its credentials.
func (c *Client) Authenticate(ctx context.Context) (a Authentication, err error) {
	return a, c.do(ctx, http.MethodPost, "/api/authenticate", nil, &a)
}

// BorrowSecrets has c count the secrets as set that the agent of c has and this process may not see, and
// says which they are. Without an agent there are none.
func BorrowSecrets(ctx context.Context, c *config.Config, version string) (note string, err error) {
	client, err := Dial(ctx, c.Socket(os.Getenv), version)
	if err != nil {
		return "", err
	}
	defer client.Close()
	theirs, err := client.Configuration(ctx)
	if err != nil {
		return "", err
	}
	names := c.Borrow(theirs.Settings)
	if len(names) == 0 {
		return "", nil
	}
	slices.Sort(names)
	return client.Where() + ", and has what this shell may not see: " + strings.Join(names, ", "), nil
}
