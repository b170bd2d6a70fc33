package metrics

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// parsed reads a page as Prometheus does.
func parsed(t *testing.T, p page) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(p.text()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, p.text())
	}
	return families
}

// TestLabelsOfAnyTextAreRead: people name computations as they like.
func TestLabelsOfAnyTextAreRead(t *testing.T) {
	keys := []string{"a \"b\"", `back\slash`, "two\nlines", `ends in \`, "größer ≥ 5 €", "{a=\"b\"} 7", ""}
	p := make(page)
	for i, key := range keys {
		p.add("personasync_computation_members", float64(i), key, "spa")
	}
	got := make(map[string]float64)
	for _, m := range parsed(t, p)["personasync_computation_members"].GetMetric() {
		got[m.Label[0].GetValue()] = m.GetGauge().GetValue()
	}
	for i, key := range keys {
		if got[key] != float64(i) {
			t.Errorf("of the key %q the value is %v, for %d", key, got[key], i)
		}
	}
	if len(got) != len(keys) {
		t.Errorf("%d keys are read, for %d", len(got), len(keys))
	}
}

// TestAHistogramCountsUpToItsBounds: a bucket holds the values no larger than its bound, and those of the buckets below.
func TestAHistogramCountsUpToItsBounds(t *testing.T) {
	h := newHistograms("personasync_ingest_request_duration_seconds", []float64{.5, 1, 2})
	for _, v := range []float64{.25, .5, .75, 1, 2, 4} {
		h.with("webhook").observe(v)
	}
	h.with("tracking")
	p := make(page)
	h.collect(p)
	metrics := parsed(t, p)[h.Name].GetMetric()
	if len(metrics) != 2 || metrics[0].Histogram.GetSampleCount() != 0 || metrics[0].Label[0].GetValue() != "tracking" {
		t.Fatalf("a route without requests is no series at zero: %v", metrics)
	}
	read := metrics[1].Histogram
	var cumulative []uint64
	for _, b := range read.Bucket {
		cumulative = append(cumulative, b.GetCumulativeCount())
	}
	if want := []uint64{2, 4, 5, 6}; len(cumulative) != 4 || [4]uint64(cumulative) != [4]uint64(want) {
		t.Errorf("buckets %v, for %v", cumulative, want)
	}
	if read.GetSampleCount() != 6 || read.GetSampleSum() != 8.5 {
		t.Errorf("%d values of together %v, for 6 of 8.5", read.GetSampleCount(), read.GetSampleSum())
	}
}

// TestAScrapeTellsOfTheProcess by the names that dashboards of Go programs use.
func TestAScrapeTellsOfTheProcess(t *testing.T) {
	p := make(page)
	process(p)
	families := parsed(t, p)
	for _, m := range usual {
		if families[m.Name] == nil {
			t.Errorf("no %s", m.Name)
		}
	}
	for _, name := range []string{"go_goroutines", "go_memstats_heap_inuse_bytes", "process_open_fds", "process_max_fds", "process_resident_memory_bytes"} {
		if m := families[name].GetMetric(); len(m) != 1 || m[0].GetGauge().GetValue() < 1 {
			t.Errorf("%s is %v", name, m)
		}
	}
	resident := families["process_resident_memory_bytes"].Metric[0].GetGauge().GetValue()
	if space := families["process_virtual_memory_bytes"].Metric[0].GetGauge().GetValue(); space < resident || resident < 1<<20 {
		t.Errorf("%v bytes in RAM of an address space of %v", resident, space)
	}
	if s := families["go_gc_duration_seconds"].GetMetric()[0].GetSummary(); len(s.GetQuantile()) != 5 {
		t.Errorf("pauses: %v", s)
	}
}

// TestMoreThanFourScrapesAtOnceAreRefused: each reads the store.
func TestMoreThanFourScrapesAtOnceAreRefused(t *testing.T) {
	reading, release := make(chan struct{}), make(chan struct{})
	h := answers(func(page) { reading <- struct{}{}; <-release })
	codes := make(chan int)
	scrape := func() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		codes <- w.Code
	}
	for range 4 {
		go scrape()
		<-reading
	}
	go scrape()
	if code := <-codes; code != http.StatusServiceUnavailable {
		t.Errorf("the fifth is answered %d", code)
	}
	close(release)
	for range 4 {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("one of four is answered %d", code)
		}
	}
}
