package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"personasync/agent"
	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/cli/internal/logging"
	"personasync/store/domain"
	"personasync/sync/sandbox"
)

// demoSecret signs the demo's deliveries, as the shared secret of a Segment webhook does.
const demoSecret = "demo-shared-secret"

// demoConfig is the demo's agent.toml; %s are the temporary folder and the sandbox.
const demoConfig = `# Written by "personasync demo".
data_dir = "%[1]s/data"

[log]
level = "debug"

[ingest]
listen        = "127.0.0.1:0"
shared_secret = "` + demoSecret + `"

[admin]
socket = "%[1]s/admin.sock"
listen = "127.0.0.1:0"

[moengage]
workspace_id = "DEMO"
api_key      = "demo-key"
base_url     = "%[2]s"
timeout      = "2s"

[schedule]
max_delay = "20ms"

[retry]
min_backoff = "50ms"
max_backoff = "200ms"

[[computation]]
key  = "` + shoppers + `"
send = "both"
`

// world is the surroundings of the demo: a folder, a sandbox, and an agent that is started and stopped.
type world struct {
	dir      string
	version  string // of this program
	box      *sandbox.Sandbox
	server   *http.Server
	served   chan error
	moengage string // URL of the sandbox
	log      *os.File

	// These are of the running agent. stop is nil if none runs.
	conf  *config.Config
	at    agent.Addresses
	stop  context.CancelFunc
	ended chan error // capacity 1

	inspector api.Inspector
	closer    io.Closer // of the inspector
}

// longestFolder keeps the path of the socket within the limit of a unix address.
const longestFolder = 80

func newWorld(version string) (*world, error) {
	parent := os.TempDir()
	if len(parent) > longestFolder {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "personasync-demo-")
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir, version: version, served: make(chan error, 1), ended: make(chan error, 1)}
	if w.log, err = os.Create(filepath.Join(dir, "agent.log")); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, w.log.Close())
	}
	w.moengage = "http://" + l.Addr().String()
	w.box = sandbox.New(sandbox.Options{WorkspaceID: "DEMO", APIKey: "demo-key", Strict: true, KeepBodies: true})
	w.server = &http.Server{Handler: w.box, ReadHeaderTimeout: 5 * time.Second}
	go func() { w.served <- w.server.Serve(l) }()
	text := fmt.Sprintf(demoConfig, dir, w.moengage)
	if err := os.WriteFile(w.configFile(), []byte(text), 0o600); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *world) configFile() string { return filepath.Join(w.dir, "agent.toml") }

func (w *world) webhook() string { return "http://" + w.at.Ingest.String() + "/segment/webhook" }

// startAgent starts an agent on the world's folder and returns once it accepts events.
func (w *world) startAgent(ctx context.Context) error {
	var err error
	if w.conf, err = config.Load(w.configFile(), nil); err != nil {
		return err
	}
	lifetime, stop := context.WithCancel(context.Background()) // with --keep it outlives the story
	w.stop = stop
	ready := make(chan agent.Addresses, 1)
	go func() {
		w.ended <- agent.Run(lifetime, w.conf, agent.RunOptions{
			Log:     logging.NewLogger(w.log, "text", slog.LevelDebug, false),
			Version: w.version,
			Ready:   func(at agent.Addresses) { ready <- at },
		})
	}()
	select {
	case w.at = <-ready:
	case err := <-w.ended:
		w.stop = nil
		stop()
		return fmt.Errorf("start the agent: %w", err)
	case <-ctx.Done():
		return fmt.Errorf("start the agent: %w", ctx.Err())
	}
	return w.inspect(ctx)
}

// stopAgent stops the agent as SIGTERM does, and waits for its end.
func (w *world) stopAgent() error {
	if w.stop == nil {
		return nil
	}
	w.stop()
	w.stop = nil
	return <-w.ended
}

// close ends the agent, then the sandbox.
func (w *world) close() error {
	err := w.stopAgent()
	if w.closer != nil {
		err = errors.Join(err, w.closer.Close())
	}
	err = errors.Join(err, w.server.Close(), w.log.Close())
	<-w.served
	return err
}

// takeOffline has MoEngage answer 503 until it is healed.
func (w *world) takeOffline() { w.box.Fail(sandbox.Fault{Status: http.StatusServiceUnavailable}) }

// pending returns the number of pending changes, from the agent or from its files.
func (w *world) pending(ctx context.Context) (uint64, error) {
	s, err := w.inspector.Status(ctx)
	return s.Pending, err
}

// inspect opens the running agent, or its files.
func (w *world) inspect(ctx context.Context) (err error) {
	if w.closer != nil {
		if err := w.closer.Close(); err != nil {
			return err
		}
	}
	w.inspector, w.closer, _, err = agent.Open(ctx, w.conf, w.version)
	return err
}

// applied waits until the given number of events is applied, and returns the status.
func (w *world) applied(ctx context.Context, accepted uint64) (s condition.Status, err error) {
	err = until(ctx, "the agent to apply the received events", func() (bool, error) {
		s, err = w.inspector.Status(ctx)
		return s.Events.Accepted >= accepted, err
	})
	return s, err
}

// drained waits until MoEngage has accepted everything that can be sent.
func (w *world) drained(ctx context.Context) error {
	return until(ctx, "the outbox to drain", func() (bool, error) {
		s, err := w.inspector.Status(ctx)
		return s.Pending == 0 && s.Unapplied == 0, err
	})
}

// refused waits until MoEngage has refused the agent at least once.
func (w *world) refused(ctx context.Context) error {
	return until(ctx, "a refused request", func() (bool, error) { return w.refusals() > 0, nil })
}

func (w *world) refusals() (n int) {
	for _, r := range w.box.Requests() {
		if r.Status == http.StatusServiceUnavailable {
			n++
		}
	}
	return n
}

// mostListed is larger than any list of the demo.
const mostListed = 500

// members lists an audience as the agent knows it.
func (w *world) members(ctx context.Context, key string) (map[string]bool, error) {
	page, more, err := w.inspector.Members(ctx, key, "", mostListed)
	if err == nil && more {
		err = fmt.Errorf("%s has more members than the demo ever told of", key)
	}
	in := make(map[string]bool)
	for _, m := range page {
		in[m.User] = true
	}
	return in, err
}

// parked lists the parked events.
func (w *world) parked(ctx context.Context) ([]domain.ChangeInfo, error) {
	page, _, err := w.inspector.Changes(ctx, domain.OutboxFilter{State: domain.StateParked, Limit: mostListed})
	return page, err
}

// until polls for a state that can only be seen from outside.
func until(ctx context.Context, what string, done func() (bool, error)) error {
	const every = 5 * time.Millisecond
	for {
		ok, err := done()
		if ok && err == nil {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, ctx.Err())
		case <-time.After(every):
		}
	}
}
