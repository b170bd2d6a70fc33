package metrics

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"strconv"
	"time"

	"personasync/scheduler"
	syncer "personasync/sync"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/agent/ingest"
	"personasync/store"
	"personasync/store/domain"
)

// Source is what a scrape reads.
type Source struct {
	Version        string
	Config         func() *config.Config
	Store          *store.Store
	Inspect        api.Inspector
	Ingest         *ingest.Handler
	Plan           func() []scheduler.Planned
	Health         func() syncer.Health
	Deleting       func() syncer.Health // of the endpoint of deletes
	Unready        func() string        // "": events are being accepted
	Refused        func() *condition.RefusedReload
	LinesDropped   func() uint64            // of the log
	ParkedByReason func() map[string]uint64 // by reason code
	Receivers      func() []condition.Receiver
}

// reading is one scrape of a source.
type reading struct {
	*Source
	page
}

// all adds every metric of the source. It returns false if the store did not answer; its metrics are left out then.
func (c *reading) all() (answered bool) {
	c.agent()
	c.space(c.Store.Space())
	c.jobs()
	c.gauge("personasync_build_info", 1, c.Version, runtime.Version())
	status, err := c.Inspect.Status(context.Background())
	c.conditions(status.Conditions, err, !c.Store.Role().Writer)
	if err != nil {
		return false
	}
	c.backup(status.Backup)
	c.shared(status.Store)
	sent, err := c.Store.Sent(time.Now().Add(-time.Minute))
	if err != nil {
		return false
	}
	c.used(sent)
	counts, err := c.Store.Counts()
	if err != nil {
		return false
	}
	c.counts(&counts, time.Now())
	list, err := c.Store.Watermarked()
	if err != nil {
		return false
	}
	c.computations(list)
	verified, err := c.Store.Verifications()
	if err == nil {
		verified, err = condition.Standing(verified, list, c.Store.SendsAttributes)
	}
	if err != nil {
		return false
	}
	c.verifications(verified)
	return true
}

func (p page) gauge(name string, v float64, values ...string) { p.add(name, v, values...) }

func (p page) counter(name string, v uint64, values ...string) { p.add(name, float64(v), values...) }

func (p page) truth(name string, v bool, values ...string) {
	if v {
		p.add(name, 1, values...)
		return
	}
	p.add(name, 0, values...)
}

// conditions says of each condition, in each severity that it can have, whether it holds. A door leaves those to the
// writer that are not its own.
func (p page) conditions(hold []condition.Condition, unread error, door bool) {
	if unread != nil {
		hold = []condition.Condition{{Name: condition.Unreadable, Severity: condition.Critical}}
	}
	for _, k := range condition.Kinds {
		if door && !condition.OfDoor(k.Name) {
			continue
		}
		for _, severity := range k.Severities {
			p.truth("personasync_condition", slices.ContainsFunc(hold, func(h condition.Condition) bool {
				return h.Name == k.Name && h.Severity == severity
			}), k.Name, severity)
		}
	}
}

// shared says of a store that several agents share what its server does.
func (c *reading) shared(s *condition.Store) {
	if s == nil {
		return
	}
	c.truth("personasync_store_writer", s.Role == "writer")
	if s.Error == "" {
		c.gauge("personasync_store_term", float64(s.Term))
		c.gauge("personasync_store_doors", float64(len(s.Doors)))
		c.gauge("personasync_store_round_trip_seconds", s.RoundTrip)
		c.gauge("personasync_store_horizon_age_seconds", s.HorizonAge)
	}
}

// agent reads what the agent itself knows, without the store.
func (c *reading) agent() {
	health := c.Health()
	c.truth("personasync_config_reload_refused", c.Refused() != nil)
	c.counter("personasync_log_lines_dropped_total", c.LinesDropped())
	c.truth("personasync_ready", c.Unready() == "")
	c.truth("personasync_deletions_failing", c.Deleting().State == "failing")
	c.truth("personasync_moengage_failing", health.State == "failing")
	c.truth("personasync_moengage_stopped", health.State == "failing" && health.Stopped)
	m := c.Config().MoEngage
	c.gauge("personasync_moengage_limit_per_minute", float64(m.UsersPerMinute), "users")
	c.gauge("personasync_moengage_limit_per_minute", float64(m.EventsPerMinute), "events")
	for _, to := range c.Receivers() {
		c.counter("personasync_notify_messages_total", to.Sent, to.Name, "sent")
		c.counter("personasync_notify_messages_total", to.Failed, to.Name, "failed")
		c.truth("personasync_notify_failing", to.Failures > 0, to.Name)
	}
	for cause, n := range c.ParkedByReason() {
		c.gauge("personasync_parked", float64(n), cause)
	}
}

func (c *reading) used(sent []domain.SentSecond) {
	var used condition.Sent
	for _, s := range sent {
		used.Users, used.Events = used.Users+s.Users, used.Events+s.Events
	}
	c.gauge("personasync_moengage_used_last_minute", float64(used.Users), "users")
	c.gauge("personasync_moengage_used_last_minute", float64(used.Events), "events")
}

func (c *reading) space(s store.Space) {
	c.gauge("personasync_disk_free_bytes", float64(s.FreeBytes))
	c.gauge("personasync_disk_reserve_bytes", float64(s.FloorBytes))
	c.gauge("personasync_data_bytes", float64(s.DataBytes))
	c.gauge("personasync_data_limit_bytes", float64(s.MaxDataBytes))
	c.gauge("personasync_inbox_bytes", float64(s.InboxBytes))
	c.gauge("personasync_state_bytes", float64(s.StateBytes))
	c.gauge("personasync_state_live_bytes", float64(s.LiveBytes))
}

func (c *reading) backup(b *condition.Backup) {
	if b == nil {
		return
	}
	c.truth("personasync_backup_failed", b.FailedAt != "")
	if b.Made != "" {
		c.gauge("personasync_backup_age_seconds", float64(b.AgeS))
		c.gauge("personasync_backup_bytes", float64(b.Bytes))
	}
}

func (c *reading) jobs() {
	for _, p := range c.Plan() {
		if !p.Next.IsZero() {
			c.gauge("personasync_job_next_run_timestamp_seconds", float64(p.Next.Unix()), p.Job)
		}
		if !p.Last.Started.IsZero() {
			c.gauge("personasync_job_last_run_timestamp_seconds", float64(p.Last.Started.Unix()), p.Job)
		}
		c.truth("personasync_job_failed", !p.Last.FailedAt.IsZero(), p.Job)
		c.counter("personasync_job_failed_runs_total", p.Last.Failed, p.Job)
		c.counter("personasync_job_missed_runs_total", p.Last.Missed, p.Job)
	}
}

func (c *reading) counts(n *domain.Counts, now time.Time) {
	c.counter("personasync_requests_rejected_total", n.Rejected)
	for i := range n.Refusals {
		if r := &n.Refusals[i]; r.Route != "" {
			c.counter("personasync_requests_refused_total", r.Count, r.Route, strconv.Itoa(r.Status), r.Code, strconv.FormatBool(r.Delivery))
		}
	}
	c.counter("personasync_events_received_total", n.Received)
	c.gauge("personasync_events_unapplied", float64(n.Unapplied))
	c.counter("personasync_event_times_unread_total", c.Ingest.TimesUnread())
	c.counter("personasync_values_left_out_total", c.Ingest.ValuesLeftOut())
	e := &n.Events
	for outcome, v := range map[string]uint64{
		"transition": e.Transitions, "unchanged": e.Unchanged, "duplicate": e.Duplicate,
		"stale": e.Stale, "ignored": e.Ignored, "discarded": e.Discarded,
	} {
		c.counter("personasync_events_settled_total", v, outcome)
	}
	c.counter("personasync_changes_created_total", n.Changes.Created)
	ch := &n.Changes
	for outcome, v := range map[string]uint64{
		"delivered": ch.Delivered, "superseded": ch.Superseded, "cancelled": ch.Cancelled,
		"dropped": ch.Dropped, "expired": ch.Expired, "withheld": ch.Withheld, "forgotten": ch.Forgotten,
	} {
		c.counter("personasync_changes_closed_total", v, outcome)
	}
	c.gauge("personasync_changes_open", float64(ch.Pending), "pending")
	c.gauge("personasync_changes_open", float64(ch.Held), "held")
	c.gauge("personasync_changes_open", float64(ch.Parked), "parked")
	d := &n.Deletions
	c.gauge("personasync_deletions", float64(d.Pending), "pending")
	c.gauge("personasync_deletions", float64(d.Held), "held")
	c.gauge("personasync_deletions", float64(d.Parked), "parked")
	c.gauge("personasync_deletion_oldest_pending_age_seconds", float64(condition.Age(d.Oldest, time.Now())))
	c.gauge("personasync_oldest_pending_age_seconds", float64(condition.Age(n.OldestPending, now)))
	c.gauge("personasync_users", float64(n.Users))
	c.gauge("personasync_history_bytes", float64(n.Journal))
}

func (c *reading) computations(list []domain.ComputationInfo) {
	classes := make(map[string]int)
	for _, info := range list {
		classes[info.Class]++
	}
	for class, n := range classes {
		c.gauge("personasync_computations", float64(n), class)
	}
	list = labelled(list)
	left := -len(list)
	for _, n := range classes {
		left += n
	}
	c.gauge("personasync_computations_unlabelled", float64(left))
	for _, info := range list {
		c.computation(info)
	}
}

// labelled picks the computations that have metrics of their own: those with the most members, and of
// several with one key in one space, whose ids differ, the first alone.
func labelled(list []domain.ComputationInfo) (picked []domain.ComputationInfo) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b domain.ComputationInfo) int { return cmp.Compare(b.Members, a.Members) })
	seen := make(map[[2]string]bool)
	for _, info := range list {
		name := [2]string{info.Key, info.Space}
		if len(picked) < maxLabelled && !seen[name] && info.Key != "" {
			seen[name] = true
			picked = append(picked, info)
		}
	}
	return picked
}

// verifications shows those that failed or differ most, one for each key.
func (c *reading) verifications(list []store.Verification) {
	slices.SortStableFunc(list, func(a, b store.Verification) int {
		return cmp.Or(-cmp.Compare(min(len(a.Code), 1), min(len(b.Code), 1)), cmp.Compare(b.Differ, a.Differ))
	})
	seen := make(map[string]bool)
	for _, v := range list {
		if v.Key == "" || seen[v.Key] || len(seen) == maxLabelled {
			continue
		}
		seen[v.Key] = true
		c.gauge("personasync_verify_compared_users", float64(v.Compared), v.Key)
		c.gauge("personasync_verify_differing_users", float64(v.Differ), v.Key)
		c.gauge("personasync_verify_last_timestamp_seconds", float64(v.At.Unix()), v.Key)
		c.truth("personasync_verify_failed", v.Code != "", v.Key)
	}
}

// moment reports a time as people read it, and nothing where there is none.
func (c *reading) moment(name, text string, labels ...string) {
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		c.gauge(name, float64(at.UnixMilli())/1000, labels...)
	}
}

func (c *reading) computation(info domain.ComputationInfo) {
	labels := []string{info.Key, info.Space}
	if info.Class != domain.ClassTrait.String() {
		c.gauge("personasync_computation_members", float64(info.Members), labels...)
		c.counter("personasync_computation_entered_total", info.Entered, labels...)
		c.counter("personasync_computation_exited_total", info.Exited, labels...)
	}
	c.gauge("personasync_computation_held", float64(info.Held), labels...)
	if info.Rollout == nil {
		info.Rollout = new(domain.RolloutInfo)
	}
	c.gauge("personasync_computation_held_rollout", float64(info.Rollout.Held), labels...)
	c.gauge("personasync_computation_held_paused", float64(info.HeldPaused), labels...)
	c.moment("personasync_computation_last_event_timestamp_seconds", info.LastEvent, labels...)
	c.moment("personasync_computation_sent_up_to_timestamp_seconds", info.SentUpTo, labels...)
}
