package agent

import (
	"context"
	"log/slog"
	"net"
	"os"

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
