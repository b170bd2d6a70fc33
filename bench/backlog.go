//go:build linux

package main

import (
	"context"
	"errors"
	"os"

	"personasync/agent/condition"
	"personasync/bench/internal/child"
)

// measureBacklog compares the latency of posts while a backlog is being applied with the latency of the same
// agent afterwards.
func measureBacklog(ctx context.Context, b *bench) error {
	for rep := range b.long {
		if err := backlog(ctx, b); err != nil {
			return err
		}
		b.say("backlog %d/%d  p99 %6.2f ms while applying, %6.2f ms after;  %6.0f applied/s beside the load, %6.0f/s alone", rep+1, b.long,
			b.book.Last("backlog/busy/p99"), b.book.Last("backlog/calm/p99"), b.book.Last("backlog/beside"), b.book.Last("backlog/alone"))
	}
	return nil
}

// backlog does one repetition: a load during the backlog, the rest of the backlog alone, and the same load again.
func backlog(ctx context.Context, b *bench) (err error) {
	dir, err := sown(ctx, b, "backlog", b.sizes.Backlog)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r, err := agentOn(ctx, b, child.Order{Dir: dir, Profile: b.profileOf("agent", "backlog")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()

	before, err := r.line.Status(ctx)
	if err != nil {
		return err
	}
	busy, err := press(ctx, b, r.Child, b.eventsOver(0), 0, steady, b.during)
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
	record(b, "backlog/busy", busy)
	b.book.Add("backlog/beside", float64(after.Events.Accepted-before.Events.Accepted)/(b.during+warmupOf(b.during)).Seconds())

	took, err := r.watch(ctx, pollDrain, func(s condition.Status) bool { return s.Unapplied == 0 })
	if err != nil {
		return err
	}
	b.book.Add("backlog/alone", float64(after.Unapplied)/took.Seconds())
	calm, err := press(ctx, b, r.Child, b.eventsOver(0), busy.Sent, steady, b.during)
	if err != nil {
		return err
	}
	record(b, "backlog/calm", calm)
	return nil
}
