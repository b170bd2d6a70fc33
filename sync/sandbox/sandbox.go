package sandbox

import (
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Options configures a sandbox. The zero value is a new workspace with MoEngage's default limits that accepts
// any credentials and validates bulk requests leniently.
type Options struct {
	WorkspaceID string // "" accepts any, but the same one everywhere in a request
	APIKey      string // "" accepts any except an empty one

	Latency time.Duration // of every answer
	Delay   time.Duration // between accepting data and applying it: 200 means queued
	Faults  []Fault       // from the start

	// Limits in any 60 seconds: zero is the documented default, negative means none.
	UsersPerMinute   int // 60,000; older pages say 10,000
	EventsPerMinute  int // 60,000; older pages say 30,000
	CohortsPerMinute int // requests; 300
	ExportsPerMinute int // exported users; 1,000

	// Strict refuses a whole bulk request for one bad element. Otherwise the answer is 200 and the element is
	// dropped. MoEngage documents both.
	Strict bool

	Objects    bool // the workspace has the object data type, off by default
	EpochReset bool // x-ratelimit-reset is an epoch instead of the seconds left; both are documented
	KeepAll    bool // drop nothing: memory grows with the data
	KeepBodies bool // keep bodies in Requests

	Log *slog.Logger // nil means silent. User ids are logged at debug level only
}

// Retained records without KeepAll.
const (
	keptRequests   = 10_000
	keptViolations = 10_000
	keptProfiles   = 1_000_000
	keptEvents     = 1_000_000
)

// Sandbox is the stand-in for MoEngage. Its methods are safe for concurrent use and return copies.
type Sandbox struct {
	options Options
	log     *slog.Logger
	mux     *http.ServeMux
	now     func() time.Time // called under mu for times that are compared, so they never decrease

	// mu protects all fields below. The work under it is a few map lookups an element, less than decoding,
	// which happens outside.
	mu          sync.Mutex
	state       *state
	trouble     trouble
	flights     flights
	requests    ring[Request]
	violations  ring[Violation]
	users       meter
	events      meter
	cohortCalls meter
	exports     meter
	deletions   meter
	mergers     meter
	devices     meter
	dying       []deletion // oldest first
	queue       []*call    // accepted but not yet applied, with Options.Delay; oldest first
	total       Stats      // only its increasing counts
}

// New returns a sandbox. Its faults start now.
func New(o Options) *Sandbox {
	s := &Sandbox{
		options:     o,
		log:         o.Log,
		mux:         http.NewServeMux(),
		now:         time.Now,
		trouble:     newTrouble(),
		flights:     newFlights(),
		users:       meter{limit: orDefault(o.UsersPerMinute, 60_000)},
		events:      meter{limit: orDefault(o.EventsPerMinute, 60_000)},
		cohortCalls: meter{limit: orDefault(o.CohortsPerMinute, 300)},
		exports:     meter{limit: orDefault(o.ExportsPerMinute, 1_000)},
		deletions:   meter{limit: 5_000},
		mergers:     meter{limit: 1_000},
		devices:     meter{limit: 10_000},
		total:       newStats(),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.state = newState(0, 0)
	if !o.KeepAll {
		s.state = newState(keptProfiles, keptEvents)
		s.requests.limit = keptRequests
		s.violations.limit = keptViolations
	}
	s.route()
	for _, f := range o.Faults {
		s.Fail(f)
	}
	return s
}

func orDefault(n, standard int) int {
	if n == 0 {
		return standard
	}
	return n
}

// route registers the paths. It checks methods itself, so that 404 and 405 have JSON bodies too.
func (s *Sandbox) route() {
	for path, e := range map[string]*endpoint{
		"/v1/transition/{ws}":             transition,
		"/v1/transition":                  transition,
		"/v1/customer/{ws}":               trackUser,
		"/v1/customer":                    trackUser,
		"/v1/event/{ws}":                  trackEvent,
		"/v1/event":                       trackEvent,
		"/v1/integrations/cohortsync":     cohortSync,
		"/v1/customers/export":            export,
		"/v1/integrations/authentication": authentication,
		"/v1/integrations/segment":        partner,
		"/v1/device/{ws}":                 trackDevice,
		"/v1/device":                      trackDevice,
		"/v1/customer/delete":             deletionOfUser,
		"/v1/customer/merge":              merger,
	} {
		s.mux.HandleFunc(path, only(http.MethodPost, func(w http.ResponseWriter, r *http.Request) { s.serve(e, w, r) }))
	}
	s.mux.HandleFunc("/v1/integrations/segment/auth", only(http.MethodGet, s.partnerAuthentication))
	s.mux.HandleFunc("/", notFound)
	s.routeReading()
}

func only(method string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			refuse(byStatus(http.StatusMethodNotAllowed), "").write(w, nil, 0)
			return
		}
		h(w, r)
	}
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	refuse(byStatus(http.StatusNotFound), "").write(w, nil, 0)
}

// ServeHTTP answers as MoEngage would, unless a fault applies. It may panic with http.ErrAbortHandler, which
// net/http's server expects.
func (s *Sandbox) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// serve handles one request to MoEngage: it reads it, decides, waits and answers. The users leave the request
// before the answer is sent, because a client may send them again as soon as it has the answer.
func (s *Sandbox) serve(e *endpoint, w http.ResponseWriter, r *http.Request) {
	c := readCall(e, r)
	a, m := s.decide(c)
	m.hold(c.ctx, s.options.Latency, a.hang, c.At)
	s.leave(c)
	s.log.Debug("request answered", "number", c.Number, "endpoint", c.Endpoint, "status", c.Status,
		"users", c.Users, "events", c.Events, "bytes", c.Bytes, "fault", c.Fault)
	a.write(w, func(d time.Duration) { pause(c.ctx, d, m.healed) }, m.drip)
}

// decide assigns the request's number, effect and answer, and records them.
func (s *Sandbox) decide(c *call) (answer, misfortune) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.At = s.now().UTC()
	s.total.Requests++
	c.Number = s.total.Requests
	c.ID = requestID(c.Number)
	s.enter(c)
	s.catchUp(c.At)

	s.trouble.prune(c.At)
	m := s.trouble.strike(c)
	c.Fault = m.spec
	a := jsonAnswer(http.StatusOK, acceptedBody(c.ID))
	if m.fault == nil || m.fault.after() {
		a = s.judge(c)
	}
	s.addLimits(c, a)
	if m.fault != nil {
		a = m.fault.distort(a, c)
	}
	s.record(c, a)
	return a, m
}

// judge checks a request in the usual order of a service and applies it.
func (s *Sandbox) judge(c *call) answer {
	checks := []func() *refusal{
		c.checkContentType,
		func() *refusal { return c.checkCredentials(s.options.WorkspaceID, s.options.APIKey) },
		c.checkSize,
		func() *refusal { return c.unread },
	}
	for _, check := range checks {
		if r := check(); r != nil {
			return c.refuse(*r)
		}
	}
	s.checkManners(c)
	body, r := c.serve(s, c)
	if r != nil {
		if r.status == http.StatusTooManyRequests {
			s.total.Limited++
		}
		return c.refuse(*r)
	}
	c.Stored = true
	return jsonAnswer(http.StatusOK, body)
}

// checkManners records requests that MoEngage may accept but a sender should not rely on.
func (s *Sandbox) checkManners(c *call) {
	if c.size > c.soft {
		s.violate(c, SoftSize, "", c.Endpoint)
	}
	if !c.appKey && c.header.Get("MOE-APPKEY") == "" {
		s.violate(c, NoAppKey, "", c.Endpoint)
	}
}

// addLimits sets the x-ratelimit headers from the meter closest to its limit. MoEngage documents them as
// requests but limits users and events, so they count users or events here.
func (s *Sandbox) addLimits(c *call, a answer) {
	m, need := s.meterOf(c)
	if m == nil || m.limit <= 0 {
		return
	}
	left := m.wait(c.At, need)
	if left == 0 {
		left = m.wait(c.At, m.limit)
	}
	a.header.Set(limitHeader, itoa(m.limit))
	a.header.Set(remainingHeader, itoa(m.left()))
	a.header.Set(resetHeader, resetValue(c.At, left, s.options.EpochReset))
}

func (s *Sandbox) meterOf(c *call) (m *meter, need int) {
	switch c.endpoint {
	case cohortSync:
		return &s.cohortCalls, 1
	case export:
		return &s.exports, len(c.elements)
	case deletionOfUser:
		return &s.deletions, 1
	case merger:
		return &s.mergers, len(c.elements) / 2
	case trackDevice:
		return &s.devices, 1
	case authentication:
		return nil, 0
	}
	if s.events.limit > 0 && (s.users.limit <= 0 || s.events.left()*s.users.limit < s.users.left()*s.events.limit) {
		return &s.events, c.Events
	}
	return &s.users, c.Users
}

// Fail starts a fault in addition to the active ones.
func (s *Sandbox) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble.add(f, s.now())
	s.log.Info("fault begins", "fault", f.String())
}

// Heal ends all faults and releases hanging requests.
func (s *Sandbox) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble.heal()
	s.log.Info("healed")
}
