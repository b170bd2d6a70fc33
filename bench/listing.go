//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"personasync/agent/api"
	"personasync/store"
	"personasync/store/domain"
)

const (
	firstPages  = 5   // requests for the first page in a repetition
	listingPage = 500 // lines per request, as the commands use
)

// measureListing lists a million pending changes. It measures the time to the first page, the agent's memory
// for the whole list, and the effect of continuous listing on incoming events.
func (b *bench) measureListing(ctx context.Context) error {
	for rep := range b.long {
		if err := b.listing(ctx); err != nil {
			return err
		}
		b.say("listing %d/%d  first page %.1f ms, of a user %.1f ms;  %.0f lines/s, memory +%.0f MiB;  %.0f events/s, %.0f beside a listing of %.0f lines/s", rep+1, b.long,
			last(b.book["listing/first"]), last(b.book["listing/user"]), last(b.book["listing/rate"]), last(b.book["listing/memory"]),
			last(b.book["listing/alone/rate"]), last(b.book["listing/beside/rate"]), last(b.book["listing/beside/lines"]))
	}
	return nil
}

func (b *bench) listing(ctx context.Context) (err error) {
	dir, err := b.sown(ctx, "pending", b.sizes.Drain)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r, err := b.agentOn(ctx, order{Dir: dir, Profile: b.profileOf("agent", "listing")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()

	if err := b.firstPage(ctx, r, "listing/first", domain.OutboxFilter{Limit: store.DefaultLimit}); err != nil {
		return err
	}
	somebody := userID(sortedUsers(b.sizes.Drain)[b.sizes.Drain/2])
	if err := b.firstPage(ctx, r, "listing/user", domain.OutboxFilter{User: somebody}); err != nil {
		return err
	}
	if err := b.listAll(ctx, r); err != nil {
		return err
	}
	return b.ingestBeside(ctx, r)
}

// ingestBeside compares the ingest rate with and without a listing. Each load finds more stored data than the
// one before, so the order of turns is balanced. Rates over a few seconds vary by a tenth, so each kind has
// four.
func (b *bench) ingestBeside(ctx context.Context, r *running) error {
	rates, sent := make(map[string]float64), uint64(0)
	turns := []string{"alone", "beside", "beside", "alone", "beside", "alone", "alone", "beside"}
	for _, kind := range turns {
		var lister chan error
		if kind == "beside" {
			lister = make(chan error, 1)
			go func() { lister <- b.listBeside(ctx, r.dir) }()
		}
		result, err := b.press(ctx, r.child, b.eventsOver(0), sent, steady, b.during)
		if lister != nil {
			err = errors.Join(err, <-lister)
		}
		if err != nil {
			return err
		}
		sent += result.Sent
		rates[kind] += 2 * result.rate() / float64(len(turns))
		if err := r.applied(ctx); err != nil {
			return err
		}
	}
	for kind, rate := range rates {
		b.book.add("listing/"+kind+"/rate", rate)
	}
	return nil
}

// firstPage requests one page as a command does, over a connection of its own.
func (b *bench) firstPage(ctx context.Context, r *running, name string, f domain.OutboxFilter) error {
	var took []float64
	for range firstPages {
		began := time.Now()
		line, err := api.Dial(ctx, agentSocket(r.dir), version)
		if err != nil {
			return err
		}
		page, _, err := line.Changes(ctx, f)
		took = append(took, milliseconds(time.Since(began)))
		if err := errors.Join(err, line.Close()); err != nil {
			return err
		}
		if len(page) == 0 {
			return fmt.Errorf("%s: the first page is empty", name)
		}
	}
	b.book.add(name, median(took))
	return nil
}

// listAll reads all pages and samples the agent's memory.
func (b *bench) listAll(ctx context.Context, r *running) error {
	resting, half, whole, lines := r.memory(), int64(0), int64(0), 0
	began := time.Now()
	for cursor, more := "", true; more; more = cursor != "" {
		page, next, err := r.line.Changes(ctx, domain.OutboxFilter{Limit: listingPage, Cursor: cursor})
		if err != nil {
			return err
		}
		if whole = max(whole, r.memory()); lines < b.sizes.Drain/2 {
			half = whole
		}
		lines += len(page)
		cursor = next
	}
	if lines != b.sizes.Drain {
		return fmt.Errorf("%d of %d changes were listed", lines, b.sizes.Drain)
	}
	b.book.add("listing/rate", float64(lines)/time.Since(began).Seconds())
	b.book.add("listing/half", float64(half-resting)/(1<<20))
	b.book.add("listing/memory", float64(whole-resting)/(1<<20))
	return nil
}

// listBeside lists in a separate process for the duration of a load.
func (b *bench) listBeside(ctx context.Context, dir string) error {
	c, err := b.start(ctx, order{Role: "list", Dir: dir, For: warmupOf(b.during) + b.during})
	if err != nil {
		return err
	}
	b.book.add("listing/beside/lines", c.Figures["lines"])
	return c.stop()
}

// listOnAndOn is the role that lists everything repeatedly.
func listOnAndOn(ctx context.Context, o order, say func(hello)) (err error) {
	line, err := api.Dial(ctx, agentSocket(o.Dir), version)
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
	say(hello{Figures: map[string]float64{"lines": float64(lines) / time.Since(began).Seconds()}})
	return nil
}
