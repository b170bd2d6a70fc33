//go:build linux

package main

import (
	"context"
	"errors"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/bench/internal/child"
	"personasync/bench/internal/contender"
)

// running is a measured agent with a connection to it.
type running struct {
	*child.Child
	line *api.Client
	dir  string
}

// agentOn starts an agent on a data directory.
func agentOn(ctx context.Context, b *bench, o child.Order) (*running, error) {
	o.Role, o.Name = "serve", "agent"
	c, err := b.start(ctx, o)
	if err != nil {
		return nil, err
	}
	line, err := api.Dial(ctx, contender.AgentSocket(o.Dir), contender.Version)
	if err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return &running{c, line, o.Dir}, nil
}

func (r *running) stop() error { return errors.Join(r.line.Close(), r.Child.Stop()) }

// pollDrain is the interval of polling an agent's progress.
const pollDrain = 100 * time.Millisecond

// watch polls an agent's status until enough returns true, and returns how long that took. A shorter pause
// makes the polling itself more expensive.
func (r *running) watch(ctx context.Context, pause time.Duration, enough func(condition.Status) bool) (time.Duration, error) {
	for began := time.Now(); ; {
		s, err := r.line.Status(ctx)
		if err != nil {
			return 0, err
		}
		if enough(s) {
			return time.Since(began), nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// applied waits until an agent has applied all received events.
func (r *running) applied(ctx context.Context) error {
	_, err := r.watch(ctx, 100*time.Millisecond, func(s condition.Status) bool { return s.Unapplied == 0 })
	return err
}
