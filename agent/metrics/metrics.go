package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"personasync/agent/ingest"
	syncer "personasync/sync"
)

// Bounds of the histograms, in seconds. A delivery is one fsync, 0.5 ms and more. A request to MoEngage is a round trip,
// given up after moengage.timeout.
var (
	ingestBuckets   = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	moengageBuckets = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
)

// Metrics are the counters that only the process knows. Counters that must survive a restart are read from the store at each
// scrape, see readings.
type Metrics struct {
	registry *prometheus.Registry

	ingested    *prometheus.CounterVec
	ingestTook  *prometheus.HistogramVec
	posted      *prometheus.CounterVec
	postTook    *prometheus.HistogramVec
	elements    *prometheus.CounterVec
	postedBytes prometheus.Counter
	errors      prometheus.Counter
}

// New makes the counters. What a scrape reads is added by Read.
func New() *Metrics {
	m := &Metrics{
		registry:    prometheus.NewPedanticRegistry(),
		ingested:    newCounters("personasync_ingest_requests_total"),
		ingestTook:  newHistograms("personasync_ingest_request_duration_seconds", ingestBuckets),
		posted:      newCounters("personasync_moengage_requests_total"),
		postTook:    newHistograms("personasync_moengage_request_duration_seconds", moengageBuckets),
		elements:    newCounters("personasync_moengage_elements_total"),
		postedBytes: newCounter("personasync_moengage_sent_bytes_total"),
		errors:      newCounter("personasync_scrape_errors_total"),
	}
	// A series that exists from the start has a rate from its first event.
	for _, kind := range []string{"users", "events"} {
		m.elements.WithLabelValues(kind)
	}
	for _, route := range []string{ingest.RouteWebhook, ingest.RouteTracking} {
		m.ingestTook.WithLabelValues(route)
		for _, code := range []string{"200", "400", "401", "413", "503"} {
			m.ingested.WithLabelValues(route, code)
		}
	}
	m.posted.WithLabelValues("accepted")
	m.postTook.WithLabelValues()
	m.registry.MustRegister(m.ingested, m.ingestTook, m.posted, m.postTook, m.elements, m.postedBytes, m.errors,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Read has every scrape read from a source. It is called once.
func (m *Metrics) Read(from Source) {
	m.registry.MustRegister(&readings{Source: from, desc: descriptions(), failed: m.errors})
}

// Handler answers GET /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4})
}

// Ingest counts one request of Segment's side.
func (m *Metrics) Ingest(route string, status int, took time.Duration) {
	m.ingested.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.ingestTook.WithLabelValues(route).Observe(took.Seconds())
}

// Post counts one request to MoEngage.
func (m *Metrics) Post(r syncer.Report) {
	m.posted.WithLabelValues(r.Code).Inc()
	m.postTook.WithLabelValues().Observe(r.Took.Seconds())
	m.elements.WithLabelValues("users").Add(float64(r.Users))
	m.elements.WithLabelValues("events").Add(float64(r.Events))
	m.postedBytes.Add(float64(r.Bytes))
}
