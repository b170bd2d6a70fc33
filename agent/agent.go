package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"

	"personasync/agent/config"
	"personasync/store"
)

// RunOptions is what an agent needs besides its configuration. Log is required.
type RunOptions struct {
	Log     *slog.Logger
	Version string

	// Ingest is where events come in if somebody listens for the agent already, see host.Inherited; nil: it
	// listens at ingest.listen. Run closes it.
	Ingest net.Listener

	// Missed says why Ingest is nil although it should not be: the agent is unready and says so.
	Missed string

	// Reload asks for the configuration to be read again by Load; nil: never.
	Reload <-chan os.Signal
	Load   func() (*config.Config, error)

	// Relog makes Log follow [log] of a new configuration; may be nil.
	Relog func(config.Log)

	// LinesDropped is how many lines Log has lost because nobody read them; nil: it does not lose any.
	LinesDropped func() uint64

	// CheckInChild is store.Options's; nil: files that may be damaged are checked in this process.
	CheckInChild func(ctx context.Context, dir string) (*store.CheckReport, error)

	// Ready is called once, when events are being accepted; may be nil.
	Ready func(Addresses)
}

// Addresses is where a running agent is reached.
type Addresses struct {
	Ingest net.Addr
	Admin  net.Addr // nil when admin.listen is ""
	Socket string
}

// Run runs the agent until ctx is done, or until it cannot go on. Before it returns, every goroutine
// it started has ended, what was in flight is settled, and the data directory is free again.
func Run(ctx context.Context, c *config.Config, o RunOptions) error {
	ballast := make([]byte, ballastBytes)
	defer runtime.KeepAlive(ballast)
	p, err := start(ctx, c, o)
	if err != nil && o.Ingest != nil {
		_ = o.Ingest.Close()
	}
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, cause) {
		o.Log.Info("stopped before the start was over", "err", err)
		return nil
	}
	if err != nil {
		return err
	}
	return p.run(ctx)
}

// ballastBytes are allocated and never touched: they take no memory, but the collector counts them,
// and lets as many bytes of garbage gather before it runs. What lives in an agent is a few megabytes,
// so that it would run 50 times a second under load: a sixth of the processor time of an
// acknowledgement, measured. The price is at most so much more memory, and only under load.
const ballastBytes = 24 << 20
