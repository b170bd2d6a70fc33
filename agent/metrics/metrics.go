package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"personasync/agent/ingest"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// Bounds of the histograms, in seconds. A delivery is one fsync, 0.5 ms and more. A request to MoEngage is a round trip,
// given up after moengage.timeout. A delay has a schedule or an outage in it.
var (
	ingestBuckets   = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	delayBuckets    = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}
	moengageBuckets = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
)

// methods are the values of the label method.
var methods = [...]string{
	domain.KindAttribute: "attribute", domain.KindEvent: "event", domain.KindCohort: "cohort", domain.KindList: "list", domain.KindDelete: "delete",
}

// Metrics are the counters that only the process knows. Counters that must survive a restart are read from the store at each
// scrape, see readings.
type Metrics struct {
	registry *prometheus.Registry

	ingested    *prometheus.CounterVec
	ingestTook  *prometheus.HistogramVec
	posted      *prometheus.CounterVec
	postTook    *prometheus.HistogramVec
	delays      [len(methods)]prometheus.Observer // by domain.Kind
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
	delays := newHistograms("personasync_delivery_delay_seconds", delayBuckets)
	for kind, method := range methods {
		if method != "" {
			m.delays[kind] = delays.WithLabelValues(method)
		}
	}
	m.posted.WithLabelValues("accepted")
	m.postTook.WithLabelValues()
	m.registry.MustRegister(m.ingested, m.ingestTook, m.posted, m.postTook, delays, m.elements, m.postedBytes, m.errors,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Read has every scrape read from a source. It is called once.
func (m *Metrics) Read(from Source) {
	m.registry.MustRegister(&readings{Source: from, desc: descriptions(), failed: m.errors})
}

// Waiting answers GET /metrics for an agent whose store cannot be opened yet: that it accepts no events, and that its store
// gives no answer.
func Waiting(version string) http.Handler {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&waiting{version, descriptions()})
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
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

// Accepted counts one change that MoEngage accepted, by the time since its receipt.
func (m *Metrics) Accepted(kind domain.Kind, delay time.Duration) {
	m.delays[kind].Observe(max(delay, 0).Seconds()) // below zero after the clock was set back
}
