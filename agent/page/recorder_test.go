package page

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"personasync/store"
	"personasync/store/domain"
)

func TestThePastIsCloseWhereItIsRecent(t *testing.T) {
	r := &Recorder{}
	for m := range 120 {
		r.minutes = append(r.minutes, store.Sample{At: two.Add(time.Duration(m) * time.Minute)})
	}
	end := two.Add(120 * time.Minute)
	for at := end.Add(-recentKept); at.Before(end); at = at.Add(sampleEvery) {
		r.recent = append(r.recent, store.Sample{At: at})
	}
	if n := len(r.series(end.Add(-15 * time.Minute))); n != 180 {
		t.Errorf("the last 15 minutes have %d samples, want one every 5 s", n)
	}
	hour := r.series(end.Add(-time.Hour))
	if n := len(hour); n < 60 || n > 62 {
		t.Errorf("the last hour has %d samples, want one a minute and the last", n)
	}
	for i := range hour[1:] {
		if !hour[i].At.Before(hour[i+1].At) {
			t.Errorf("%v comes before %v", hour[i].At, hour[i+1].At)
		}
	}
}

// TestAStopDoesNotWaitUntilWhatIsParkedIsCounted: with two gigabytes of it, that took half a minute.
func TestAStopDoesNotWaitUntilWhatIsParkedIsCounted(t *testing.T) {
	s, err := store.Open(t.TempDir(), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	raw := bytes.Repeat([]byte("x"), 32<<10)
	var events []*domain.Event
	for range 500 {
		events = append(events, &domain.Event{Received: two, Time: two, MessageID: "m", Fault: "not_json", Sentence: "it is not JSON", Raw: raw})
	}
	if err := errors.Join(s.Append(t.Context(), events...), s.Applied(t.Context())); err != nil {
		t.Fatal(err)
	}
	r, err := NewRecorder(s, slog.New(slog.DiscardHandler), two, nil)
	if err != nil {
		t.Fatal(err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := r.causes.count(stopped, two); !errors.Is(err, context.Canceled) || r.causes.all() == nil || len(r.causes.all()) != 0 {
		t.Errorf("counting after the stop: %v, %+v", err, r.causes.all())
	}
	// A page reads four megabytes at most, so there are several, and nothing is left out.
	if _, next, err := s.StatsPage(domain.OutboxFilter{}, "parked:"); err != nil || next == "" {
		t.Errorf("all 16 MB were read in one transaction (%v)", err)
	}
	if err := r.causes.count(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	if got := r.causes.all(); len(got) != 1 || got[0].Count != 500 {
		t.Errorf("counted %+v, want 500 of one cause", got)
	}
}

// TestTheUsualSilenceIsOfTheDayBefore, and of time in which somebody listened.
func TestTheUsualSilenceIsOfTheDayBefore(t *testing.T) {
	var minutes []store.Sample
	at, received := two, uint64(0)
	step := func(n int, each uint64) {
		for range n {
			at, received = at.Add(time.Minute), received+each
			minutes = append(minutes, store.Sample{At: at, Received: received})
		}
	}
	step(50, 3)
	step(20, 0)
	step(60, 3)
	if longestPause(minutes) != 0 {
		t.Error("two hours are enough to know what is usual")
	}
	at = at.Add(5 * time.Hour) // stopped
	step(14*60, 3)
	if got := longestPause(minutes); got != 21*time.Minute {
		t.Errorf("the longest pause was %s", got)
	}
	step(300, 0) // going on
	if got := longestPause(minutes); got != 21*time.Minute {
		t.Errorf("with the present silence, the longest pause was %s", got)
	}
	minutes, received = minutes[:0], 0
	step(22*60, 0)
	step(enoughDeliveries-1, 1)
	if longestPause(minutes) != 0 {
		t.Error("a few events are enough to know what is usual")
	}
}
