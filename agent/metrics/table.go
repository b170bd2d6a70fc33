package metrics

import "slices"

// Metric is one line of docs/metrics.md. No label ever holds a user id.
type Metric struct {
	Name   string
	Kind   string // counter | gauge | histogram | summary
	Labels []string
	Help   string
}

// maxLabelled is how many computations have metrics of their own: those with the most members.
// personasync_computations_unlabelled counts the others.
const maxLabelled = 200

// Table lists our metrics, in the order in which they are shown. Those of every Go program are in usual.
var Table = []Metric{
	{"personasync_build_info", "gauge", []string{"version", "goversion"}, "Always 1. The labels identify the build."},
	{"personasync_ready", "gauge", nil, "1 while events are accepted, as in /readyz."},
	{"personasync_condition", "gauge", []string{"name", "severity"}, "1 while a condition holds, as in `status`. docs/operating.md has a section for each. The alerts use it. With PostgreSQL an agent that receives for the writer shows those of its own process and `no_writer` alone."},

	{"personasync_store_writer", "gauge", nil, "With PostgreSQL: 1 of the agent that writes, 0 of one that receives for it. The sum over the agents is 1, but for a moment of a take-over."},
	{"personasync_store_term", "gauge", nil, "With PostgreSQL: the number of the term, which grows with each take-over; 0 while no agent writes."},
	{"personasync_store_doors", "gauge", nil, "With PostgreSQL: agents that are connected, the writer's too."},
	{"personasync_store_round_trip_seconds", "gauge", nil, "With PostgreSQL: how long one statement takes. Every transaction of the writer makes several."},
	{"personasync_store_horizon_age_seconds", "gauge", nil, "With PostgreSQL: age of the oldest open transaction, behind which removed rows keep their room."},

	{"personasync_ingest_requests_total", "counter", []string{"route", "code"}, "Requests received, by route (webhook, tracking, other, unread) and status of the answer."},
	{"personasync_ingest_request_duration_seconds", "histogram", []string{"route"}, "Duration of these requests, including the fsync."},
	{"personasync_requests_rejected_total", "counter", nil, "Requests refused for good, across restarts: every 4xx except 408, after which a request is sent again."},
	{"personasync_requests_refused_total", "counter", []string{"route", "status", "code", "delivery"}, "The same by route (webhook, tracking, other for a path that takes no events, or unread for what is no HTTP or too large to tell), status and code, across restarts. `delivery` says whether the request looked like a delivery, so that Segment discarded events."},
	{"personasync_events_received_total", "counter", nil, "Events written to disk and acknowledged, across restarts."},
	{"personasync_event_times_unread_total", "counter", nil, "Events with an unreadable time, for which the receipt or another time of the event was used. The log names each spelling once."},
	{"personasync_values_left_out_total", "counter", nil, "Values left out of events that were otherwise used: a number beyond a double (1e400), or a name with an unpaired surrogate. The log names each once."},
	{"personasync_events_settled_total", "counter", []string{"outcome"}, "Events applied, by outcome: transition, unchanged, duplicate, stale, ignored, discarded (parked, and then dropped, expired or forgotten)."},
	{"personasync_events_unapplied", "gauge", nil, "Received events that are not yet applied to the state."},

	{"personasync_changes_created_total", "counter", nil, "Changes created for MoEngage, across restarts."},
	{"personasync_changes_closed_total", "counter", []string{"outcome"}, "Completed changes: delivered, superseded, cancelled, dropped, expired, withheld, forgotten."},
	{"personasync_changes_open", "gauge", []string{"state"}, "Changes that are not completed: pending, held, parked."},
	{"personasync_oldest_pending_age_seconds", "gauge", nil, "Age of the oldest pending change since its receipt; 0 if none is pending. The most important metric to alert on."},
	{"personasync_parked", "gauge", []string{"cause"}, "Parked events and changes by reason code. Counted at most every 5 s. Beyond 400,000 the rest has the cause \"uncounted\"."},

	{"personasync_users", "gauge", nil, "Users with stored data."},
	{"personasync_history_bytes", "gauge", nil, "Size of the history of enters and exits in state.db. At history.max_bytes the oldest go first."},
	{"personasync_computations", "gauge", []string{"class"}, "Computations seen, by class."},
	{"personasync_computations_unlabelled", "gauge", nil, "Computations without their own metrics: only the 200 with the most members have them."},
	{"personasync_computation_members", "gauge", []string{"computation", "space"}, "Members of an audience."},
	{"personasync_computation_entered_total", "counter", []string{"computation", "space"}, "Enters of an audience, across restarts."},
	{"personasync_computation_exited_total", "counter", []string{"computation", "space"}, "Exits of an audience, across restarts."},
	{"personasync_computation_held", "gauge", []string{"computation", "space"}, "Held changes of a computation."},
	{"personasync_computation_held_rollout", "gauge", []string{"computation", "space"}, "Of these, changes of users whom a rollout does not reach."},
	{"personasync_computation_held_paused", "gauge", []string{"computation", "space"}, "Of these, changes that a pause of the computation holds."},
	{"personasync_computation_last_event_timestamp_seconds", "gauge", []string{"computation", "space"}, "Receipt of the newest event of a computation."},
	{"personasync_computation_sent_up_to_timestamp_seconds", "gauge", []string{"computation", "space"}, "Watermark: MoEngage accepted everything about a computation that was received before, except parked and held changes. It is no later than the newest event. It may be earlier than is true while thousands of users wait, and is missing while it is not known."},

	{"personasync_deletions", "gauge", []string{"state"}, "Deletes of users at MoEngage that are not completed: pending, held, parked."},
	{"personasync_deletions_failing", "gauge", nil, "1 while requests to delete users at MoEngage fail or are refused. The other endpoints are not affected."},
	{"personasync_deletion_oldest_pending_age_seconds", "gauge", nil, "Age of the oldest pending delete since its receipt; 0 if none is pending."},

	{"personasync_moengage_failing", "gauge", nil, "1 while requests to MoEngage fail."},
	{"personasync_moengage_stopped", "gauge", nil, "1 while everything is refused in a way that waiting does not fix, such as wrong credentials. One request a minute probes it."},
	{"personasync_moengage_requests_total", "counter", []string{"code"}, "Requests to MoEngage by code of the answer. `outbox explain-code` explains the codes."},
	{"personasync_moengage_request_duration_seconds", "histogram", nil, "Time until MoEngage answered or the request failed."},
	{"personasync_delivery_delay_seconds", "histogram", []string{"method"}, "Time from the receipt of an event until MoEngage accepted a change of it, by send method (attribute, event, cohort, list; delete for users to delete). An order such as an import counts from the moment it was given."},
	{"personasync_moengage_elements_total", "counter", []string{"kind"}, "Users (attribute elements) and events in these requests, including retries."},
	{"personasync_moengage_sent_bytes_total", "counter", nil, "Bytes in the bodies of these requests."},
	{"personasync_moengage_limit_per_minute", "gauge", []string{"kind"}, "The configured limits: moengage.users_per_minute and events_per_minute."},
	{"personasync_moengage_used_last_minute", "gauge", []string{"kind"}, "Part of these limits used in the last minute."},

	{"personasync_verify_compared_users", "gauge", []string{"computation"}, "Users that the last verification of a computation compared, for the 200 computations that differ most."},
	{"personasync_verify_differing_users", "gauge", []string{"computation"}, "Users among these with another value at MoEngage than the last sent value."},
	{"personasync_verify_last_timestamp_seconds", "gauge", []string{"computation"}, "Time at which that verification ended."},
	{"personasync_verify_failed", "gauge", []string{"computation"}, "1 if the last verification failed, for example because MoEngage refuses to read users back. It then proves nothing, and the other values keep the earlier differences. `status` has the code."},

	{"personasync_backup_age_seconds", "gauge", nil, "Age of the last scheduled backup that was proven by a restore. Absent without [backup], and before the first."},
	{"personasync_backup_bytes", "gauge", nil, "Size of that backup."},
	{"personasync_backup_failed", "gauge", nil, "1 if the last scheduled backup failed. Absent without [backup]."},

	{"personasync_notify_messages_total", "counter", []string{"receiver", "result"}, "Messages to a receiver of notifications (url, command), and requests of the heartbeat, since the start: sent, or failed (each attempt)."},
	{"personasync_notify_failing", "gauge", []string{"receiver"}, "1 while a receiver takes no message, or the heartbeat is not answered."},

	{"personasync_disk_free_bytes", "gauge", nil, "Free space in the file system of data_dir."},
	{"personasync_disk_reserve_bytes", "gauge", nil, "Reserve of free space. With less, events are refused with 503, so that pending work can still be stored."},
	{"personasync_data_bytes", "gauge", nil, "Size of the data: received events and state.db, without files kept aside."},
	{"personasync_data_limit_bytes", "gauge", nil, "retention.max_data_bytes, or 0 without a limit. Events are refused at nine tenths of it."},
	{"personasync_inbox_bytes", "gauge", nil, "Size of the received events."},
	{"personasync_state_bytes", "gauge", nil, "Size of state.db."},
	{"personasync_state_live_bytes", "gauge", nil, "Size of state.db after a compaction."},

	{"personasync_job_next_run_timestamp_seconds", "gauge", []string{"job"}, "Next run of a scheduled job."},
	{"personasync_job_last_run_timestamp_seconds", "gauge", []string{"job"}, "Scheduled time of the last run that began."},
	{"personasync_job_failed", "gauge", []string{"job"}, "1 if the last completed run of a scheduled job failed. `personasync schedule` has the code."},
	{"personasync_job_failed_runs_total", "counter", []string{"job"}, "Runs that ended with an error, across restarts."},
	{"personasync_job_missed_runs_total", "counter", []string{"job"}, "Runs that fell into downtime or into the previous run."},
	{"personasync_config_reload_refused", "gauge", nil, "1 if the last reload was refused, so that the previous configuration is used. `status` says why."},
	{"personasync_log_lines_dropped_total", "counter", nil, "Log lines lost because the reader of the log was too slow. Nothing else is affected."},
	{"personasync_scrape_errors_total", "counter", nil, "Scrapes that the store did not answer."},
}

// described finds a metric, of ours or of every Go program.
func described(name string) Metric {
	is := func(m Metric) bool { return m.Name == name }
	if i := slices.IndexFunc(Table, is); i >= 0 {
		return Table[i]
	}
	if i := slices.IndexFunc(usual, is); i >= 0 {
		return usual[i]
	}
	panic("metric " + name + " is not in Table")
}
