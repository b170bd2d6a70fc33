package agent

import (
	"context"
	"errors"
	"os"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/agent/notify"
)

// TestNotify sends a test message to every receiver of c. It has the running agent send it, which has all secrets and the
// agent's network, and sends it itself only if none runs. load reads c with its secrets.
func TestNotify(ctx context.Context, c *config.Config, load func() (*config.Config, error), version string) (list []api.NotifyTest, where string, err error) {
	client, err := api.Dial(ctx, c.Socket(os.Getenv), version)
	if errors.Is(err, api.ErrNotRunning) {
		if c, err = load(); err != nil {
			return nil, "", err
		}
		return notify.Test(ctx, notifyConfig(c, version)), "the agent is not running: this command sends the message itself", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer client.Close()
	list, err = client.TestNotify(ctx)
	return list, client.Where(), err
}
