package store

import (
	"context"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// TestAFlightThatNobodyWasGivenIsPutBack: taking failed after the head was written, so the lease is in
// the file and nobody carries it. Its users waited for the next start.
func TestAFlightThatNobodyWasGivenIsPutBack(t *testing.T) {
	b := open(t, rules(domain.SendEvent))
	b.receive(event("ann", "vip", true, 1))
	f, _, err := b.Take(t.Context(), everything(time.Now().Add(time.Hour)))
	must(t, err)
	if f == nil {
		t.Fatal("nothing was due")
	}
	must(t, b.pauseWriter(func() { b.unread, b.flown = true, f.ID-1 }))
	must(t, b.run(context.Background(), func(*state.Tx) error { return nil }, nil))
	again, _, err := b.Take(t.Context(), everything(time.Now().Add(time.Hour)))
	must(t, err)
	if again == nil || len(again.Deliveries) != 1 || again.Deliveries[0].Event.Attempts != 0 {
		t.Errorf("taken again: %+v", again)
	}
}
