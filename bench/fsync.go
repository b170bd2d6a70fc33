//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"personasync/bench/internal/child"
	"personasync/bench/internal/contender"
)

// measureFsyncs counts fsyncs under strace. The rates are discarded, because strace distorts them.
func measureFsyncs(ctx context.Context, b *bench) error {
	strace, err := exec.LookPath("strace")
	if err != nil {
		b.notice("there is no strace here, so fsyncs were not counted")
		return nil
	}
	for _, s := range []shape{shapes[0], steady} {
		for _, c := range contender.All {
			if c.Name == "discard" || c.Name == "unread" || c.Name == "sqlite" && !b.withSQLite() {
				continue
			}
			if err := fsyncs(ctx, b, strace, c, s); err != nil {
				return fmt.Errorf("%s under strace: %w", c.Title, err)
			}
			b.say("fsyncs  %-15s %-14s %.3f a post", c.Title, s.title, b.book.Last(fsyncFigure(c, s)))
		}
	}
	return nil
}

func fsyncFigure(c contender.Contender, s shape) string { return "fsyncs/" + c.Name + "/" + s.name }

// fsyncs counts the syncs of a contender under a load, for each post.
func fsyncs(ctx context.Context, b *bench, strace string, c contender.Contender, s shape) error {
	dir, err := b.folder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	summary := filepath.Join(dir, "strace")
	server, err := b.start(ctx, child.Order{Role: "serve", Name: c.Name, Dir: dir},
		strace, "-f", "-c", "-e", "trace=fsync,fdatasync,msync,sync_file_range", "-o", summary, "--")
	if err != nil {
		return err
	}
	result, err := press(ctx, b, server, b.eventsOver(0), 0, s, min(b.during, 2*time.Second))
	if err := errors.Join(err, server.Stop()); err != nil {
		return err
	}
	text, err := os.ReadFile(summary)
	if err != nil {
		return err
	}
	b.book.Add(fsyncFigure(c, s), float64(countCalls(string(text)))/float64(result.Sent))
	return nil
}

// countCalls adds up the calls in a summary of strace -c: the fourth column of the lines that begin with a
// percentage, except the total.
func countCalls(summary string) (calls int) {
	for line := range strings.Lines(summary) {
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[len(fields)-1] == "total" {
			continue
		}
		if _, err := strconv.ParseFloat(fields[0], 64); err == nil {
			n, _ := strconv.Atoi(fields[3])
			calls += n
		}
	}
	return calls
}
