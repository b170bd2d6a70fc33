package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"personasync/agent/config"
	"personasync/store"
)

// ErrElsewhere says that an agent is running whose data is not in data_dir. Usually the folder was moved with the agent's
// socket in it, so that commands do not reach the agent.
var ErrElsewhere = errors.New("an agent is running, and its data is not in data_dir")

// elsewherePatience is how long admin.listen may take to answer. It is usually on this machine.
const elsewherePatience = 2 * time.Second

// orElsewhere returns ErrElsewhere if data_dir has no data and an agent answers at admin.listen, else err.
func orElsewhere(ctx context.Context, c *config.Config, err error) error {
	if _, missing := os.Stat(c.DataDir); !errors.Is(err, store.ErrNoData) && !errors.Is(missing, fs.ErrNotExist) {
		return err
	}
	if where := elsewhere(ctx, c); where != nil {
		return where
	}
	return err
}

// elsewhere asks at admin.listen for an agent. It returns ErrElsewhere with its answer, or nil if none answers.
func elsewhere(ctx context.Context, c *config.Config) error {
	ready, says, answers := askListen(ctx, c)
	if !answers {
		return nil
	}
	if ready {
		says = "ready. Its configuration names another data_dir, or another admin.socket: name its file with --config FILE. A second agent needs an ingest.listen and an admin.listen of its own, too"
	}
	return fmt.Errorf("%w, %s. It answers at admin.listen = %s: %s", ErrElsewhere, c.DataDir, c.Admin.Listen, says)
}

// movedFrom returns ErrElsewhere if the agent at admin.listen says that its data was moved out of data_dir or removed. It
// returns nil if none answers, or one that is configured for another data_dir.
func movedFrom(ctx context.Context, c *config.Config) error {
	ready, says, answers := askListen(ctx, c)
	if !answers || ready || !strings.Contains(says, c.DataDir) {
		return nil
	}
	return fmt.Errorf("%w, %s: stop it first; the events it acknowledged are only in its open files, so save them before. It says: %s", ErrElsewhere, c.DataDir, says)
}

// askListen asks at admin.listen whether an agent is ready, and why not.
func askListen(ctx context.Context, c *config.Config) (ready bool, says string, answers bool) {
	if c.Admin.Listen == "" {
		return false, "", false
	}
	ctx, cancel := context.WithTimeout(ctx, elsewherePatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Admin.Listen+"/readyz", nil)
	if err != nil {
		return false, "", false
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy
	answer, err := client.Do(r)
	if err != nil {
		return false, "", false
	}
	defer answer.Body.Close()
	var told struct {
		Ready  *bool  `json:"ready"`
		Reason string `json:"reason"`
	}
	if json.NewDecoder(io.LimitReader(answer.Body, 1<<16)).Decode(&told) != nil || told.Ready == nil {
		return false, "", false // not an agent
	}
	return *told.Ready, told.Reason, true
}
