package agent

import (
	"cmp"
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
	// sampleEvery and recentKept: the last quarter of an hour is remembered closely, in memory alone.
	sampleEvery = 5 * time.Second
	recentKept  = 15 * time.Minute
	// minutesKept is how long the store keeps its samples, one a minute.
	minutesKept = 24 * time.Hour

	// maxCalls bounds the requests of a minute that a latency is taken from. At MoEngage's highest limits
	// there are about 120 of them.
	maxCalls = 2048

	// countShare and countPages bound what counting parked changes by cause costs: at most a hundredth of
	// the time, and 400,000 changes or some hundred megabytes of them.
	countShare = 100
	countPages = 100
)

// recorder remembers how things were, for the charts of the status page, and what is parked, by cause.
// Its methods may be called concurrently.
type recorder struct {
	store *store.Store
	log   *slog.Logger

	settled func(domain.EventLedger) // is told of the ledger at each sample; nil where nobody asks

	mu      sync.Mutex // covers what follows
	recent  []store.Sample
	minutes []store.Sample
	calls   []call // of the last minute
	causes  []Cause
	counted parkedTotals  // what the causes were counted of
	next    time.Time     // no count before this moment
	silence time.Duration // see usualSilence
}

// call is one request to MoEngage that was answered, or was not.
type call struct {
	at   time.Time
	took time.Duration
	ok   bool
}

// Cause is how many parked events and changes share a computation and a reason.
type Cause struct {
	Reason      string `json:"reason"`
	Computation string `json:"computation"`
	Kind        string `json:"kind"`
	Count       uint64 `json:"count"`
}

// uncounted is the cause of what nobody has counted yet.
const uncounted = "uncounted"

func newRecorder(s *store.Store, log *slog.Logger, now time.Time) (*recorder, error) {
	minutes, err := s.Samples(now.Add(-minutesKept))
	if err != nil {
		return nil, err
	}
	return &recorder{store: s, log: log, minutes: minutes}, nil
}

// run takes samples until ctx is done.
func (r *recorder) run(ctx context.Context) error {
	for {
		if err := r.sample(ctx, time.Now()); err != nil && ctx.Err() == nil {
			r.log.Debug("no sample could be taken for the status page", "error", err)
		}
		if pause(ctx, sampleEvery) != nil {
			return nil
		}
	}
}

// sample takes one, and has the store keep the first of every minute.
func (r *recorder) sample(ctx context.Context, now time.Time) error {
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
	if err := r.count(ctx, now); err != nil {
		return err
	}
	if !keep {
		return nil
	}
	return r.store.KeepSample(context.WithoutCancel(ctx), s) // bounded; what nobody waits for must not outlive its caller in the store
}

// now says how things are.
func (r *recorder) now(now time.Time) (store.Sample, error) {
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

// quantile is the value that percent of sorted do not exceed.
func quantile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}

// since cuts what is older, and what lies ahead after a clock was set back.
func since(list []store.Sample, from time.Time) []store.Sample {
	last := list[len(list)-1].At
	return slices.DeleteFunc(list, func(s store.Sample) bool { return s.At.Before(from) || s.At.After(last) })
}

// answered notes a request to MoEngage.
func (r *recorder) answered(report syncer.Report) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.calls) >= maxCalls {
		r.calls = slices.Delete(r.calls, 0, maxCalls/4)
	}
	r.calls = append(r.calls, call{now, report.Took, report.Code == "accepted"})
}

// forget lets go of the calls that are older than a minute. mu is held.
func (r *recorder) forget(now time.Time) {
	r.calls = slices.DeleteFunc(r.calls, func(c call) bool { return now.Sub(c.at) > time.Minute })
}

// series returns what is remembered of the time since from: minutes, and closer what is recent.
func (r *recorder) series(from time.Time) []store.Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	closely := r.recent
	if len(closely) > 0 && from.Before(closely[len(closely)-1].At.Add(-2*recentKept)) {
		closely = closely[len(closely)-1:] // of a long time, minutes are enough
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

// enoughDeliveries are the minutes with events that a day must have for its pauses to say anything.
const enoughDeliveries = 100

// usualSilence is the longest pause between events of the day before the last one; 0 if too
// few came, or less than that is known.
func (r *recorder) usualSilence() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.minutes); n > 1 && r.minutes[n-1].Received > r.minutes[n-2].Received || r.silence == 0 {
		r.silence = longestPause(r.minutes) // while nothing comes, the day before stays the same one
	}
	return r.silence
}

// wholeDay is how much of the past must be known: an agent that has seen no night knows no usual pause.
const wholeDay = minutesKept - 4*time.Hour

// longestPause is the longest time between two minutes with events, those in which no sample was taken left out.
func longestPause(minutes []store.Sample) (longest time.Duration) {
	var last time.Time
	busy := 0
	for i := range minutes[min(1, len(minutes)):] {
		before, now := &minutes[i], &minutes[i+1]
		if now.At.Sub(before.At) > 3*time.Minute {
			last = time.Time{}
		}
		if now.Received <= before.Received {
			continue
		}
		if busy++; !last.IsZero() {
			longest = max(longest, now.At.Sub(last))
		}
		last = now.At
	}
	if busy < enoughDeliveries || minutes[len(minutes)-1].At.Sub(minutes[0].At) < wholeDay {
		return 0
	}
	return max(longest, time.Minute)
}

// parkedTotals tells whether what is parked may be another than before.
type parkedTotals struct{ events, changes, left uint64 }

func (t parkedTotals) parked() uint64 { return t.events + t.changes }

func (r *recorder) totals() (parkedTotals, error) {
	c, err := r.store.Counts()
	if err == nil && r.settled != nil {
		r.settled(c.Events)
	}
	return parkedTotals{c.Events.Parked, c.Changes.Parked, c.Events.Discarded + c.Changes.Dropped + c.Changes.Expired + c.Changes.Delivered}, err
}

// count counts what is parked by cause, if that may have changed and it is time.
func (r *recorder) count(ctx context.Context, now time.Time) error {
	t, err := r.totals()
	if err != nil {
		return err
	}
	r.mu.Lock()
	due := t != r.counted && !now.Before(r.next)
	r.mu.Unlock()
	if !due {
		return nil
	}
	causes, err := r.countCauses(ctx, t)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.causes, r.counted = causes, t
	r.next = now.Add(countShare * time.Since(now))
	return nil
}

func (r *recorder) countCauses(ctx context.Context, t parkedTotals) ([]Cause, error) {
	if t.parked() == 0 {
		return nil, nil
	}
	var lines []domain.StatLine
	cursor := domain.StateParked.String() + ":"
	for page := 0; cursor != "" && page < countPages; page++ {
		if ctx.Err() != nil { // a stop does not wait for gigabytes of parked events
			return nil, ctx.Err()
		}
		some, next, err := r.store.StatsPage(cursor)
		if err != nil {
			return nil, err
		}
		for i := range some {
			some[i].Cause = "" // the other side's words may name somebody
		}
		lines, cursor = store.MergeStats(lines, some), next
	}
	var causes []Cause
	counted := uint64(0)
	for _, l := range lines {
		causes = append(causes, Cause{Reason: cmp.Or(l.Reason, "none"), Computation: l.Computation, Kind: l.Kind, Count: l.Count})
		counted += l.Count
	}
	if all := t.parked(); cursor != "" && all > counted {
		causes = append(causes, Cause{Reason: uncounted, Count: all - counted})
	}
	slices.SortStableFunc(causes, func(a, b Cause) int { return cmp.Compare(b.Count, a.Count) })
	return causes, nil
}

// parked lists the causes, the most frequent first.
func (r *recorder) parked() []Cause {
	r.mu.Lock()
	defer r.mu.Unlock()
	return condition.Whole(slices.Clone(r.causes))
}

// parkedByReason adds up the causes; there are as many as reason codes in the source.
func (r *recorder) parkedByReason() map[string]uint64 {
	sums := make(map[string]uint64)
	for _, c := range r.parked() {
		sums[c.Reason] += c.Count
	}
	return sums
}
