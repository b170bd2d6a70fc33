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
	"personasync/sync/sandbox"
)

// serveSandbox is the role of MoEngage.
func serveSandbox(ctx context.Context, o order, say func(hello)) error {
	return serve(ctx, sandbox.New(sandbox.Options{
		Latency: o.Latency, UsersPerMinute: -1, EventsPerMinute: -1, Log: slog.New(slog.DiscardHandler),
	}), say)
}

// latencies are the response times of MoEngage.
var latencies = []time.Duration{0, 50 * time.Millisecond}

// pollDrain is the interval of polling an agent's progress.
const pollDrain = 100 * time.Millisecond

// measureDrain measures sending the pending changes of a million users.
func (b *bench) measureDrain(ctx context.Context) error {
	for rep := range b.long {
		for _, latency := range latencies {
			if err := b.drain(ctx, latency); err != nil {
				return err
			}
			name := drainFigure(latency)
			b.say("drain %d/%d  at %-4v  %6.0f users/s, memory +%.0f MiB;  %.1f µs of CPU a user in the agent, %.1f in the sandbox", rep+1, b.long, latency,
				last(b.book[name+"/rate"]), last(b.book[name+"/memory"]), last(b.book[name+"/cpu"]), last(b.book[name+"/sandbox"]))
		}
	}
	return nil
}

func drainFigure(latency time.Duration) string { return fmt.Sprintf("drain/%v", latency) }

func (b *bench) drain(ctx context.Context, latency time.Duration) (err error) {
	dir, err := b.sown(ctx, "pending", b.sizes.Drain)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	moengage, err := b.start(ctx, order{Role: "sandbox", Latency: latency})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, moengage.stop()) }()
	r, err := b.agentOn(ctx, order{Dir: dir, Target: "http://" + moengage.Address, Profile: b.profileOf("agent", fmt.Sprintf("drain-%v", latency))})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()

	resting, peak := r.memory(), int64(0)
	took, err := r.watch(ctx, pollDrain, func(s condition.Status) bool {
		peak = max(peak, r.memory())
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
	b.book.add(name+"/rate", users/took.Seconds())
	b.book.add(name+"/memory", float64(peak-resting)/(1<<20))
	b.book.add(name+"/cpu", float64(r.cpu().Microseconds())/users)
	b.book.add(name+"/sandbox", float64(moengage.cpu().Microseconds())/users)
	return nil
}
