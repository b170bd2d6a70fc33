package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"personasync/store"
)

// The service manager, if one started the agent, is notified by sd_notify(3): READY once ingest answers, RELOADING around
// a reload, STOPPING, a STATUS line for `systemctl status`, and WATCHDOG as long as commits complete.

const (
	statusEvery = 10 * time.Second

	// watchdogShare is how many times the watchdog is due within the time that systemd allows.
	watchdogShare = 4
)

// notifier tells the service manager how the agent is.
type notifier struct {
	log      *slog.Logger
	status   func() string               // the STATUS line
	liveness func(context.Context) error // of the store: nil while commits complete
}

// tell sends states to the service manager; without one it does nothing.
func (n *notifier) tell(states ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(states, "\n")); err != nil {
		n.log.Warn("the service manager could not be notified", "error", err)
	}
}

// run keeps the service manager informed until ctx is done.
func (n *notifier) run(ctx context.Context) error {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn("the watchdog of the service manager is not served", "error", err)
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
			if line := n.status(); line != was {
				n.tell(line)
				was = line
			}
		}
	}
}

// feedWatchdog notifies the watchdog if commits complete, and logs if they do not.
func (n *notifier) feedWatchdog(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch err := n.liveness(ctx); {
	case err == nil:
		n.tell(daemon.SdNotifyWatchdog)
	case errors.Is(err, context.Canceled), errors.Is(err, store.ErrClosed): // the end
	default:
		n.log.Error("commits do not complete; until they do, the watchdog is not fed and will kill the agent", "waited", patience, "error", err)
	}
}
