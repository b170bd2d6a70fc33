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
	rules  chan struct{}        // receives after rules were recorded

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
		h.compareConsent(ctx)
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
		case <-h.rules:
		case <-time.After(housekeepingEvery):
		}
	}
}

// compareConsent compares the users that a change of consent, or of a rollout, in the configuration is about. Until it has
// come to a user, nothing is sent of them that may not be, and what was sent before is not taken back yet.
func (h *housekeeper) compareConsent(ctx context.Context) {
	some, err := h.store.CompareConsent(ctx)
	switch {
	case err != nil && ctx.Err() == nil:
		h.log.Error("comparing users with the consent and the shares of the configuration stopped; it goes on in a minute", "error", err)
	case err == nil && some:
		h.log.Info("the consent or the shares of the configuration changed, and every user was compared with them")
	}
}

// noteRules has the next round begin now.
func (h *housekeeper) noteRules() {
	select {
	case h.rules <- struct{}{}:
	default:
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
