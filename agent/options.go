package agent

import (
	"context"
	"log/slog"
	"net"
	"os"

	"personasync/agent/backup"
	"personasync/agent/config"
	"personasync/store"
)

// RunOptions is what an agent needs besides its configuration. Log is required.
type RunOptions struct {
	Log     *slog.Logger
	Version string

	// Ingest is the socket that the service manager opened for events, see host.Inherited. nil: the agent listens at
	// ingest.listen. Run closes it.
	Ingest net.Listener

	// Missed says why Ingest is nil although the service manager should have passed it. The agent is unready then.
	Missed string

	// Reload delivers a signal whenever the configuration is to be loaded again; nil: never.
	Reload <-chan os.Signal
	Load   func() (*config.Config, error)

	// Relog applies [log] of a new configuration to Log; may be nil.
	Relog func(config.Log)

	// ConfigFile is the path that the configuration was read from, for the commands that the status page shows. "": none.
	ConfigFile string

	// LinesDropped counts the lines that Log lost because its reader stopped; nil: it loses none.
	LinesDropped func() uint64

	// CheckInChild is that of store.Options; nil: files that may be damaged are checked in this process.
	CheckInChild func(ctx context.Context, dir string) (*store.CheckReport, error)

	// ProveInChild proves a backup in a process of its own, which a damaged file may end; nil: in this process.
	ProveInChild backup.Prover

	// Ready is called once, when events are being accepted; may be nil.
	Ready func(Addresses)
}

// Addresses is where a running agent is reached.
type Addresses struct {
	Ingest net.Addr
	Admin  net.Addr // nil when admin.listen is ""
	Socket string
}
