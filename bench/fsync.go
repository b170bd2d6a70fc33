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
)

// measureFsyncs counts fsyncs under strace. The rates are discarded, because strace distorts them.
func (b *bench) measureFsyncs(ctx context.Context) error {
	strace, err := exec.LookPath("strace")
	if err != nil {
		b.notice("there is no strace here, so fsyncs were not counted")
		return nil
	}
	for _, s := range []shape{shapes[0], steady} {
		for _, c := range contenders {
			if c.name == "discard" || c.name == "unread" || c.name == "sqlite" && !b.withSQLite() {
				continue
			}
			if err := b.fsyncs(ctx, strace, c, s); err != nil {
				return fmt.Errorf("%s under strace: %w", c.title, err)
			}
			b.say("fsyncs  %-15s %-14s %.3f a post", c.title, s.title, last(b.book[fsyncFigure(c, s)]))
		}
	}
	return nil
}

func fsyncFigure(c contender, s shape) string { return "fsyncs/" + c.name + "/" + s.name }

func (b *bench) fsyncs(ctx context.Context, strace string, c contender, s shape) error {
	dir, err := b.folder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	summary := filepath.Join(dir, "strace")
	server, err := b.start(ctx, order{Role: "serve", Name: c.name, Dir: dir},
		strace, "-f", "-c", "-e", "trace=fsync,fdatasync,msync,sync_file_range", "-o", summary, "--")
	if err != nil {
		return err
	}
	result, err := b.press(ctx, server, b.eventsOver(0), 0, s, min(b.during, 2*time.Second))
	if err := errors.Join(err, server.stop()); err != nil {
		return err
	}
	text, err := os.ReadFile(summary)
	if err != nil {
		return err
	}
	b.book.add(fsyncFigure(c, s), float64(countCalls(string(text)))/float64(result.Sent))
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
