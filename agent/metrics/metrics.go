package metrics

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"personasync/agent/ingest"
	"personasync/store"
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

// Metrics are the counters that only the process knows, and what else a scrape reads. Counters that must survive a restart
// are the store's.
type Metrics struct {
	source *Source // nil: only the counters are shown

	ingested    *counters
	ingestTook  *histograms
	posted      *counters
	postTook    *histograms
	delays      *histograms
	delayOf     [len(methods)]*histogram // those of delays, by domain.Kind
	elements    *counters
	postedBytes *counters
	errors      *counters // scrapes to which the store gave no answer
}

// New makes the counters. What a scrape reads is added by Read.
func New() *Metrics {
	m := &Metrics{
		ingestTook:  newHistograms("personasync_ingest_request_duration_seconds", ingestBuckets),
		posted:      newCounters("personasync_moengage_requests_total", [2]string{"accepted"}),
		postTook:    newHistograms("personasync_moengage_request_duration_seconds", moengageBuckets),
		delays:      newHistograms("personasync_delivery_delay_seconds", delayBuckets),
		elements:    newCounters("personasync_moengage_elements_total", [2]string{"users"}, [2]string{"events"}),
		postedBytes: newCounters("personasync_moengage_sent_bytes_total", [2]string{}),
		errors:      newCounters("personasync_scrape_errors_total", [2]string{}),
	}
	var codes [][2]string
	for _, route := range []string{ingest.RouteWebhook, ingest.RouteTracking} {
		m.ingestTook.with(route)
		for _, code := range []string{"200", "400", "401", "413", "503"} {
			codes = append(codes, [2]string{route, code})
		}
	}
	m.ingested = newCounters("personasync_ingest_requests_total", codes...)
	for kind, method := range methods {
		if method != "" {
			m.delayOf[kind] = m.delays.with(method)
		}
	}
	m.postTook.with("")
	return m
}

// Read has every scrape read from a source. It is called once, before Handler answers.
func (m *Metrics) Read(from Source) { m.source = &from }

// Waiting answers GET /metrics for an agent whose store cannot be opened yet: that it accepts no events, and that its store
// gives no answer.
func Waiting(version string) http.Handler {
	return answers(func(p page) {
		p.add("personasync_build_info", 1, version, runtime.Version())
		p.truth("personasync_ready", false)
		p.conditions(nil, store.ErrNoData, true)
	})
}

// Handler answers GET /metrics.
func (m *Metrics) Handler() http.Handler {
	return answers(func(p page) {
		if m.source != nil && !(&reading{m.source, p}).all() {
			m.errors.add(1)
		}
		for _, c := range []interface{ collect(page) }{
			m.ingested, m.ingestTook, m.posted, m.postTook, m.delays, m.elements, m.postedBytes, m.errors,
		} {
			c.collect(p)
		}
		process(p)
	})
}

// Ingest counts one request of Segment's side.
func (m *Metrics) Ingest(route string, status int, took time.Duration) {
	m.ingested.add(1, route, strconv.Itoa(status))
	m.ingestTook.with(route).observe(took.Seconds())
}

// Post counts one request to MoEngage.
func (m *Metrics) Post(r syncer.Report) {
	m.posted.add(1, r.Code)
	m.postTook.with("").observe(r.Took.Seconds())
	m.elements.add(r.Users, "users")
	m.elements.add(r.Events, "events")
	m.postedBytes.add(r.Bytes)
}

// Accepted counts one change that MoEngage accepted, by the time since its receipt.
func (m *Metrics) Accepted(kind domain.Kind, delay time.Duration) {
	m.delayOf[kind].observe(max(delay, 0).Seconds()) // below zero after the clock was set back
}
