//go:build linux

package main

import (
	"context"
	"time"

	"personasync/bench/internal/child"
	"personasync/bench/internal/load"
)

// shape is a load: its connections and events per request.
type shape struct {
	name, title string
	connections int
	batch       int
}

// shapes are the loads of every contender.
var shapes = []shape{
	{"1", "1 connection", 1, 1},
	{"16", "16", 16, 1},
	{"64", "64", 64, 1},
	{"256", "256", 256, 1},
	{"array", "arrays of 100, 16 connections", 16, 100},
}

// steady is the load used for comparisons.
var steady = shapes[2]

// pressed is the result of a load with its cost for the server.
type pressed struct {
	load.Result
	CPU float64 // µs per event, including the warm-up
}

// press runs a load against a server.
func press(ctx context.Context, b *bench, server *child.Child, e *load.Events, first uint64, s shape, during time.Duration) (pressed, error) {
	warmup := warmupOf(during)
	e.Prepare(first + uint64((warmup+during).Seconds()*expectedRate))
	l := &load.Load{Address: server.Address, Connections: s.connections, Batch: s.batch, Events: e, First: first, Warmup: warmup, During: during}
	before := server.CPU()
	r, err := l.Run(ctx)
	if err != nil {
		return pressed{}, err
	}
	if r.Refused > 0 {
		b.notice("%d of %d posts were refused", r.Refused, r.Posts)
	}
	return pressed{r, float64((server.CPU() - before).Microseconds()) / float64(max(r.Sent, 1))}, nil
}

// expectedRate is how many events per second are signed in advance.
const expectedRate = 50_000

// record adds the figures of a load to the book.
func record(b *bench, name string, r pressed) {
	b.book.Add(name+"/rate", r.Rate())
	b.book.Add(name+"/p50", r.Quantile(0.5))
	b.book.Add(name+"/p99", r.Quantile(0.99))
	b.book.Add(name+"/cpu", r.CPU)
}

// warmupOf is how long a load runs before the measurement.
func warmupOf(during time.Duration) time.Duration { return min(during/4, time.Second) }
