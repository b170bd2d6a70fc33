//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"personasync/agent/api"
	"personasync/bench/internal/child"
	"personasync/bench/internal/contender"
	"personasync/bench/internal/figures"
	"personasync/bench/internal/load"
	"personasync/bench/internal/seed"
	"personasync/store"
	"personasync/store/domain"
)

const (
	firstPages  = 5   // requests for the first page in a repetition
	listingPage = 500 // lines per request, as the commands use
)

// measureListing lists a million pending changes. It measures the time to the first page, the agent's memory
// for the whole list, and the effect of continuous listing on incoming events.
func measureListing(ctx context.Context, b *bench) error {
	for rep := range b.long {
		if err := listing(ctx, b); err != nil {
			return err
		}
		b.say("listing %d/%d  first page %.1f ms, of a user %.1f ms;  %.0f lines/s, memory +%.0f MiB;  %.0f events/s, %.0f beside a listing of %.0f lines/s", rep+1, b.long,
			b.book.Last("listing/first"), b.book.Last("listing/user"), b.book.Last("listing/rate"), b.book.Last("listing/memory"),
			b.book.Last("listing/alone/rate"), b.book.Last("listing/beside/rate"), b.book.Last("listing/beside/lines"))
	}
	return nil
}

// listing does one repetition on a fresh copy of the seed.
func listing(ctx context.Context, b *bench) (err error) {
	dir, err := sown(ctx, b, "pending", b.sizes.Drain)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r, err := agentOn(ctx, b, child.Order{Dir: dir, Profile: b.profileOf("agent", "listing")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()

	if err := firstPage(ctx, b, r, "listing/first", domain.OutboxFilter{Limit: store.DefaultLimit}); err != nil {
		return err
	}
	somebody := load.UserID(seed.SortedUsers(b.sizes.Drain)[b.sizes.Drain/2])
	if err := firstPage(ctx, b, r, "listing/user", domain.OutboxFilter{User: somebody}); err != nil {
		return err
	}
	if err := listAll(ctx, b, r); err != nil {
		return err
	}
	return ingestBeside(ctx, b, r)
}

// ingestBeside compares the ingest rate with and without a listing. Each load finds more stored data than the
// one before, so the order of turns is balanced. Rates over a few seconds vary by a tenth, so each kind has
// four.
func ingestBeside(ctx context.Context, b *bench, r *running) error {
	rates, sent := make(map[string]float64), uint64(0)
	turns := []string{"alone", "beside", "beside", "alone", "beside", "alone", "alone", "beside"}
	for _, kind := range turns {
		var lister chan error
		if kind == "beside" {
			lister = make(chan error, 1)
			go func() { lister <- listBeside(ctx, b, r.dir) }()
		}
		result, err := press(ctx, b, r.Child, b.eventsOver(0), sent, steady, b.during)
		if lister != nil {
			err = errors.Join(err, <-lister)
		}
		if err != nil {
			return err
		}
		sent += result.Sent
		rates[kind] += 2 * result.Rate() / float64(len(turns))
		if err := r.applied(ctx); err != nil {
			return err
		}
	}
	for kind, rate := range rates {
		b.book.Add("listing/"+kind+"/rate", rate)
	}
	return nil
}

// firstPage requests one page as a command does, over a connection of its own.
func firstPage(ctx context.Context, b *bench, r *running, name string, f domain.OutboxFilter) error {
	var took []float64
	for range firstPages {
		began := time.Now()
		line, err := api.Dial(ctx, contender.AgentSocket(r.dir), contender.Version)
		if err != nil {
			return err
		}
		page, _, err := line.Changes(ctx, f)
		took = append(took, figures.Milliseconds(time.Since(began)))
		if err := errors.Join(err, line.Close()); err != nil {
			return err
		}
		if len(page) == 0 {
			return fmt.Errorf("%s: the first page is empty", name)
		}
	}
	b.book.Add(name, figures.Median(took))
	return nil
}

// listAll reads all pages and samples the agent's memory.
func listAll(ctx context.Context, b *bench, r *running) error {
	resting, half, whole, lines := r.Memory(), int64(0), int64(0), 0
	began := time.Now()
	for cursor, more := "", true; more; more = cursor != "" {
		page, next, err := r.line.Changes(ctx, domain.OutboxFilter{Limit: listingPage, Cursor: cursor})
		if err != nil {
			return err
		}
		if whole = max(whole, r.Memory()); lines < b.sizes.Drain/2 {
			half = whole
		}
		lines += len(page)
		cursor = next
	}
	if lines != b.sizes.Drain {
		return fmt.Errorf("%d of %d changes were listed", lines, b.sizes.Drain)
	}
	b.book.Add("listing/rate", float64(lines)/time.Since(began).Seconds())
	b.book.Add("listing/half", float64(half-resting)/(1<<20))
	b.book.Add("listing/memory", float64(whole-resting)/(1<<20))
	return nil
}

// listBeside lists in a separate process for the duration of a load.
func listBeside(ctx context.Context, b *bench, dir string) error {
	c, err := b.start(ctx, child.Order{Role: "list", Dir: dir, For: warmupOf(b.during) + b.during})
	if err != nil {
		return err
	}
	b.book.Add("listing/beside/lines", c.Figures["lines"])
	return c.Stop()
}

// listOnAndOn is the role that lists everything repeatedly.
func listOnAndOn(ctx context.Context, o child.Order, say func(child.Hello)) (err error) {
	line, err := api.Dial(ctx, contender.AgentSocket(o.Dir), contender.Version)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, line.Close()) }()
	lines, cursor, began := 0, "", time.Now()
	for time.Since(began) < o.For {
		page, next, err := line.Changes(ctx, domain.OutboxFilter{Limit: listingPage, Cursor: cursor})
		if err != nil {
			return err
		}
		lines += len(page)
		cursor = next
	}
	say(child.Hello{Figures: map[string]float64{"lines": float64(lines) / time.Since(began).Seconds()}})
	return nil
}
