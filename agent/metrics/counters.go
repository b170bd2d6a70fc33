package metrics

import (
	"maps"
	"slices"
	"sort"
	"strconv"
	"sync"
)

// counters count by the values of at most two labels. They may be used concurrently.
type counters struct {
	Metric
	mu sync.Mutex
	of map[[2]string]uint64
}

// newCounters begins with series at zero: one that exists from the start has a rate from its first event.
func newCounters(name string, zero ...[2]string) *counters {
	c := &counters{Metric: described(name), of: make(map[[2]string]uint64)}
	for _, values := range zero {
		c.of[values] = 0
	}
	return c
}

func (c *counters) add(n int, values ...string) {
	var key [2]string
	copy(key[:], values)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[key] += uint64(n)
}

func (c *counters) collect(p page) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, n := range c.of {
		p.add(c.Name, float64(n), key[:len(c.Labels)]...)
	}
}

// histograms are one for each value of at most one label. They may be used concurrently.
type histograms struct {
	Metric
	bounds []float64 // ascending; a value is in the first bucket whose bound is no smaller
	mu     sync.Mutex
	of     map[string]*histogram
}

func newHistograms(name string, bounds []float64) *histograms {
	return &histograms{Metric: described(name), bounds: bounds, of: make(map[string]*histogram)}
}

// with is the histogram of a label's value, or of "" where there is no label. It exists from then on.
func (h *histograms) with(value string) *histogram {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of[value] == nil {
		h.of[value] = &histogram{bounds: h.bounds, buckets: make([]uint64, len(h.bounds)+1)}
	}
	return h.of[value]
}

func (h *histograms) collect(p page) {
	h.mu.Lock()
	defer h.mu.Unlock()
	withBound := append(slices.Clip(h.Labels), "le")
	for _, value := range slices.Sorted(maps.Keys(h.of)) {
		values := []string{value}[:len(h.Labels)]
		buckets, sum := h.of[value].read()
		var n uint64
		for i, in := range buckets {
			n += in
			bound := "+Inf"
			if i < len(h.bounds) {
				bound = strconv.FormatFloat(h.bounds[i], 'g', -1, 64)
			}
			p.addPart(h.Metric, "_bucket", withBound, append(values, bound), float64(n))
		}
		p.addPart(h.Metric, "_sum", h.Labels, values, sum)
		p.addPart(h.Metric, "_count", h.Labels, values, float64(n))
	}
}

// histogram may be used concurrently.
type histogram struct {
	bounds  []float64
	mu      sync.Mutex
	buckets []uint64 // one more than bounds: the last is of values above them all
	sum     float64
}

func (h *histogram) observe(v float64) {
	i := sort.SearchFloat64s(h.bounds, v)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buckets[i]++
	h.sum += v
}

// read copies the buckets, so that their count and their sum are of the same moment.
func (h *histogram) read() (buckets []uint64, sum float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.buckets), h.sum
}
