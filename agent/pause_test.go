package agent

import (
	"log/slog"
	"testing"
	"time"

	"personasync/store"
	"personasync/store/domain"
)

// TestAPauseThatIsOverIsNoPause: it is not resumed, and resuming leaves its record alone.
func TestAPauseThatIsOverIsNoPause(t *testing.T) {
	data, err := store.Open(t.TempDir(), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := data.Close(); err != nil {
			t.Error(err)
		}
		if got, err := (pauser{store: data}).Pause(t.Context(), domain.Pause{Why: "too late"}); err == nil || got != nil {
			t.Errorf("a pause of a closed store: %+v, %v", got, err)
		}
	}()
	p, now := pauser{store: data}, time.Now()
	if was, err := p.Resume(t.Context(), ""); err != nil || was != nil {
		t.Errorf("without a pause: %+v, %v", was, err)
	}
	over := domain.Pause{Since: now.Add(-2 * time.Hour), Until: now.Add(-time.Hour), Why: "over", By: "ann"}
	if _, err := p.Pause(t.Context(), over); err != nil {
		t.Fatal(err)
	}
	if was, err := p.Resume(t.Context(), ""); err != nil || was != nil {
		t.Errorf("after its end: %+v, %v", was, err)
	}
	if kept, err := data.Pause(); err != nil || kept == nil || kept.Why != "over" {
		t.Errorf("the record of a pause that is over: %+v, %v", kept, err)
	}
	for _, until := range []time.Time{{}, now.Add(time.Hour)} {
		if got, err := p.Pause(t.Context(), domain.Pause{Since: now, Until: until, Why: "freeze", By: "ann"}); err != nil || !got.Holds(now) {
			t.Fatalf("until %v: %+v, %v", until, got, err)
		}
		if was, err := p.Resume(t.Context(), ""); err != nil || was == nil || was.Why != "freeze" || was.By != "ann" || !was.Until.Equal(until) {
			t.Errorf("until %v: resumed %+v, %v", until, was, err)
		}
		if kept, err := data.Pause(); err != nil || kept != nil {
			t.Errorf("until %v: afterwards %+v, %v", until, kept, err)
		}
	}
}
