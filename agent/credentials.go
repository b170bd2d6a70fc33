package agent

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/agent/sending"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// The credentials of a service are visible to the service alone. So commands that judge a configuration ask the running
// agent which secrets it has and whether MoEngage accepts them. No secret crosses the socket.

// authenticationPatience is how long a test of the credentials may take.
const authenticationPatience = 10 * time.Second

// authenticate makes the one request by which MoEngage tests credentials.
func authenticate(ctx context.Context, c *config.Config) api.Authentication {
	ctx, cancel := context.WithTimeout(ctx, authenticationPatience)
	defer cancel()
	a := api.Authentication{BaseURL: c.BaseURL()}
	var err error
	a.Date, err = syncer.Authenticate(ctx, sending.Config(c, domain.EndpointTransition))
	a.Now = time.Now()
	if refused := (*syncer.ReadError)(nil); errors.As(err, &refused) {
		a.Code, a.Sentence = refused.Code, refused.Sentence
	} else if err != nil {
		a.Error = err.Error()
	}
	return a
}

// BorrowSecrets counts as set in c the secrets that its running agent has and this process may not read. note names them,
// and is "" without any. It returns api.ErrNotRunning without an agent.
func BorrowSecrets(ctx context.Context, c *config.Config, version string) (note string, err error) {
	client, err := api.Dial(ctx, c.Socket(os.Getenv), version)
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
	return client.Where() + ", and has secrets that this command has not read: " + strings.Join(names, ", "), nil
}
