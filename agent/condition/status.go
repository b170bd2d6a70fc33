package condition

import (
	"time"

	"personasync/agent/config"
	"personasync/agent/ingest"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
)

// Status is the agent on one screen. Its JSON names are part of the contract with the outside: more
// may be added, none is changed.
type Status struct {
	Ready   bool   `json:"ready"`
	Unready string `json:"unready"` // why not; empty when ready
	Version string `json:"version"`
	UptimeS int64  `json:"uptime_s"`

	Received       uint64           `json:"received"`
	Rejected       uint64           `json:"rejected"`
	Refusals       []domain.Refusal `json:"refusals"`      // the rejected requests by kind, the most frequent first
	Heard          *time.Time       `json:"last_received"` // receipt of the newest event applied; null before the first
	Intake         *ingest.Intake   `json:"intake"`        // what came lately; null of a stopped agent
	Unapplied      uint64           `json:"unapplied"`
	Pending        uint64           `json:"pending"`
	Held           uint64           `json:"held"`
	Parked         uint64           `json:"parked"` // events and changes together
	Delivered      uint64           `json:"delivered"`
	OldestPendingS int64            `json:"oldest_pending_s"`
	OldestPending  *time.Time       `json:"oldest_pending"` // its receipt, to the second; null when nothing is pending
	Users          uint64           `json:"users"`
	Audiences      uint64           `json:"audiences"`

	SentLastMinute Sent       `json:"sent_last_minute"`
	NextFlush      *time.Time `json:"next_flush"` // of a cron; null when none is planned
	Drain          *Drain     `json:"drain"`      // null when nothing is pending

	Events   domain.EventLedger  `json:"events"`
	Changes  domain.ChangeLedger `json:"changes"`
	MoEngage Reachability        `json:"moengage"`

	Guard     []GuardedAudience `json:"guard"`     // whose exits the guard holds
	Staleness []Staleness       `json:"staleness"` // of every computation seen
	Verify    *VerifyStatus     `json:"verify"`    // null when nothing was ever verified

	FailedJobs []FailedJob `json:"failed_jobs"` // scheduled jobs whose last run that ended failed

	// Salvages are the damaged files that were made anew and are still kept aside; removing one says that
	// it was looked at.
	Salvages []store.Salvage `json:"salvages"`

	// Conditions are what an operator should know of, the most severe first; docs/operating.md has a page
	// for each.
	Conditions []Condition `json:"conditions"`

	Expiring *store.Expiring `json:"expiring"` // of what is parked, within a week; null when nothing is
}

// Staleness is how long no event of a computation has come. Silent says that it is worth a look: nothing
// for two days, while Segment sends something of the others. It computes once a day at the least.
type Staleness struct {
	Key       string `json:"key"`
	ID        string `json:"id"`
	LastEvent string `json:"last_event"`
	AgeS      int64  `json:"age_s"`
	Silent    bool   `json:"silent"`
}

const silentAfter = 48 * time.Hour

// StalenessOf says of each computation how long nothing came of it.
func StalenessOf(list []domain.ComputationInfo, now time.Time) []Staleness {
	all, freshest := []Staleness{}, time.Time{}
	for _, c := range list {
		if at, err := time.Parse(time.RFC3339Nano, c.LastEvent); err == nil {
			all = append(all, Staleness{Key: c.Key, ID: c.ID, LastEvent: c.LastEvent, AgeS: Age(at, now)})
			if at.After(freshest) {
				freshest = at
			}
		}
	}
	for i := range all {
		all[i].Silent = all[i].AgeS > int64(silentAfter/time.Second) && Age(freshest, now) < int64(silentAfter/time.Second)
	}
	return all
}

// GuardedAudience is an audience that too many members left at once. Held counts its changes that wait
// for an operator, for whatever reason.
type GuardedAudience struct {
	Key   string `json:"key"`
	ID    string `json:"id"`
	Held  uint64 `json:"held"`
	Since string `json:"since"`
}

// Guarded lists the audiences of which the guard holds exits.
func Guarded(list []domain.ComputationInfo) []GuardedAudience {
	held := []GuardedAudience{}
	for _, c := range list {
		if c.ExitsHeldSince != "" {
			held = append(held, GuardedAudience{c.Key, c.ID, c.Held, c.ExitsHeldSince})
		}
	}
	return held
}

// Sent is how much left for MoEngage, counted as MoEngage counts.
type Sent struct {
	Users  int `json:"users"`
	Events int `json:"events"`
}

// Drain is how long what is pending takes to leave at the configured limits, once it may leave, and
// which limit decides that. Others who write to the workspace, and requests that fail, come on top.
type Drain struct {
	Seconds   int64          `json:"seconds"`
	Limit     string         `json:"limit"` // users, events, or cohorts: requests of Cohort Sync
	PerMinute int            `json:"per_minute"`
	Backlog   domain.Backlog `json:"backlog"`
}

// cohortMembers is about how many members a request of Cohort Sync holds: ids of 36 bytes in 128,000.
const cohortMembers = 2_700

// drainOf forecasts when a backlog is gone: the limits are independent of each other, so the one that
// takes longest decides.
func drainOf(b domain.Backlog, m config.MoEngage) *Drain {
	var longest *Drain
	for _, l := range [...]struct {
		name      string
		n         uint64
		perMinute int
	}{
		{"users", b.Users, m.UsersPerMinute},
		{"events", b.Events, m.EventsPerMinute},
		{"cohorts", (b.Members + cohortMembers - 1) / cohortMembers, m.CohortsPerMinute},
	} {
		if l.n == 0 || l.perMinute <= 0 {
			continue
		}
		perMinute := uint64(l.perMinute)
		d := &Drain{Seconds: int64((l.n*60 + perMinute - 1) / perMinute), Limit: l.name, PerMinute: l.perMinute, Backlog: b}
		if longest == nil || d.Seconds > longest.Seconds {
			longest = d
		}
	}
	return longest
}

// Reachability is how MoEngage answers: "ok", "failing", or "unknown" before the first answer and
// when the agent is stopped.
type Reachability struct {
	State     string `json:"state"`
	LastError string `json:"last_error"`
	Since     string `json:"since"` // RFC 3339; empty when unknown

	LastErrorAt string `json:"last_error_at"` // when LastError was; it is kept after recovery
	Stopped     bool   `json:"stopped"`       // it refuses in a way that waiting does not cure
	NextTry     string `json:"next_try"`      // while it fails; empty when unknown
}

// Process is what only the running agent knows of itself.
type Process struct {
	Unready   string // empty: events are being accepted
	Started   time.Time
	NextFlush time.Time // zero: none planned
	MoEngage  Reachability

	// What conditions are judged by; all zero of a stopped agent.
	DataDir      string
	DataMoved    bool                          // the open files are not the ones there
	Schedules    map[string]scheduler.Schedule // of the jobs of the store that have one; the others leave at once
	Space        *store.Space
	Forecast     Forecast
	Refused      *RefusedReload
	Missed       []string // jobs that missed a run in the last hour
	NoSocket     string   // why systemd's socket was not inherited; "" where it was, or none was to be
	LostSockets  []LostSocket
	LinesDropped uint64        // of the log since the start, if the last hour has some
	UsualSilence time.Duration // the longest pause between deliveries of the day before; 0: too few came
	Intake       *ingest.Intake
	ClockDoubt   string // why the clock may be wrong; "" when nothing speaks against it
}

// RefusedReload is the last reload, when it was refused.
type RefusedReload struct {
	At    time.Time `json:"at"`
	Error string    `json:"error"`
}

const unreadyStopped = "stopped"

// Stopped are the facts of an agent that does not answer. starting says that it has its data and will.
func Stopped(starting bool) Process {
	unready := unreadyStopped
	if starting {
		unready = "starting"
	}
	return Process{Unready: unready, MoEngage: Reachability{State: "unknown"}}
}

// NewStatus joins what the store counted with what the process knows.
func NewStatus(c domain.Counts, sent []domain.SentSecond, p Process, m config.MoEngage, version string, now time.Time) Status {
	s := Status{
		Ready: p.Unready == "", Unready: p.Unready, Version: version,
		Received: c.Received, Rejected: c.Rejected, Unapplied: c.Unapplied,
		Pending: c.Changes.Pending, Held: c.Changes.Held,
		Parked:    c.Events.Parked + c.Changes.Parked,
		Delivered: c.Changes.Delivered,
		Users:     c.Users, Audiences: c.Audiences,
		Events: c.Events, Changes: c.Changes,
		Drain:          drainOf(c.Backlog, m),
		MoEngage:       p.MoEngage,
		UptimeS:        Age(p.Started, now),
		OldestPendingS: Age(c.OldestPending, now),
		Refusals:       Whole(c.Refusals),
		Intake:         p.Intake,
	}
	if last := c.Heard.Last(); !last.IsZero() {
		s.Heard = &last
	}
	for _, second := range sent {
		s.SentLastMinute.Users += second.Users
		s.SentLastMinute.Events += second.Events
	}
	if oldest := c.OldestPending.UTC(); !oldest.IsZero() {
		s.OldestPending = &oldest
	}
	if !p.NextFlush.IsZero() {
		next := p.NextFlush.UTC().Truncate(time.Second)
		s.NextFlush = &next
	}
	return s
}

// Age returns the whole seconds from then to now; 0 for the zero time and for what lies ahead.
func Age(then, now time.Time) int64 {
	if then.IsZero() || then.After(now) {
		return 0
	}
	return int64(now.Sub(then) / time.Second)
}

// FailedJob is a scheduled job whose last run that ended failed.
type FailedJob struct {
	Job      string `json:"job"`
	FailedAt string `json:"failed_at"` // RFC 3339
	Code     string `json:"code"`      // of MoEngage's answer, as explain-code knows it, "panic", or "failed"
	Error    string `json:"error"`
	Failed   uint64 `json:"failed"` // runs that ended with an error, ever
}

// LostSocket is a unix socket of the agent that nobody can connect to: its name leads to something else, or nowhere.
type LostSocket struct {
	Path   string
	Ingest bool   // Segment's deliveries come in there; else the commands
	Why    string // it cannot be made again
	Since  time.Time
}

// Forecast is how long things take if they go on as in the last hour. Its sentences are for people;
// the seconds are 0 where there is no saying.
type Forecast struct {
	Disk   string `json:"disk"`
	DiskS  int64  `json:"disk_s"` // until events are refused for want of room
	Drain  string `json:"drain"`
	DrainS int64  `json:"drain_s"` // at least so long until what is pending has left, at MoEngage's limits
}
