// Package servicemanager tells the service manager, if one started the agent, how the agent is, by sd_notify(3): READY once
// ingest answers, RELOADING around a reload, STOPPING, a STATUS line for `systemctl status`, and WATCHDOG as long as commits
// complete.
package servicemanager

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"personasync/store"
)

const (
	statusEvery = 10 * time.Second

	// watchdogShare is how many times the watchdog is due within the time that systemd allows.
	watchdogShare = 4
)

// Notifier tells the service manager how the agent is. Its fields are set before Run; its methods may be called concurrently.
type Notifier struct {
	Log      *slog.Logger
	Status   func() string               // the STATUS line
	Liveness func(context.Context) error // of the store: nil while commits complete
}

// Tell sends states to the service manager; without one it does nothing.
func (n *Notifier) Tell(states ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(states, "\n")); err != nil {
		n.Log.Warn("the service manager could not be notified", "error", err)
	}
}

// Run keeps the service manager informed until ctx is done.
func (n *Notifier) Run(ctx context.Context) error {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.Log.Warn("the watchdog of the service manager is not served", "error", err)
	}
	told, alive := time.NewTicker(statusEvery), make(<-chan time.Time)
	defer told.Stop()
	if limit > 0 {
		due := time.NewTicker(limit / watchdogShare)
		defer due.Stop()
		alive = due.C
	}
	was := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-alive:
			n.feedWatchdog(ctx, limit/watchdogShare)
		case <-told.C:
			if line := n.Status(); line != was {
				n.Tell(line)
				was = line
			}
		}
	}
}

// feedWatchdog notifies the watchdog if commits complete, and logs if they do not.
func (n *Notifier) feedWatchdog(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch err := n.Liveness(ctx); {
	case err == nil:
		n.Tell(daemon.SdNotifyWatchdog)
	case errors.Is(err, context.Canceled), errors.Is(err, store.ErrClosed): // the end
	default:
		n.Log.Error("commits do not complete; until they do, the watchdog is not fed and will kill the agent", "waited", patience, "error", err)
	}
}
