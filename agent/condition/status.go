package condition

import (
	"slices"
	"time"

	"personasync/agent/config"
	"personasync/agent/ingest"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
)

// Status is the agent on one screen. Its JSON is part of the contract: fields may be added, none is changed. It has more
// than 15 because the contract has one flat object.
type Status struct {
	Ready   bool   `json:"ready"`
	Unready string `json:"unready"` // why not; empty when ready
	Version string `json:"version"`
	UptimeS int64  `json:"uptime_s"`

	Received       uint64           `json:"received"`
	Rejected       uint64           `json:"rejected"`
	Refusals       []domain.Refusal `json:"refusals"`      // the rejected requests by kind, the most frequent first
	LastReceived   *time.Time       `json:"last_received"` // receipt of the newest event applied; null before the first
	Intake         *ingest.Intake   `json:"intake"`        // recent traffic; null of a stopped agent
	Unapplied      uint64           `json:"unapplied"`
	Pending        uint64           `json:"pending"`
	Held           uint64           `json:"held"`
	HeldRollout    uint64           `json:"held_rollout"` // of Held, changes of users whom a rollout does not reach
	HeldPaused     uint64           `json:"held_paused"`  // of Held, changes of paused computations
	Parked         uint64           `json:"parked"`       // events and changes together
	Delivered      uint64           `json:"delivered"`
	OldestPendingS int64            `json:"oldest_pending_s"`
	OldestPending  *time.Time       `json:"oldest_pending"` // its receipt, to the second; null when nothing is pending
	Users          uint64           `json:"users"`
	Audiences      uint64           `json:"audiences"`

	Store *Store `json:"store,omitempty"` // absent with files

	SentLastMinute Sent       `json:"sent_last_minute"`
	NextFlush      *time.Time `json:"next_flush"` // of a cron; null when none is planned
	Drain          *Drain     `json:"drain"`      // null when nothing is pending

	Events   domain.EventLedger  `json:"events"`
	Changes  domain.ChangeLedger `json:"changes"`
	MoEngage Reachability        `json:"moengage"`

	Workspace string `json:"workspace"` // of MoEngage, to which the data was sent; "" before it was sent anywhere, and with PostgreSQL

	Guard []GuardedAudience `json:"guard"` // whose exits the guard holds

	// Comparing is how far users are compared with a change of consent, of a rollout or of a pause; absent if all are.
	Comparing *domain.Comparing `json:"comparing,omitempty"`

	Pause  *domain.Pause  `json:"pause,omitempty"`  // of all sending, while it holds
	Pauses []domain.Pause `json:"pauses,omitempty"` // of computations, while they hold

	Deletions *DeletionStatus `json:"deletions,omitempty"` // of users at MoEngage; absent where none is deleted

	Staleness []Staleness   `json:"staleness"` // of every computation seen
	Verify    *VerifyStatus `json:"verify"`    // null when nothing was ever verified

	FailedJobs []FailedJob `json:"failed_jobs"` // scheduled jobs whose last run that ended failed

	// Salvages are the damaged files that were replaced and are still kept aside. An operator removes one once they have
	// looked at it.
	Salvages []store.Salvage `json:"salvages"`

	// Conditions hold now, the most severe first. docs/operating.md has a section for each.
	Conditions []Condition `json:"conditions"`

	// OldestDue is when the change that is most overdue should have left; null if none is.
	OldestDue *time.Time `json:"oldest_due"`

	Backup *Backup `json:"backup"` // null if none is scheduled

	Notify *Notify `json:"notify"` // null if nobody is told

	Expiring *store.Expiring `json:"expiring"` // parked items that expire within a week; null if none do
}

// Staleness is how long no event of a computation was received. Silent says that this is worth a look: none for two days,
// while Segment sends events of the others. Segment computes once a day at least.
type Staleness struct {
	Key       string `json:"key"`
	ID        string `json:"id"`
	LastEvent string `json:"last_event"`
	AgeS      int64  `json:"age_s"`
	Silent    bool   `json:"silent"`
}

const silentAfter = 48 * time.Hour

// StalenessOf is the staleness of each computation with an event.
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

// GuardedAudience is an audience that too many members left at once. Held counts all its changes that wait for an operator.
type GuardedAudience struct {
	Key   string `json:"key"`
	ID    string `json:"id"`
	Held  uint64 `json:"held"`
	Since string `json:"since"`
}

// Guarded lists the audiences whose exits the guard holds.
func Guarded(list []domain.ComputationInfo) []GuardedAudience {
	held := []GuardedAudience{}
	for _, c := range list {
		if c.ExitsHeldSince != "" {
			held = append(held, GuardedAudience{c.Key, c.ID, undecided(c), c.ExitsHeldSince})
		}
	}
	return held
}

// Sent is how much was sent to MoEngage, counted as MoEngage counts.
type Sent struct {
	Users  int `json:"users"`
	Events int `json:"events"`
}

// Drain is how long the pending changes take to leave at the configured limits, once they may leave, and
// which limit decides that. Other writers to the workspace, and failed requests, add to it.
type Drain struct {
	Seconds   int64          `json:"seconds"`
	Limit     string         `json:"limit"` // users, events, or cohorts: requests of Cohort Sync
	PerMinute int            `json:"per_minute"`
	Backlog   domain.Backlog `json:"backlog"`
}

// cohortMembers is about how many members a request of Cohort Sync holds: 128,000 bytes of ids of 36 bytes.
const cohortMembers = 2_700

// drainOf forecasts when a backlog is sent. The limits are independent, so the one that takes longest decides.
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
	Stopped     bool   `json:"stopped"`       // it refuses everything, and waiting does not help
	NextTry     string `json:"next_try"`      // while it fails; empty when unknown
}

// Process is what only the running agent knows of itself. Its many fields are one for each fact that a condition is judged
// by; all but the first are zero for a stopped agent.
type Process struct {
	Unready   string // empty: events are being accepted
	Started   time.Time
	Runner    *Runner   // nil: the packaged unit
	NextFlush time.Time // zero: none planned
	MoEngage  Reachability
	Deleting  Reachability // how MoEngage answers deletes

	DataDir      string
	Store        *Store                        // nil: files, or unknown
	Elsewhere    string                        // the workspace of MoEngage that the files belong to, if the agent would send to another one; else ""
	Standstill   time.Time                     // since when no received event was applied, with a store that is shared; zero: they are
	UnreadySince time.Time                     // zero: events are being accepted, or it is unknown since when
	DataMoved    bool                          // the open files are not those in DataDir
	Schedules    map[string]scheduler.Schedule // of the jobs of the store that have one; the others leave at once
	Space        *store.Space
	Forecast     Forecast
	Refused      *RefusedReload
	Missed       []string // jobs that missed a run in the last hour
	NoSocket     string   // why systemd's socket was not inherited; "" if it was, or if there is none
	LostSockets  []LostSocket
	LinesDropped uint64        // of the log since the start, if the last hour has some
	UsualSilence time.Duration // the longest pause between deliveries of the day before; 0: too few came
	Intake       *ingest.Intake
	Receivers    []Receiver // of notifications, as the process knows them
	ClockDoubt   string     // why the clock may be wrong; "" when nothing speaks against it
}

// RefusedReload is the last reload, if it was refused.
type RefusedReload struct {
	At      time.Time `json:"at"`
	Error   string    `json:"error"`
	AtStart bool      `json:"at_start,omitempty"` // a restart may take it
}

// Starting is why an agent that starts is unready.
const Starting = "starting"

const unreadyStopped = "stopped"

// Stopped are the facts of an agent that does not answer. starting says that it has its data and will.
func Stopped(starting bool) Process {
	unready := unreadyStopped
	if starting {
		unready = Starting
	}
	return Process{Unready: unready, MoEngage: Reachability{State: "unknown"}, Deleting: Reachability{State: "unknown"}}
}

// NewStatus joins the counts of the store with the facts of the process.
func NewStatus(c domain.Counts, sent []domain.SentSecond, p Process, m config.MoEngage, version string, now time.Time) Status {
	s := Status{
		Ready: p.Unready == "", Unready: p.Unready, Version: version,
		Received: c.Received, Rejected: c.Rejected, Unapplied: c.Unapplied,
		Pending: c.Changes.Pending, Held: c.Changes.Held, HeldRollout: c.Rollout, HeldPaused: c.Paused,
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
		Comparing:      c.Comparing,
		Store:          p.Store,
		Deletions:      deletionStatus(c.Deletions, m.DeleteUsers, m.MaxDeletesPerDay, p.Deleting, now),
	}
	if last := c.LastReceived.Last(); !last.IsZero() {
		s.LastReceived = &last
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

// Age is the whole seconds from then to now; 0 for the zero time and for the future.
func Age(then, now time.Time) int64 {
	if then.IsZero() || then.After(now) {
		return 0
	}
	return int64(now.Sub(then) / time.Second)
}

// FailedJob is a scheduled job whose last completed run failed.
type FailedJob struct {
	Job      string `json:"job"`
	FailedAt string `json:"failed_at"` // RFC 3339
	Code     string `json:"code"`      // of MoEngage's answer, as explain-code knows it, "panic", or "failed"
	Error    string `json:"error"`
	Failed   uint64 `json:"failed"` // runs that ended with an error, ever
}

// LostSocket is a unix socket of the agent that nobody can connect to: its path is something else, or missing.
type LostSocket struct {
	Path   string
	Ingest bool   // it takes deliveries; false: it takes commands
	Why    string // why it cannot be made again
	Since  time.Time
}

// Forecast is how long things last if they go on as in the last hour. Its sentences are for people. The seconds are 0
// without a forecast.
type Forecast struct {
	Disk   string `json:"disk"`
	DiskS  int64  `json:"disk_s"` // until events are refused because the disk is full
	Drain  string `json:"drain"`
	DrainS int64  `json:"drain_s"` // the least time until the pending changes have left, at MoEngage's limits
}

// Has reports whether the condition of a name holds.
func (s *Status) Has(name string) bool {
	return slices.ContainsFunc(s.Conditions, func(c Condition) bool { return c.Name == name })
}
