package orders

import (
	"context"
	"fmt"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/datadir"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Retry is Store.Retry.
func (rn *Runner) Retry(ctx context.Context, now time.Time, ids []domain.ID) error {
	return rn.act(ctx, record.Action{Received: now, Verb: record.ActionRetry, IDs: ids})
}

// Drop is Store.Drop.
func (rn *Runner) Drop(ctx context.Context, now time.Time, ids []domain.ID) error {
	return rn.act(ctx, record.Action{Received: now, Verb: record.ActionDrop, IDs: ids})
}

// act splits an action into records that change so many rows at most, and waits until they are applied.
func (rn *Runner) act(ctx context.Context, h record.Action) error {
	switch {
	case len(h.IDs) == 0:
		return nil
	case len(h.IDs) > record.MaxActionIDs:
		return fmt.Errorf("%d changes are too many at once", len(h.IDs))
	}
	most := 0
	if err := rn.Reader.Read(func(tx *state.Tx) error { most = outbox.PerRecord(tx.State.Registry, record.MaxActionIDs); return nil }); err != nil {
		return err
	}
	var frames [][]byte
	for part := range slices.Chunk(h.IDs, most) {
		frames = append(frames, (&record.Action{Received: h.Received, Verb: h.Verb, IDs: part}).Encode(nil))
	}
	if err := datadir.Translate(rn.Inbox.AppendOther(ctx, frames...)); err != nil {
		return rn.cutShort(orderAbsent, err)
	}
	return rn.carriedOut(ctx)
}
