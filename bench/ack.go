//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"personasync/bench/internal/child"
	"personasync/bench/internal/contender"
)

// measureAcknowledgements runs every contender under every load, each time on a new directory.
func measureAcknowledgements(ctx context.Context, b *bench) error {
	for rep := range b.reps {
		for _, s := range shapes {
			for _, c := range contender.All {
				if c.Name == "sqlite" && !b.withSQLite() {
					continue
				}
				if err := acknowledge(ctx, b, c, s); err != nil {
					return fmt.Errorf("%s, %s: %w", c.Title, s.title, err)
				}
				name := figure(c, s)
				b.say("ack %d/%d  %-15s %-30s %7.0f events/s  p99 %6.2f ms  %5.1f µs of CPU an event", rep+1, b.reps, c.Title, s.title,
					b.book.Last(name+"/rate"), b.book.Last(name+"/p99"), b.book.Last(name+"/cpu"))
			}
		}
	}
	return nil
}

func figure(c contender.Contender, s shape) string { return "ack/" + c.Name + "/" + s.name }

// acknowledge runs a contender under a load on a new directory.
func acknowledge(ctx context.Context, b *bench, c contender.Contender, s shape) error {
	return acknowledgeAs(ctx, b, figure(c, s), c, s)
}

// acknowledgeAs runs a contender under a load and records the result under name.
func acknowledgeAs(ctx context.Context, b *bench, name string, c contender.Contender, s shape) (err error) {
	dir, err := b.folder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := b.start(ctx, child.Order{Role: "serve", Name: c.Name, Dir: dir, Profile: b.profileOf(c.Name, "ack-"+s.name)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	result, err := press(ctx, b, server, b.eventsOver(0), 0, s, b.during)
	if err != nil {
		return err
	}
	record(b, name, result)
	return nil
}
