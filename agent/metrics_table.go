package agent

import "github.com/prometheus/client_golang/prometheus"

// metric is one line of docs/metrics.md. No label ever holds a user id.
type metric struct {
	name   string
	kind   string // counter | gauge | histogram
	labels []string
	help   string
}

// maxLabelled is how many computations have metrics of their own: those with the most members. Beyond,
// personasync_computations_unlabelled says how many are left out.
const maxLabelled = 200

// metricTable is every metric of ours. Those of the Go runtime and of the process come beside them.
var metricTable = []metric{
	{"personasync_build_info", "gauge", []string{"version", "goversion"}, "1; the labels say which build runs."},
	{"personasync_ready", "gauge", nil, "1 while events are being accepted, as /readyz says."},
	{"personasync_condition", "gauge", []string{"name", "severity"}, "1 while a condition holds, as `status` tells of it: docs/operating.md has a page for each. Alerts go by it."},

	{"personasync_ingest_requests_total", "counter", []string{"route", "code"}, "Requests that Segment's side made, by route (webhook, tracking, other) and status of the answer."},
	{"personasync_ingest_request_duration_seconds", "histogram", []string{"route"}, "How long they took, the fsync included."},
	{"personasync_requests_rejected_total", "counter", nil, "Requests refused at the door for good (every 4xx but 408, which is sent again), over restarts."},
	{"personasync_requests_refused_total", "counter", []string{"route", "status", "code", "delivery"}, "The same by route (webhook, tracking, other: a path that takes no events), status, code, and whether they looked like deliveries, so that Segment discarded events. Over restarts."},
	{"personasync_events_received_total", "counter", nil, "Events put on disk and acknowledged, over restarts."},
	{"personasync_event_times_unread_total", "counter", nil, "Events with a time that cannot be read: their receipt, or another time of theirs, was taken. The log names each spelling once."},
	{"personasync_values_left_out_total", "counter", nil, "Values that were left out of events, whose other values count: a number beyond a double (1e400), or a name with half a character. The log names each once."},
	{"personasync_events_settled_total", "counter", []string{"outcome"}, "Events applied, by what they came to: transition, unchanged, duplicate, stale, ignored, discarded (parked, and then dropped, expired or forgotten)."},
	{"personasync_events_unapplied", "gauge", nil, "Records received that the state does not know yet."},

	{"personasync_changes_created_total", "counter", nil, "Changes that MoEngage should be told, over restarts."},
	{"personasync_changes_closed_total", "counter", []string{"outcome"}, "Changes that are over: delivered, superseded, cancelled, dropped, expired, forgotten."},
	{"personasync_changes_open", "gauge", []string{"state"}, "Changes that are not over: pending, held, parked."},
	{"personasync_oldest_pending_age_seconds", "gauge", nil, "How long the oldest pending change has waited since its receipt; 0 when nothing waits. The one to alert on."},
	{"personasync_parked", "gauge", []string{"cause"}, "Parked events and changes by reason code, counted again at most every 5 s; beyond 400,000 the rest has the cause \"uncounted\"."},

	{"personasync_users", "gauge", nil, "Users that something is known of."},
	{"personasync_computations", "gauge", []string{"class"}, "Computations seen, by class."},
	{"personasync_computations_unlabelled", "gauge", nil, "Computations without metrics of their own: only the 200 with the most members have them."},
	{"personasync_computation_members", "gauge", []string{"computation", "space"}, "Members of an audience."},
	{"personasync_computation_entered_total", "counter", []string{"computation", "space"}, "Enters of an audience, over restarts."},
	{"personasync_computation_exited_total", "counter", []string{"computation", "space"}, "Exits of an audience, over restarts."},
	{"personasync_computation_held", "gauge", []string{"computation", "space"}, "Changes of a computation that are held."},
	{"personasync_computation_last_event_timestamp_seconds", "gauge", []string{"computation", "space"}, "When the newest event about a computation was received: a computation that fell silent grows stale."},

	{"personasync_moengage_failing", "gauge", nil, "1 while MoEngage does not take requests."},
	{"personasync_moengage_stopped", "gauge", nil, "1 while everything is refused in a way that waiting does not cure, such as wrong credentials; one request a minute tries."},
	{"personasync_moengage_requests_total", "counter", []string{"code"}, "Requests to MoEngage by code of the answer, as `outbox explain-code` explains them."},
	{"personasync_moengage_request_duration_seconds", "histogram", nil, "How long MoEngage took to answer, failures included."},
	{"personasync_moengage_elements_total", "counter", []string{"kind"}, "Users (attribute elements) and events in those requests, tried again ones included."},
	{"personasync_moengage_sent_bytes_total", "counter", nil, "Bytes of the bodies of those requests."},
	{"personasync_moengage_limit_per_minute", "gauge", []string{"kind"}, "The limits configured: moengage.users_per_minute and events_per_minute."},
	{"personasync_moengage_used_last_minute", "gauge", []string{"kind"}, "How much of them the last minute used."},

	{"personasync_verify_compared_users", "gauge", []string{"computation"}, "Users whom the last verification of a computation read back from MoEngage and compared. Those of the 200 computations that differ most."},
	{"personasync_verify_differing_users", "gauge", []string{"computation"}, "Of those, the users of whom MoEngage does not hold what it was told."},
	{"personasync_verify_last_timestamp_seconds", "gauge", []string{"computation"}, "When that verification ended."},
	{"personasync_verify_failed", "gauge", []string{"computation"}, "1 when the last verification failed, as when MoEngage refuses to read users back: then it proves nothing, and differences found before it stay in the other values. `status` has the code."},

	{"personasync_disk_free_bytes", "gauge", nil, "Free on the file system of data_dir."},
	{"personasync_disk_reserve_bytes", "gauge", nil, "Below so much free, events are refused with 503: it is for bookkeeping."},
	{"personasync_data_bytes", "gauge", nil, "What the data takes: the received events and state.db. Files kept aside are not counted."},
	{"personasync_data_limit_bytes", "gauge", nil, "retention.max_data_bytes; 0 without a limit. Events are refused at nine tenths of it."},
	{"personasync_inbox_bytes", "gauge", nil, "Of that, received events."},
	{"personasync_state_bytes", "gauge", nil, "Of that, state.db."},
	{"personasync_state_live_bytes", "gauge", nil, "What a compaction would leave of state.db."},

	{"personasync_job_next_run_timestamp_seconds", "gauge", []string{"job"}, "When a scheduled job runs next."},
	{"personasync_job_last_run_timestamp_seconds", "gauge", []string{"job"}, "The scheduled time of its last run that began."},
	{"personasync_job_failed", "gauge", []string{"job"}, "1 when the last run of a scheduled job that ended failed. `personasync schedule` has the code."},
	{"personasync_job_failed_runs_total", "counter", []string{"job"}, "Runs that ended with an error, over restarts."},
	{"personasync_job_missed_runs_total", "counter", []string{"job"}, "Runs that fell into downtime, or into the run before."},
	{"personasync_config_reload_refused", "gauge", nil, "1 while the last reload was refused, so that the configuration of before goes on; status says why."},
	{"personasync_log_lines_dropped_total", "counter", nil, "Lines of the log that were lost because nobody read it; work goes on without them."},
	{"personasync_scrape_errors_total", "counter", nil, "Scrapes to which the store gave no answer."},
}

// described finds a line of metricTable.
func described(name string) metric {
	for _, m := range metricTable {
		if m.name == name {
			return m
		}
	}
	panic("metric " + name + " is not in metricTable")
}

// descriptions of what is read at a scrape.
func descriptions() map[string]*prometheus.Desc {
	d := make(map[string]*prometheus.Desc, len(metricTable))
	for _, m := range metricTable {
		d[m.name] = prometheus.NewDesc(m.name, m.help, m.labels, nil)
	}
	return d
}

func (m metric) opts() prometheus.Opts { return prometheus.Opts{Name: m.name, Help: m.help} }

func newCounters(name string) *prometheus.CounterVec {
	m := described(name)
	return prometheus.NewCounterVec(prometheus.CounterOpts(m.opts()), m.labels)
}

func newCounter(name string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts(described(name).opts()))
}

func newHistograms(name string, buckets []float64) *prometheus.HistogramVec {
	m := described(name)
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: m.name, Help: m.help, Buckets: buckets}, m.labels)
}
