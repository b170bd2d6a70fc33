package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"personasync/store"
)

// The service manager that started the agent, if one did, is told by sd_notify(3): READY once the doors
// answer, RELOADING around a reload, STOPPING, a STATUS line for `systemctl status`, and WATCHDOG as
// long as commits come to an end.

const (
	statusEvery = 10 * time.Second

	// pulses is how many times the watchdog is due within the time that systemd allows.
	pulses = 4
)

// tellManager sends states to the service manager; without one it does nothing.
func (p *process) tellManager(states ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(states, "\n")); err != nil {
		p.log.Warn("the service manager could not be told how the agent is", "error", err)
	}
}

// statusLine is what `systemctl status` shows.
func (p *process) statusLine() string {
	line := "accepting events"
	if why := p.readiness.unready(); why != "" {
		line = "not accepting events: " + strings.ReplaceAll(why, "\n", " ")
	}
	if c, err := p.store.Counts(); err == nil {
		line += fmt.Sprintf("; %d changes pending, %d parked", c.Changes.Pending, c.Events.Parked+c.Changes.Parked)
	}
	line += "; MoEngage " + p.senders.Health().State
	if p.refused.Load() != nil {
		line += "; the last reload was refused, see the log"
	}
	return "STATUS=" + line
}

// supervise keeps the service manager informed until ctx is done.
func (p *process) supervise(ctx context.Context) error {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		p.log.Warn("the watchdog of the service manager is not served", "error", err)
	}
	told, alive := time.NewTicker(statusEvery), make(<-chan time.Time)
	defer told.Stop()
	if limit > 0 {
		due := time.NewTicker(limit / pulses)
		defer due.Stop()
		alive = due.C
	}
	was := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-alive:
			p.feedWatchdog(ctx, limit/pulses)
		case <-told.C:
			if line := p.statusLine(); line != was {
				p.tellManager(line)
				was = line
			}
		}
	}
}

// feedWatchdog tells the watchdog that commits go on, or the log that they do not.
func (p *process) feedWatchdog(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch err := p.pulse(ctx); {
	case err == nil:
		p.tellManager(daemon.SdNotifyWatchdog)
	case errors.Is(err, context.Canceled), errors.Is(err, store.ErrClosed): // the end
	default:
		p.log.Error("commits do not come to an end; unless they do, the watchdog will kill the agent", "waited", patience, "error", err)
	}
}
