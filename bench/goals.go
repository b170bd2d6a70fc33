//go:build linux

package main

import (
	"fmt"
	"math"
	"strconv"
)

// goal is a line in the table of the project's performance goals.
type goal struct {
	title  string
	figure float64 // NaN: not measured
	bound  float64
	least  bool // the bound is a minimum
	unit   string
}

// verdict says whether the goal was met.
func (g *goal) verdict() string {
	switch {
	case math.IsNaN(g.figure):
		return "not measured"
	case g.least && g.figure >= g.bound, !g.least && g.figure <= g.bound:
		return "ok"
	}
	return "short"
}

func (g *goal) want() string {
	sign := "≤"
	if g.least {
		sign = "≥"
	}
	return sign + " " + number(g.bound) + g.unit
}

// number formats a figure briefly: 1,234, 12.3 or 0.123.
func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v >= 1000:
		return thousands(int(v + 0.5))
	}
	return fmt.Sprintf("%.3g", v)
}

func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// lagBound is the largest lag at the end of a sustained load, in seconds of that load. A larger lag means that
// apply did not keep up.
const lagBound = 10

// goals compares the figures with the goals. Ratios are within one run.
func (b *bench) goals() []goal {
	agentTo := func(rival, shape string) float64 {
		return b.book.ratio("ack/agent/"+shape+"/rate", "ack/"+rival+"/"+shape+"/rate")
	}
	large := usersFigure("large", largeUsers)
	return []goal{
		{"64 connections, events/s: agent / raw log", agentTo("rawlog", "64"), 0.8, true, ""},
		{"64 connections, events/s: agent / SQLite outbox", agentTo("sqlite", "64"), 1.15, true, ""},
		{"256 connections, events/s: agent / raw log", agentTo("rawlog", "256"), 0.85, true, ""},
		{"256 connections, events/s: agent / SQLite outbox", agentTo("sqlite", "256"), 1.2, true, ""},
		{"arrays of 100, events/s: agent / raw log", agentTo("rawlog", "array"), 0.8, true, ""},
		{"arrays of 100, events/s: agent / SQLite outbox", agentTo("sqlite", "array"), 2.5, true, ""},
		{"20 M users stored / none: burst of 30 s", b.book.ratio(large+"/burst/rate", usersFigure("large", 0)+"/burst/rate"), 0.85, true, ""},
		{"20 M users stored / none: sustained for 2 min", b.book.ratio(large+"/sustained/rate", usersFigure("large", 0)+"/sustained/rate"), 0.6, true, ""},
		{"the lag after those 2 min", b.book.median(large + "/sustained/lag"), lagBound, false, " s"},
		{"lone client: latency of a post / one bbolt commit", b.book.ratio("lone/agent/p50", "lone/commit/p50"), 1.25, false, ""},
		{"p99 at 64 connections: while a backlog is applied / after", b.book.ratio("backlog/busy/p99", "backlog/calm/p99"), 2, false, ""},
		{"drain at 0 ms: users/s", b.book.median("drain/0s/rate"), 60_000, true, ""},
		{"drain at 0 ms: growth of memory", b.book.median("drain/0s/memory"), 64, false, " MiB"},
		{"first page of " + number(float64(b.sizes.Drain)) + " pending changes", b.book.median("listing/first"), 50, false, " ms"},
		{"listing all of them: growth of memory", b.book.median("listing/memory"), 64, false, " MiB"},
		{"events/s: while somebody lists on and on / without", b.book.ratio("listing/beside/rate", "listing/alone/rate"), 0.9, true, ""},
		{"idle memory", b.book.median("product/empty/idle"), 30, false, " MiB"},
		{"binary", b.book.median("product/size"), 20, false, " MB"},
		{"cold start with 2 GB of state", b.book.median("product/full/start") / 1000, 1, false, " s"},
	}
}
