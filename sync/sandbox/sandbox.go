package sandbox

import (
	"cmp"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Sandbox is the stand-in for MoEngage. Its methods are safe for concurrent use and return copies.
type Sandbox struct {
	options Options
	log     *slog.Logger
	mux     *http.ServeMux
	now     func() time.Time // called under mu for times that are compared, so they never decrease

	// mu protects all fields below. The work under it is a few map lookups an element, less than decoding,
	// which happens outside.
	mu        sync.Mutex
	workspace *workspace
	faults    activeFaults
	inFlight  inFlight
	journal   *journal
}

// New returns a sandbox. Its faults start now.
func New(o Options) *Sandbox {
	log := o.Log
	log = cmp.Or(log, slog.New(slog.DiscardHandler))
	s := &Sandbox{
		options:  o,
		log:      log,
		mux:      http.NewServeMux(),
		now:      time.Now,
		faults:   newFaults(),
		inFlight: newInFlight(),
		journal:  newJournal(log, o.KeepAll),
	}
	s.workspace = newWorkspace(o, s.journal)
	s.route()
	for _, f := range o.Faults {
		s.Fail(f)
	}
	return s
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
	s.mux.HandleFunc("/v1/integrations/segment/auth", only(http.MethodGet, s.authenticatePartner))
	s.mux.HandleFunc("/", notFound)
	s.mux.Handle("/sandbox/", inspection(s))
}

func only(method string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			refuse(byStatus(http.StatusMethodNotAllowed), "", false).write(w, nil, 0)
			return
		}
		h(w, r)
	}
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	refuse(byStatus(http.StatusNotFound), "", false).write(w, nil, 0)
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
func (s *Sandbox) decide(c *call) (answer, effect) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.At = s.now().UTC()
	c.Number = s.journal.begin()
	c.ID = requestID(c.Number)
	s.inFlight.enter(c, func(rule Rule, user, detail string) { s.journal.violate(&c.Request, rule, user, detail) })
	s.workspace.catchUp(c.At)

	s.faults.prune(c.At)
	m := s.faults.strike(c)
	c.Fault = m.spec
	a := jsonAnswer(http.StatusOK, acceptedBody(c.ID))
	if m.takesEffect() {
		a = s.judge(c)
	}
	s.workspace.addLimits(c, a.header)
	if m.fault != nil {
		a = m.fault.distort(a, c)
	}
	c.Status, c.Type = a.status, a.kind
	if s.options.KeepBodies {
		c.Body = string(c.body)
	}
	s.journal.record(c.Request, c.endpoint != export && c.endpoint != cohortSync)
	return a, m
}

func (s *Sandbox) leave(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal.end()
	s.inFlight.leave(c)
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
			return refuse(*r, c.ID, c.titled)
		}
	}
	s.checkManners(c)
	body, r := services[c.endpoint](s.workspace, c)
	if r != nil {
		if r.status == http.StatusTooManyRequests {
			s.journal.total.Limited++
		}
		return refuse(*r, c.ID, c.titled)
	}
	c.Stored = true
	return jsonAnswer(http.StatusOK, body)
}

// checkManners records requests that MoEngage may accept but a sender should not rely on.
func (s *Sandbox) checkManners(c *call) {
	if c.size > c.soft {
		s.journal.violate(&c.Request, SoftSize, "", c.Endpoint)
	}
	if !c.appKey && c.header.Get("MOE-APPKEY") == "" {
		s.journal.violate(&c.Request, NoAppKey, "", c.Endpoint)
	}
}

// authenticatePartner answers the credentials test of Segment's destination, a GET.
func (s *Sandbox) authenticatePartner(w http.ResponseWriter, r *http.Request) {
	c := &call{endpoint: partner, header: r.Header, query: appID(r)}
	if bad := c.checkCredentials(s.options.WorkspaceID, s.options.APIKey); bad != nil {
		refuse(*bad, "", false).write(w, nil, 0)
		return
	}
	jsonAnswer(http.StatusOK, []byte(`{"status":"success"}`)).write(w, nil, 0)
}

// catchUp applies the accepted elements that are due. The caller holds mu.
func (s *Sandbox) catchUp() { s.workspace.catchUp(s.now()) }
