package sandbox

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Fail starts a fault in addition to the active ones.
func (s *Sandbox) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.add(f, s.now())
	s.log.Info("fault begins", "fault", f.String())
}

// Heal ends all faults and releases hanging requests.
func (s *Sandbox) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.heal()
	s.log.Info("healed")
}

// Lose makes the sandbox forget attributes of a user, or the whole user if none are named. MoEngage's 200 does
// not prove storage, so tests use Lose to see that a verification notices the loss. It reports whether there
// was anything to lose.
func (s *Sandbox) Lose(user string, attributes ...string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp()
	p := s.workspace.state.users[user]
	if p == nil {
		return false
	}
	if len(attributes) == 0 {
		s.workspace.state.forget(p)
		return true
	}
	before := len(p.attrs)
	p.attrs = slices.DeleteFunc(p.attrs, func(a attribute) bool { return slices.Contains(attributes, a.name) })
	return len(p.attrs) < before
}

// User returns a user's profile.
func (s *Sandbox) User(id string) (Profile, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp()
	return s.workspace.state.profile(id)
}

// Events returns a user's events in order of arrival, with repeats. It returns none for an unknown user.
func (s *Sandbox) Events(user string) []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp()
	if p := s.workspace.state.users[user]; p != nil {
		return p.copyEvents()
	}
	return nil
}

// Cohort returns the cohort with this id.
func (s *Sandbox) Cohort(id string) (Cohort, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp()
	return s.workspace.state.cohort(id)
}

// Requests returns the retained requests in order of arrival.
func (s *Sandbox) Requests() []Request { return s.lastRequests(-1) }

func (s *Sandbox) lastRequests(n int) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journal.lastRequests(n)
}

// Violations returns the retained violations in order of arrival.
func (s *Sandbox) Violations() []Violation { return s.lastViolations(-1) }

func (s *Sandbox) lastViolations(n int) []Violation {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp()
	return s.journal.lastViolations(n)
}

// Stats returns the counts.
func (s *Sandbox) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp()
	s.faults.prune(s.now())
	out := s.journal.stats()
	s.workspace.addStats(&out)
	out.Faults = s.faults.specs()
	return out
}

// inspection serves the paths that are not MoEngage's.
func inspection(s *Sandbox) http.Handler {
	mux := http.NewServeMux()
	get := func(path string, read func(r *http.Request) (any, bool)) {
		mux.HandleFunc(path, only(http.MethodGet, func(w http.ResponseWriter, r *http.Request) {
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
	mux.HandleFunc("/sandbox/fail", only(http.MethodPost, func(w http.ResponseWriter, r *http.Request) { startFault(s, w, r) }))
	mux.HandleFunc("/sandbox/lose", only(http.MethodPost, func(w http.ResponseWriter, r *http.Request) { lose(s, w, r) }))
	mux.HandleFunc("/sandbox/heal", only(http.MethodPost, func(w http.ResponseWriter, _ *http.Request) {
		s.Heal()
		showFaults(s, w)
	}))
	mux.HandleFunc("/", notFound)
	return mux
}

func limitOf(r *http.Request) int {
	if n, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil && n >= 0 {
		return n
	}
	return 100
}

// startFault answers POST /sandbox/fail.
func startFault(s *Sandbox, w http.ResponseWriter, r *http.Request) {
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
	showFaults(s, w)
}

func showFaults(s *Sandbox, w http.ResponseWriter) {
	show(w, http.StatusOK, map[string][]string{"faults": s.Stats().Faults})
}

func show(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the client may be gone
}

// lose answers POST /sandbox/lose?user=ID&attribute=NAME.
func lose(s *Sandbox, w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if !s.Lose(q.Get("user"), q["attribute"]...) {
		show(w, http.StatusNotFound, map[string]string{"error": "nothing to lose"})
		return
	}
	show(w, http.StatusOK, map[string]bool{"lost": true})
}
