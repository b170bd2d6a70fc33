package sandbox

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// Stats has counts since the start, including records that were dropped.
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

func newStats() Stats {
	return Stats{ByStatus: map[int]uint64{}, ByEndpoint: map[string]uint64{}, Violations: map[Rule]uint64{}}
}

// record stores the outcome of a request.
func (s *Sandbox) record(c *call, a answer) {
	c.Status, c.Type = a.status, a.kind
	t := &s.total
	t.ByStatus[c.Status]++
	t.ByEndpoint[c.Endpoint]++
	t.Bytes += uint64(c.Bytes)
	if c.Fault != "" {
		t.Faulted++
	}
	if c.Stored && c.endpoint != export && c.endpoint != cohortSync {
		t.Users += uint64(c.Users)
		t.Events += uint64(c.Events)
	}
	if s.options.KeepBodies {
		c.Body = string(c.body)
	}
	s.requests.add(c.Request)
}

// violate records a violation. Values from the sender are cut, so that ten thousand records stay small.
func (s *Sandbox) violate(c *call, rule Rule, user, detail string) {
	user, detail = firstRunes(user, maxValueLength), firstRunes(detail, maxNameLength)
	s.total.Violations[rule]++
	s.violations.add(Violation{At: c.At, Request: c.Number, Rule: rule, User: user, Detail: detail})
	s.log.Debug("rule broken", "rule", rule, "number", c.Number, "user", user, "detail", detail)
}

// User returns a user's profile.
func (s *Sandbox) User(id string) (Profile, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp(s.now())
	return s.state.profile(id)
}

// Events returns a user's events in order of arrival, with repeats. It returns none for an unknown user.
func (s *Sandbox) Events(user string) []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp(s.now())
	if p := s.state.users[user]; p != nil {
		return p.copyEvents()
	}
	return nil
}

// Cohort returns the cohort with this id.
func (s *Sandbox) Cohort(id string) (Cohort, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp(s.now())
	return s.state.cohort(id)
}

// Requests returns the retained requests in order of arrival.
func (s *Sandbox) Requests() []Request { return s.lastRequests(-1) }

func (s *Sandbox) lastRequests(n int) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests.last(n)
}

// Violations returns the retained violations in order of arrival.
func (s *Sandbox) Violations() []Violation { return s.lastViolations(-1) }

func (s *Sandbox) lastViolations(n int) []Violation {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp(s.now())
	return s.violations.last(n)
}

// Stats returns the counts.
func (s *Sandbox) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp(s.now())
	s.trouble.prune(s.now())
	out := s.total
	out.ByStatus = maps.Clone(out.ByStatus)
	out.ByEndpoint = maps.Clone(out.ByEndpoint)
	out.Violations = maps.Clone(out.Violations)
	out.MaxUsersInWindow = s.users.max
	out.MaxEventsInWindow = s.events.max
	out.MaxCohortsInWindow = s.cohortCalls.max
	out.Profiles = len(s.state.users)
	out.Cohorts = len(s.state.cohorts)
	out.AttributeNames = len(s.state.custom)
	out.EventNames = len(s.state.eventNames)
	out.ForgottenRequests = s.requests.lost
	out.ForgottenViolations = s.violations.lost
	out.ForgottenProfiles = s.state.newest.lost
	out.ForgottenEvents = s.state.eventOwners.lost
	out.Faults = s.trouble.specs()
	return out
}

// routeReading registers the paths that are not MoEngage's.
func (s *Sandbox) routeReading() {
	get := func(path string, read func(r *http.Request) (any, bool)) {
		s.mux.HandleFunc(path, only(http.MethodGet, func(w http.ResponseWriter, r *http.Request) {
			v, ok := read(r)
			if !ok {
				show(w, http.StatusNotFound, map[string]string{"error": "no such user"})
				return
			}
			show(w, http.StatusOK, v)
		}))
	}
	get("/sandbox/users/{id...}", func(r *http.Request) (any, bool) { return s.User(r.PathValue("id")) })
	get("/sandbox/requests", func(r *http.Request) (any, bool) { return s.lastRequests(limitOf(r)), true })
	get("/sandbox/violations", func(r *http.Request) (any, bool) { return s.lastViolations(limitOf(r)), true })
	get("/sandbox/stats", func(*http.Request) (any, bool) { return s.Stats(), true })
	s.mux.HandleFunc("/sandbox/fail", only(http.MethodPost, s.handleFail))
	s.mux.HandleFunc("/sandbox/lose", only(http.MethodPost, s.handleLose))
	s.mux.HandleFunc("/sandbox/heal", only(http.MethodPost, s.handleHeal))
}

func limitOf(r *http.Request) int {
	if n, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil && n >= 0 {
		return n
	}
	return 100
}

func (s *Sandbox) handleFail(w http.ResponseWriter, r *http.Request) {
	spec := r.URL.Query().Get("spec")
	if spec == "" {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 4096)) // a broken body is a broken spec
		spec = strings.TrimSpace(string(body))
	}
	f, err := ParseFault(spec)
	if err != nil {
		show(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	s.Fail(f)
	s.showFaults(w)
}

func (s *Sandbox) handleHeal(w http.ResponseWriter, _ *http.Request) {
	s.Heal()
	s.showFaults(w)
}

func (s *Sandbox) showFaults(w http.ResponseWriter) {
	show(w, http.StatusOK, map[string][]string{"faults": s.Stats().Faults})
}

func show(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the client may be gone
}

func itoa(n int) string { return strconv.Itoa(n) }
