//go:build linux

package main

import (
	"context"
	"errors"
	"os"

	"personasync/agent/condition"
)

// measureBacklog compares the latency of posts while a backlog is being applied with the latency of the same
// agent afterwards.
func (b *bench) measureBacklog(ctx context.Context) error {
	for rep := range b.long {
		if err := b.backlog(ctx); err != nil {
			return err
		}
		b.say("backlog %d/%d  p99 %6.2f ms while applying, %6.2f ms after;  %6.0f applied/s beside the load, %6.0f/s alone", rep+1, b.long,
			last(b.book["backlog/busy/p99"]), last(b.book["backlog/calm/p99"]), last(b.book["backlog/beside"]), last(b.book["backlog/alone"]))
	}
	return nil
}

func (b *bench) backlog(ctx context.Context) (err error) {
	dir, err := b.sown(ctx, "backlog", b.sizes.Backlog)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r, err := b.agentOn(ctx, order{Dir: dir, Profile: b.profileOf("agent", "backlog")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()

	before, err := r.line.Status(ctx)
	if err != nil {
		return err
	}
	busy, err := b.press(ctx, r.child, b.eventsOver(0), 0, steady, b.during)
	if err != nil {
		return err
	}
	after, err := r.line.Status(ctx)
	if err != nil {
		return err
	}
	if after.Unapplied < uint64(b.sizes.Backlog)/10 {
		b.notice("the backlog was nearly applied before the load ended: the figures beside it are partly without it")
	}
	b.record("backlog/busy", busy)
	b.book.add("backlog/beside", float64(after.Events.Accepted-before.Events.Accepted)/(b.during+warmupOf(b.during)).Seconds())

	took, err := r.watch(ctx, pollDrain, func(s condition.Status) bool { return s.Unapplied == 0 })
	if err != nil {
		return err
	}
	b.book.add("backlog/alone", float64(after.Unapplied)/took.Seconds())
	calm, err := b.press(ctx, r.child, b.eventsOver(0), busy.Sent, steady, b.during)
	if err != nil {
		return err
	}
	b.record("backlog/calm", calm)
	return nil
}
