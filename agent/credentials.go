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

// The credentials of a service are seen by the service alone. So the commands that judge a configuration
// ask the running agent what it has, and whether MoEngage takes it. No secret crosses the socket.

// authenticationPatience is how long a test of the credentials may take.
const authenticationPatience = 10 * time.Second

// authenticate makes the one request that MoEngage has for it.
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

// BorrowSecrets has c count the secrets as set that the agent of c has and this process may not see, and
// says which they are. Without an agent there are none.
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
	return client.Where() + ", and has what this shell may not see: " + strings.Join(names, ", "), nil
}
