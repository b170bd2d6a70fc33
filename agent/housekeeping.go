package agent

import (
	"context"
	"log/slog"
	"time"

	"personasync/agent/condition"
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
	judge  func(ctx context.Context) (condition.Status, error)

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
		_, _ = h.judge(ctx)                                  // nobody else may look for hours, and a condition holds since it was seen
		if seen, err := h.store.Computations(); err == nil { // an error: prune reports it
			h.ingest.Know(seen)
		}
		h.endPauses(ctx)
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
		case <-time.After(h.untilNext(time.Now())):
		}
	}
}

// endPauses ends the pauses of computations whose time has come.
func (h *housekeeper) endPauses(ctx context.Context) {
	over, err := h.store.EndPauses(ctx, time.Now())
	if err != nil && ctx.Err() == nil {
		h.log.Error("ending a pause whose time has come failed; it is retried in a minute", "error", err)
	}
	for i := range over {
		h.log.Info("the pause of a computation ended", "computation", over[i].Name(), "since", over[i].Since, "until", over[i].Until)
	}
}

// untilNext is how long the next round may wait: until a pause ends, if that is soon.
func (h *housekeeper) untilNext(now time.Time) time.Duration {
	wait := housekeepingEvery
	list, err := h.store.Pauses()
	if err != nil {
		return wait // endPauses reports it
	}
	for i := range list {
		if left := list[i].Until.Sub(now); !list[i].Until.IsZero() && left > 0 {
			wait = min(wait, left)
		}
	}
	return wait
}

// compareConsent compares the users that a change of consent or of a rollout in the configuration, or a pause, is about. Until it has
// come to a user, nothing is sent of them that may not be, and the values sent before are not taken back yet.
func (h *housekeeper) compareConsent(ctx context.Context) {
	some, err := h.store.CompareConsent(ctx)
	switch {
	case err != nil && ctx.Err() == nil:
		h.log.Error("comparing users with the consent, the shares and the pauses stopped; it goes on in a minute", "error", err)
	case err == nil && some:
		h.log.Info("the consent, the shares or the pauses changed, and every user was compared with them")
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
