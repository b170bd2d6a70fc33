package page

import (
	"time"

	"personasync/store"
)

// Series is what the charts draw: columns of equal length. Rates are per minute, since the sample
// before; the first sample has none.
type Series struct {
	At        []int64   `json:"at"` // unix milliseconds
	Pending   []uint64  `json:"pending"`
	Parked    []uint64  `json:"parked"`
	Held      []uint64  `json:"held"`
	OldestS   []float64 `json:"oldest_s"`
	Received  []float64 `json:"received"`
	Delivered []float64 `json:"delivered"`

	// P50Ms and P95Ms are null for a minute in which MoEngage accepted nothing: during an outage there is no time to draw.
	P50Ms []*float64 `json:"p50_ms"`
	P95Ms []*float64 `json:"p95_ms"`

	Audiences []AudienceSeries `json:"audiences"`
}

// AudienceSeries is one audience over the same samples. Members is null for a sample without the audience.
type AudienceSeries struct {
	Key     string    `json:"key"`
	Space   string    `json:"space"`
	ID      string    `json:"id"`
	Members []*uint64 `json:"members"`
	Entered []uint64  `json:"entered"` // since the sample before
	Exited  []uint64  `json:"exited"`
}

func newSeries(samples []store.Sample) *Series {
	s := &Series{
		At: []int64{}, Pending: []uint64{}, Parked: []uint64{}, Held: []uint64{}, OldestS: []float64{},
		Received: []float64{}, Delivered: []float64{}, P50Ms: []*float64{}, P95Ms: []*float64{}, Audiences: []AudienceSeries{},
	}
	for i := range samples {
		now, before := &samples[i], &samples[max(i-1, 0)]
		s.At = append(s.At, now.At.UnixMilli())
		s.Pending = append(s.Pending, now.Pending)
		s.Parked = append(s.Parked, now.Parked)
		s.Held = append(s.Held, now.Held)
		s.OldestS = append(s.OldestS, now.OldestPending.Truncate(100*time.Millisecond).Seconds())
		s.Received = append(s.Received, rate(before, now, before.Received, now.Received))
		s.Delivered = append(s.Delivered, rate(before, now, before.Delivered, now.Delivered))
		s.P50Ms = append(s.P50Ms, answered(now.LatencyP50))
		s.P95Ms = append(s.P95Ms, answered(now.LatencyP95))
	}
	s.audiences(samples)
	return s
}

// audiences adds the columns of the audiences in the newest sample.
func (s *Series) audiences(samples []store.Sample) {
	if len(samples) == 0 {
		return
	}
	type name struct{ space, key, id string }
	columns := make(map[name]*AudienceSeries)
	for _, a := range samples[len(samples)-1].Audiences {
		s.Audiences = append(s.Audiences, AudienceSeries{
			Key: a.Key, Space: a.Space, ID: a.ID,
			Members: make([]*uint64, len(samples)), Entered: make([]uint64, len(samples)), Exited: make([]uint64, len(samples)),
		})
	}
	for i := range s.Audiences {
		a := &s.Audiences[i]
		columns[name{a.Space, a.Key, a.ID}] = a
	}
	last := make(map[name]store.AudienceSample)
	for i := range samples {
		for _, a := range samples[i].Audiences {
			n := name{a.Space, a.Key, a.ID}
			to := columns[n]
			if to == nil {
				continue
			}
			to.Members[i] = &a.Members
			if before, ok := last[n]; ok {
				to.Entered[i], to.Exited[i] = rise(before.Entered, a.Entered), rise(before.Exited, a.Exited)
			}
			last[n] = a
		}
	}
}

// rise is the growth of a counter. One that fell was restored from a backup.
func rise(from, to uint64) uint64 {
	if to < from {
		return 0
	}
	return to - from
}

// rate is a counter's growth between two samples, per minute.
func rate(a, b *store.Sample, from, to uint64) float64 {
	span := b.At.Sub(a.At)
	if span <= 0 {
		return 0
	}
	return round(float64(rise(from, to)) / span.Minutes())
}

// perMinute is a counter's growth over the last minute. In the first minute of a process it is the growth so far, because
// the growth of a second times sixty would alarm people.
func perMinute(samples []store.Sample, of func(*store.Sample) uint64) float64 {
	last := &samples[len(samples)-1]
	first := last
	for i := range samples {
		if s := &samples[len(samples)-1-i]; last.At.Sub(s.At) <= time.Minute+sampleEvery {
			first = s
		}
	}
	span := max(last.At.Sub(first.At), time.Minute)
	return round(float64(rise(of(first), of(last))) / span.Minutes())
}

func round(f float64) float64 { return float64(int64(f*10+0.5)) / 10 }

func milliseconds(d time.Duration) float64 { return round(float64(d) / float64(time.Millisecond)) }

// answered is a latency in milliseconds; nil if no request was accepted.
func answered(d time.Duration) *float64 {
	if d == 0 {
		return nil
	}
	ms := milliseconds(d)
	return &ms
}
