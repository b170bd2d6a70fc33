//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// shape is a load: its connections and events per request.
type shape struct {
	name, title string
	connections int
	batch       int
}

var shapes = []shape{
	{"1", "1 connection", 1, 1},
	{"16", "16", 16, 1},
	{"64", "64", 64, 1},
	{"256", "256", 256, 1},
	{"array", "arrays of 100, 16 connections", 16, 100},
}

// measureAcknowledgements runs every contender under every load, each time on a new directory.
func (b *bench) measureAcknowledgements(ctx context.Context) error {
	for rep := range b.reps {
		for _, s := range shapes {
			for _, c := range contenders {
				if c.name == "sqlite" && !b.withSQLite() {
					continue
				}
				if err := b.acknowledge(ctx, c, s); err != nil {
					return fmt.Errorf("%s, %s: %w", c.title, s.title, err)
				}
				name := figure(c, s)
				b.say("ack %d/%d  %-15s %-30s %7.0f events/s  p99 %6.2f ms  %5.1f µs of CPU an event", rep+1, b.reps, c.title, s.title,
					last(b.book[name+"/rate"]), last(b.book[name+"/p99"]), last(b.book[name+"/cpu"]))
			}
		}
	}
	return nil
}

func last(figures []float64) float64 { return figures[len(figures)-1] }

func figure(c contender, s shape) string { return "ack/" + c.name + "/" + s.name }

func (b *bench) acknowledge(ctx context.Context, c contender, s shape) error {
	return b.acknowledgeAs(ctx, figure(c, s), c, s)
}

// acknowledgeAs runs a contender under a load and records the result under name.
func (b *bench) acknowledgeAs(ctx context.Context, name string, c contender, s shape) (err error) {
	dir, err := b.folder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := b.start(ctx, order{Role: "serve", Name: c.name, Dir: dir, Profile: b.profileOf(c.name, "ack-"+s.name)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	result, err := b.press(ctx, server, b.eventsOver(0), 0, s, b.during)
	if err != nil {
		return err
	}
	b.record(name, result)
	return nil
}

// pressed is the result of a load with its cost for the server.
type pressed struct {
	loadResult
	CPU float64 // µs per event, including the warm-up
}

// press runs a load against a server.
func (b *bench) press(ctx context.Context, server *child, e *events, first uint64, s shape, during time.Duration) (pressed, error) {
	warmup := warmupOf(during)
	e.prepare(first + uint64((warmup+during).Seconds()*expectedRate))
	l := &load{address: server.Address, connections: s.connections, batch: s.batch, events: e, first: first, warmup: warmup, during: during}
	before := server.cpu()
	r, err := l.run(ctx)
	if err != nil {
		return pressed{}, err
	}
	if r.Refused > 0 {
		b.notice("%d of %d posts were refused", r.Refused, r.Posts)
	}
	return pressed{r, float64((server.cpu() - before).Microseconds()) / float64(max(r.Sent, 1))}, nil
}

// expectedRate is how many events per second are signed in advance.
const expectedRate = 50_000

func (b *bench) record(name string, r pressed) {
	b.book.add(name+"/rate", r.rate())
	b.book.add(name+"/p50", r.quantile(0.5))
	b.book.add(name+"/p99", r.quantile(0.99))
	b.book.add(name+"/cpu", r.CPU)
}

// warmupOf is how long a load runs before the measurement.
func warmupOf(during time.Duration) time.Duration { return min(during/4, time.Second) }
