package page

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

const (
	// sampleEvery and recentKept are the samples of the last quarter of an hour, kept in memory alone.
	sampleEvery = 5 * time.Second
	recentKept  = 15 * time.Minute
	// minutesKept is how long the store keeps its samples, one a minute.
	minutesKept = 24 * time.Hour

	// maxCalls bounds the requests of a minute that latencies are computed from. At MoEngage's highest limits there are
	// about 120.
	maxCalls = 2048
)

// Recorder keeps samples for the charts of the status page, and counts held and parked changes by cause. Its methods may be called
// concurrently.
type Recorder struct {
	store *store.Store
	log   *slog.Logger

	causes causes

	mu      sync.Mutex // covers what follows
	recent  []store.Sample
	minutes []store.Sample
	calls   []call        // of the last minute
	silence time.Duration // see usualSilence
}

// call is one request to MoEngage.
type call struct {
	at   time.Time
	took time.Duration
	ok   bool
}

// NewRecorder makes a recorder that continues the samples in s. settled receives the ledger of events with every sample;
// it may be nil.
func NewRecorder(s *store.Store, log *slog.Logger, now time.Time, settled func(domain.EventLedger)) (*Recorder, error) {
	minutes, err := s.Samples(now.Add(-minutesKept))
	if err != nil {
		return nil, err
	}
	return &Recorder{store: s, log: log, minutes: minutes, causes: causes{store: s, settled: settled}}, nil
}

// Run takes samples until ctx is done.
func (r *Recorder) Run(ctx context.Context) error {
	for {
		if err := r.sample(ctx, time.Now()); err != nil && ctx.Err() == nil {
			r.log.Debug("no sample could be taken for the status page", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sampleEvery):
		}
	}
}

// sample takes one sample. The store keeps the first of every minute.
func (r *Recorder) sample(ctx context.Context, now time.Time) error {
	s, err := r.now(now)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.recent = since(append(r.recent, s), now.Add(-recentKept))
	keep := len(r.minutes) == 0 || !r.minutes[len(r.minutes)-1].At.Truncate(time.Minute).Equal(now.Truncate(time.Minute))
	if keep {
		r.minutes = since(append(r.minutes, s), now.Add(-minutesKept))
	}
	r.mu.Unlock()
	if err := r.causes.count(ctx, now); err != nil {
		return err
	}
	if !keep {
		return nil
	}
	return r.store.KeepSample(context.WithoutCancel(ctx), s) // bounded; a command must not outlive its caller in the store
}

// now is a sample of this moment.
func (r *Recorder) now(now time.Time) (store.Sample, error) {
	s, err := r.store.Sample(now)
	if err != nil {
		return s, err
	}
	space := r.store.Space()
	s.DataBytes, s.FreeBytes = space.DataBytes, space.FreeBytes
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	var took []time.Duration
	for _, c := range r.calls {
		s.Requests++
		if !c.ok {
			s.Failures++
			continue
		}
		took = append(took, c.took)
	}
	slices.Sort(took)
	s.LatencyP50, s.LatencyP95 = quantile(took, 50), quantile(took, 95)
	return s, nil
}

// quantile is the value that percent of the sorted values do not exceed.
func quantile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}

// since removes older samples, and those of the future after a clock was set back.
func since(list []store.Sample, from time.Time) []store.Sample {
	last := list[len(list)-1].At
	return slices.DeleteFunc(list, func(s store.Sample) bool { return s.At.Before(from) || s.At.After(last) })
}

// Answered records a request to MoEngage.
func (r *Recorder) Answered(report syncer.Report) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.calls) >= maxCalls {
		r.calls = slices.Delete(r.calls, 0, maxCalls/4)
	}
	r.calls = append(r.calls, call{now, report.Took, report.Code == "accepted"})
}

// forget drops calls that are older than a minute. mu is held.
func (r *Recorder) forget(now time.Time) {
	r.calls = slices.DeleteFunc(r.calls, func(c call) bool { return now.Sub(c.at) > time.Minute })
}

// series returns the samples since from: one a minute, and every recent one.
func (r *Recorder) series(from time.Time) []store.Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	closely := r.recent
	if len(closely) > 0 && from.Before(closely[len(closely)-1].At.Add(-2*recentKept)) {
		closely = closely[len(closely)-1:] // for a long time, one a minute is enough
	}
	var list []store.Sample
	for _, s := range r.minutes {
		if !s.At.Before(from) && (len(closely) == 0 || s.At.Before(closely[0].At)) {
			list = append(list, s)
		}
	}
	for _, s := range closely {
		if !s.At.Before(from) {
			list = append(list, s)
		}
	}
	return list
}

// UsualSilence is the longest pause between events in the day before the present silence. It is 0 if too few events came,
// or if less than a day is known.
func (r *Recorder) UsualSilence() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.minutes); n > 1 && r.minutes[n-1].Received > r.minutes[n-2].Received || r.silence == 0 {
		r.silence = longestPause(r.minutes) // while no event comes, that day stays the same
	}
	return r.silence
}

// ParkedByReason counts parked events and changes by reason code. The source has a bounded number of codes.
func (r *Recorder) ParkedByReason() map[string]uint64 { return r.causes.parkedByReason() }

// Forecast looks ahead from the growth of the last hour. limit is the smaller of MoEngage's limits, in elements a minute.
// Before the first sample the forecast is empty.
func (r *Recorder) Forecast(now time.Time, space store.Space, limit int) condition.Forecast {
	hour := r.series(now.Add(-time.Hour))
	if len(hour) == 0 {
		return condition.Forecast{}
	}
	return forecast(hour, space, limit)
}
