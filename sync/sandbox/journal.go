package sandbox

import (
	"log/slog"
	"maps"
	"time"
)

// Request is a request and its outcome.
type Request struct {
	Number   uint64    `json:"number"` // in order of arrival, from 1
	At       time.Time `json:"at"`
	Method   string    `json:"method"`
	Path     string    `json:"path"`
	Endpoint string    `json:"endpoint"` // its name, such as transition
	Status   int       `json:"status"`   // as decided; 0 if the connection was broken instead
	Type     string    `json:"type,omitempty"`
	ID       string    `json:"request_id"`
	Users    int       `json:"users"`  // customer elements, cohort members, or exported users
	Events   int       `json:"events"` // actions
	Bytes    int       `json:"bytes"`  // of the body
	Stored   bool      `json:"stored"` // it passed all checks and took effect, whatever the answer
	Fault    string    `json:"fault,omitempty"`
	Body     string    `json:"body,omitempty"` // with Options.KeepBodies
}

// Stats has counts since the start, including records that were dropped, with a field for each.
type Stats struct {
	Requests   uint64            `json:"requests"`
	ByStatus   map[int]uint64    `json:"by_status"` // 0: the connection was broken
	ByEndpoint map[string]uint64 `json:"by_endpoint"`
	Bytes      uint64            `json:"bytes"`
	Faulted    uint64            `json:"faulted"` // requests affected by a fault
	Limited    uint64            `json:"limited"` // requests over a limit, without a fault's 429s
	Users      uint64            `json:"users"`   // customer elements of requests that took effect
	Events     uint64            `json:"events"`  // actions of requests that took effect
	Violations map[Rule]uint64   `json:"violations"`

	InFlight    int `json:"in_flight"`
	MaxInFlight int `json:"max_in_flight"`

	// The largest numbers that took effect within any 60 seconds.
	MaxUsersInWindow   int `json:"max_users_in_window"`
	MaxEventsInWindow  int `json:"max_events_in_window"`
	MaxCohortsInWindow int `json:"max_cohorts_in_window"` // cohort sync requests

	Profiles       int `json:"profiles"`
	Cohorts        int `json:"cohorts"`
	AttributeNames int `json:"attribute_names"` // custom ones, of 256
	EventNames     int `json:"event_names"`     // of 512

	// Records dropped because memory is bounded.
	ForgottenRequests   uint64 `json:"forgotten_requests"`
	ForgottenViolations uint64 `json:"forgotten_violations"`
	ForgottenProfiles   uint64 `json:"forgotten_profiles"`
	ForgottenEvents     uint64 `json:"forgotten_events"`

	Faults []string `json:"faults"` // active ones
}

// Retained records without Options.KeepAll.
const (
	keptRequests   = 10_000
	keptViolations = 10_000
)

// journal records requests and violations. The sandbox's mutex protects it.
type journal struct {
	log        *slog.Logger
	requests   ring[Request]
	violations ring[Violation]
	total      Stats // only its increasing counts
}

func newJournal(log *slog.Logger, keepAll bool) *journal {
	j := &journal{log: log, total: Stats{ByStatus: map[int]uint64{}, ByEndpoint: map[string]uint64{}, Violations: map[Rule]uint64{}}}
	if !keepAll {
		j.requests.limit, j.violations.limit = keptRequests, keptViolations
	}
	return j
}

// begin returns the number of a new request.
func (j *journal) begin() uint64 {
	j.total.Requests++
	j.total.InFlight++
	j.total.MaxInFlight = max(j.total.MaxInFlight, j.total.InFlight)
	return j.total.Requests
}

// end counts a request that is about to be answered.
func (j *journal) end() { j.total.InFlight-- }

// record stores the outcome of a request. Its users and events count if it took effect and has data.
func (j *journal) record(r Request, data bool) {
	t := &j.total
	t.ByStatus[r.Status]++
	t.ByEndpoint[r.Endpoint]++
	t.Bytes += uint64(r.Bytes)
	if r.Fault != "" {
		t.Faulted++
	}
	if r.Stored && data {
		t.Users += uint64(r.Users)
		t.Events += uint64(r.Events)
	}
	r.Path = firstRunes(r.Path, maxNameLength)
	j.requests.add(r)
}

// violate records a violation. Values from the sender are cut, so that ten thousand records stay small.
func (j *journal) violate(r *Request, rule Rule, user, detail string) {
	user, detail = firstRunes(user, maxValueLength), firstRunes(detail, maxNameLength)
	j.total.Violations[rule]++
	j.violations.add(Violation{At: r.At, Request: r.Number, Rule: rule, User: user, Detail: detail})
	j.log.Debug("rule broken", "rule", rule, "number", r.Number, "user", user, "detail", detail)
}

// stats returns a copy of the counts.
func (j *journal) stats() Stats {
	out := j.total
	out.ByStatus = maps.Clone(out.ByStatus)
	out.ByEndpoint = maps.Clone(out.ByEndpoint)
	out.Violations = maps.Clone(out.Violations)
	out.ForgottenRequests = j.requests.lost
	out.ForgottenViolations = j.violations.lost
	return out
}

// lastRequests returns the newest n requests, oldest first. A negative n means all.
func (j *journal) lastRequests(n int) []Request { return j.requests.last(n) }

// lastViolations returns the newest n violations, oldest first. A negative n means all.
func (j *journal) lastViolations(n int) []Violation { return j.violations.last(n) }
