package agent

import (
	"context"
	"log/slog"
	"time"

	"personasync/agent/ingest"
	"personasync/store"
)

// housekeepingEvery is the pause between two rounds of housekeeping.
const housekeepingEvery = time.Minute

// housekeeper removes data past its retention, gives its space back to the disk, and warns in the log of parked items that
// will expire and of a clock in doubt.
type housekeeper struct {
	log    *slog.Logger
	store  *store.Store
	ingest *ingest.Handler
	parked func() time.Duration // retention.parked of the configuration in force

	doubted string // why the clock may be wrong, as the log has it; belongs to run
}

// run works in rounds until ctx is done.
func (h *housekeeper) run(ctx context.Context) error {
	var announced time.Time
	for {
		if now := time.Now(); now.Sub(announced) >= announceEvery {
			announced = now
			h.announceExpiry(now)
		}
		h.watchClock()
		if seen, err := h.store.Computations(); err == nil { // an error: prune reports it
			h.ingest.Know(seen)
		}
		if err := h.prune(ctx); err != nil {
			h.log.Error("removing data past its retention failed; it is retried in a minute", "error", err)
		}
		if err := h.store.EraseIfDue(ctx, time.Now()); err != nil && ctx.Err() == nil {
			h.log.Error("erasing users deleted in Segment failed; it is retried in a minute", "error", err)
		}
		if _, _, err := h.store.CompactIfSparse(ctx); err != nil && ctx.Err() == nil {
			h.log.Error("compacting the state failed; it is retried in a minute", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(housekeepingEvery):
		}
	}
}

// announceEvery is how often the log names the parked items that expire within a week.
const announceEvery = 24 * time.Hour

// announceExpiry warns of parked items that expire within a week, so that none that waits for a decision expires in
// silence.
func (h *housekeeper) announceExpiry(now time.Time) {
	e, err := h.store.Expiring(now, h.parked())
	if err != nil || e == nil {
		return // prune reports it
	}
	h.log.Warn("parked items will expire within a week, unless you retry or drop them, or raise retention.parked",
		"count", e.Count, "and_more", e.More, "first", e.First.UTC().Format(time.RFC3339))
}

// watchClock logs when the clock becomes doubtful, and when it no longer is.
func (h *housekeeper) watchClock() {
	was := h.doubted
	h.doubted = h.ingest.Clock.Doubt()
	switch {
	case h.doubted != "" && was == "":
		h.log.Warn("the clock may be wrong: set it, and keep it with NTP", "why", h.doubted)
	case h.doubted == "" && was != "":
		h.log.Info("the clock is no longer in doubt")
	}
}

// prune removes data past its retention, one bounded slice at a time. A stop waits for the slice in progress, because a
// command must not outlive its caller in the store.
func (h *housekeeper) prune(ctx context.Context) error {
	for ctx.Err() == nil && h.ingest.Clock.Settled() {
		more, err := h.store.Prune(context.WithoutCancel(ctx), time.Now())
		if err != nil || !more {
			return err
		}
	}
	return nil
}
