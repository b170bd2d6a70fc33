package page

import (
	"log/slog"
	"testing"
	"time"

	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

func recorderOn(t *testing.T, at time.Time) (*Recorder, *store.Store, *domain.EventLedger) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := store.Open(t.TempDir(), store.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	settled := new(domain.EventLedger)
	r, err := NewRecorder(s, log, at, func(l domain.EventLedger) { *settled = l })
	if err != nil {
		t.Fatal(err)
	}
	return r, s, settled
}

// TestTheStoreKeepsOneSampleAMinute, with which a restart continues. Those of the last minutes are close together.
func TestTheStoreKeepsOneSampleAMinute(t *testing.T) {
	at := time.Now().Add(-10 * time.Minute).Truncate(time.Minute)
	r, s, settled := recorderOn(t, at)
	e := &domain.Event{Received: at, Time: at, MessageID: "m", Raw: []byte(`{}`), Fault: "undetermined", User: domain.Identifier{ID: "ann"}}
	if err := s.Append(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := s.Applied(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{0, 10 * time.Second, 50 * time.Second, time.Minute, 2*time.Minute + time.Second} {
		if err := r.sample(t.Context(), at.Add(after)); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := s.Samples(at.Add(-time.Hour))
	if err != nil || len(kept) != 3 || !kept[0].At.Equal(at) || !kept[2].At.Equal(at.Add(2*time.Minute+time.Second)) || kept[0].Parked != 1 {
		t.Errorf("%+v, %v", kept, err)
	}
	if n := len(r.series(at)); n != 5 {
		t.Errorf("%d samples are shown", n)
	}
	if n := len(r.series(at.Add(time.Minute))); n != 2 {
		t.Errorf("%d samples of the last minute are shown", n)
	}
	if settled.Accepted != 1 || settled.Parked != 1 {
		t.Errorf("the ledger of a sample is %+v", *settled)
	}
	if got := r.ParkedByReason(); got["undetermined"] != 1 || len(got) != 1 {
		t.Errorf("parked are %v", got)
	}
	if f := r.Forecast(at.Add(3*time.Minute), store.Space{}, 100); f == (condition.Forecast{}) && len(r.series(at)) == 0 {
		t.Errorf("%+v", f)
	}
	next, err := NewRecorder(s, slog.New(slog.DiscardHandler), at.Add(3*time.Minute), nil)
	if err != nil || len(next.series(at)) != 3 {
		t.Errorf("a restart continues with %+v, %v", next.series(at), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.sample(t.Context(), at.Add(4*time.Minute)); err == nil {
		t.Error("a sample of a closed store")
	}
}

// TestRequestsOfTheLastMinuteAreCounted with the time that the accepted ones took.
func TestRequestsOfTheLastMinuteAreCounted(t *testing.T) {
	now := time.Now()
	r, _, _ := recorderOn(t, now)
	for i := range 100 {
		r.Answered(syncer.Report{Code: "accepted", Took: time.Duration(i+1) * time.Millisecond})
	}
	r.Answered(syncer.Report{Code: "http_503", Took: time.Hour})
	s, err := r.now(time.Now())
	if err != nil || s.Requests != 101 || s.Failures != 1 || s.LatencyP50 < 50*time.Millisecond || s.LatencyP50 > 52*time.Millisecond || s.LatencyP95 < 95*time.Millisecond || s.LatencyP95 > 97*time.Millisecond {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err = r.now(time.Now().Add(2 * time.Minute)); err != nil || s.Requests != 0 || s.LatencyP95 != 0 {
		t.Errorf("two minutes later %+v, %v", s, err)
	}
	for range 2 * maxCalls {
		r.Answered(syncer.Report{Code: "accepted"})
	}
	if n := len(r.calls); n > maxCalls || n < maxCalls/2 {
		t.Errorf("%d requests are remembered", n)
	}
}

// TestSamplesOfAClockThatWasAheadAreDropped: else the chart would have none until the clock is there.
func TestSamplesOfAClockThatWasAheadAreDropped(t *testing.T) {
	at := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	list := []store.Sample{{At: at.Add(-time.Hour)}, {At: at.Add(-time.Minute)}, {At: at.Add(time.Hour)}, {At: at}}
	got := since(list, at.Add(-30*time.Minute))
	if len(got) != 2 || !got[0].At.Equal(at.Add(-time.Minute)) || !got[1].At.Equal(at) {
		t.Errorf("%+v", got)
	}
}

func TestAQuantileIsAValueThatWasMeasured(t *testing.T) {
	for _, percent := range []int{50, 95} {
		for n := 1; n <= 200; n++ {
			var sorted []time.Duration
			for i := range n {
				sorted = append(sorted, time.Duration(i+1)) // the value is its rank
			}
			got := int(quantile(sorted, percent))
			if got < 1 || got > n || got*100 < n*percent || (got-1)*100 > n*percent {
				t.Errorf("%d %% of %d values do not exceed the value of rank %d", percent, n, got)
			}
		}
	}
	if quantile(nil, 50) != 0 {
		t.Error("of nothing")
	}
}
