//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"personasync/agent/condition"
	"personasync/bench/internal/child"
	"personasync/bench/internal/contender"
	"personasync/sync/sandbox"
)

// serveSandbox is the role of MoEngage.
func serveSandbox(ctx context.Context, o child.Order, say func(child.Hello)) error {
	return contender.Serve(ctx, unlimitedSandbox(o.Latency), say)
}

// unlimitedSandbox is a MoEngage without rate limits.
func unlimitedSandbox(latency time.Duration) *sandbox.Sandbox {
	return sandbox.New(sandbox.Options{Latency: latency, UsersPerMinute: -1, EventsPerMinute: -1, Log: slog.New(slog.DiscardHandler)})
}

// latencies are the response times of MoEngage.
var latencies = []time.Duration{0, 50 * time.Millisecond}

// measureDrain measures sending the pending changes of a million users.
func measureDrain(ctx context.Context, b *bench) error {
	for rep := range b.long {
		for _, latency := range latencies {
			if err := drain(ctx, b, latency); err != nil {
				return err
			}
			name := drainFigure(latency)
			b.say("drain %d/%d  at %-4v  %6.0f users/s, memory +%.0f MiB;  %.1f µs of CPU a user in the agent, %.1f in the sandbox", rep+1, b.long, latency,
				b.book.Last(name+"/rate"), b.book.Last(name+"/memory"), b.book.Last(name+"/cpu"), b.book.Last(name+"/sandbox"))
		}
	}
	return nil
}

func drainFigure(latency time.Duration) string { return fmt.Sprintf("drain/%v", latency) }

// drain does one repetition: it starts an agent with pending changes, and waits until the last is delivered.
func drain(ctx context.Context, b *bench, latency time.Duration) (err error) {
	dir, err := sown(ctx, b, "pending", b.sizes.Drain)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	moengage, err := b.start(ctx, child.Order{Role: "sandbox", Latency: latency})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, moengage.Stop()) }()
	r, err := agentOn(ctx, b, child.Order{Dir: dir, Target: "http://" + moengage.Address, Profile: b.profileOf("agent", fmt.Sprintf("drain-%v", latency))})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()

	resting, peak := r.Memory(), int64(0)
	took, err := r.watch(ctx, pollDrain, func(s condition.Status) bool {
		peak = max(peak, r.Memory())
		return s.Pending == 0
	})
	if err != nil {
		return err
	}
	s, err := r.line.Status(ctx)
	if err != nil {
		return err
	}
	if s.Delivered != uint64(b.sizes.Drain) {
		return fmt.Errorf("%d of %d changes were delivered", s.Delivered, b.sizes.Drain)
	}
	name, users := drainFigure(latency), float64(b.sizes.Drain)
	b.book.Add(name+"/rate", users/took.Seconds())
	b.book.Add(name+"/memory", float64(peak-resting)/(1<<20))
	b.book.Add(name+"/cpu", float64(r.CPU().Microseconds())/users)
	b.book.Add(name+"/sandbox", float64(moengage.CPU().Microseconds())/users)
	return nil
}
