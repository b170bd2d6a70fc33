//go:build linux

package main

import (
	"math"

	"personasync/bench/internal/figures"
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
	return sign + " " + figures.Number(g.bound) + g.unit
}

// lagBound is the largest lag at the end of a sustained load, in seconds of that load. A larger lag means that
// apply did not keep up.
const lagBound = 10

// goals compares the figures with the goals. Ratios are within one run.
func goals(b *bench) []goal {
	agentTo := func(rival, shape string) float64 {
		return b.book.Ratio("ack/agent/"+shape+"/rate", "ack/"+rival+"/"+shape+"/rate")
	}
	onBoth := func(figure string) float64 {
		return b.book.Ratio("postgres/tables/"+figure, "postgres/files/"+figure)
	}
	large := usersFigure("large", largeUsers)
	return []goal{
		{"64 connections, events/s: agent / raw log", agentTo("rawlog", "64"), 0.8, true, ""},
		{"64 connections, events/s: agent / SQLite outbox", agentTo("sqlite", "64"), 1.15, true, ""},
		{"256 connections, events/s: agent / raw log", agentTo("rawlog", "256"), 0.85, true, ""},
		{"256 connections, events/s: agent / SQLite outbox", agentTo("sqlite", "256"), 1.2, true, ""},
		{"arrays of 100, events/s: agent / raw log", agentTo("rawlog", "array"), 0.8, true, ""},
		{"arrays of 100, events/s: agent / SQLite outbox", agentTo("sqlite", "array"), 2.5, true, ""},
		{"20 M users stored / none: burst of 30 s", b.book.Ratio(large+"/burst/rate", usersFigure("large", 0)+"/burst/rate"), 0.85, true, ""},
		{"20 M users stored / none: sustained for 2 min", b.book.Ratio(large+"/sustained/rate", usersFigure("large", 0)+"/sustained/rate"), 0.6, true, ""},
		{"the lag after those 2 min", b.book.Median(large + "/sustained/lag"), lagBound, false, " s"},
		{"lone client: latency of a post / one bbolt commit", b.book.Ratio("lone/agent/p50", "lone/commit/p50"), 1.25, false, ""},
		{"p99 at 64 connections: while a backlog is applied / after", b.book.Ratio("backlog/busy/p99", "backlog/calm/p99"), 2, false, ""},
		{"p99 at 64 connections: beside backups and their proofs / without", b.book.Ratio("backup/with/p99", "backup/without/p99"), 2, false, ""},
		{"drain at 0 ms: users/s", b.book.Median("drain/0s/rate"), 60_000, true, ""},
		{"drain at 0 ms: growth of memory", b.book.Median("drain/0s/memory"), 64, false, " MiB"},
		{"first page of " + figures.Number(float64(b.sizes.Drain)) + " pending changes", b.book.Median("listing/first"), 50, false, " ms"},
		{"listing all of them: growth of memory", b.book.Median("listing/memory"), 64, false, " MiB"},
		{"events/s: with a continuous listing / without", b.book.Ratio("listing/beside/rate", "listing/alone/rate"), 0.9, true, ""},
		{"idle memory", b.book.Median("product/empty/idle"), 30, false, " MiB"},
		{"binary", b.book.Median("product/size"), 20, false, " MB"},
		{"PostgreSQL / files, 64 connections, events/s", onBoth("ack/64/rate"), 0.4, true, ""},
		{"PostgreSQL / files, 256 connections, events/s", onBoth("ack/256/rate"), 0.4, true, ""},
		{"PostgreSQL: applied/s", b.book.Median("postgres/tables/apply"), 15_000, true, ""},
		{"PostgreSQL: drain, users/s", b.book.Median("postgres/tables/drain"), 8_000, true, ""},
		{"PostgreSQL: in and out at once, users/s", b.book.Median("postgres/tables/both"), 0.98 * bothRate, true, ""},
		{"PostgreSQL: growth of tables in the second half of that", b.book.Median("postgres/tables/growth"), 5, false, " %"},
		{"PostgreSQL: p99 of a take, vacuum held up / not", b.book.Ratio("postgres/tables/pinned", "postgres/tables/take"), 2, false, ""},
		{"PostgreSQL: first page and counts", b.book.Median("postgres/tables/page"), 50, false, " ms"},
		{"cold start with 2 GB of state", b.book.Median("product/full/start") / 1000, 1, false, " s"},
	}
}
