package api

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"

	"personasync/agent/condition"
)

// Server answers on the agent's admin side, which are two handlers: one for the unix socket, which its file's
// mode protects and which alone takes orders, and one for admin.listen, which has no authentication. The second
// shows no user id unless ShowUsers says so.
type Server struct {
	Inspect Inspector
	Running Running
	Orders  Orders
	Pauser  Pauser
	Upkeep  Upkeep

	Unready func() string // empty: events are being accepted
	Refused func() *condition.RefusedReload

	Version   string
	ShowUsers func() bool // on admin.listen
	Log       *slog.Logger
	Metrics   http.Handler                                                     // nil: none
	Page      func(mux *http.ServeMux, answer func(Question) http.HandlerFunc) // adds the status page to admin.listen; nil: none
}

func (s *Server) frame() *frame { return &frame{s.Version, s.Log} }

// Socket handles the unix socket.
func (s *Server) Socket() http.Handler {
	mux, f := http.NewServeMux(), s.frame()
	s.public(mux, f)
	s.users(mux, f, func(h http.HandlerFunc) http.HandlerFunc { return h })
	mux.HandleFunc("GET /api/config", f.configuration(s.Running))
	mux.HandleFunc("POST /api/authenticate", f.authenticate(s.Running))
	mux.HandleFunc("POST /api/preview", f.answer(questions{s.Inspect}.preview))
	mux.HandleFunc("POST /api/notify/test", f.testNotify(s.Running))
	mux.HandleFunc("POST /api/flush", f.flush(s.Running))
	mux.HandleFunc("POST /api/outbox/retry", f.act(s.Running.Retry))
	mux.HandleFunc("POST /api/outbox/drop", f.act(s.Running.Drop))
	for _, part := range [...]string{"outbox", "computation"} {
		mux.HandleFunc("POST /api/"+part+"/pause", f.pause(s.Pauser))
		mux.HandleFunc("POST /api/"+part+"/resume", f.resume(s.Pauser))
	}
	mux.HandleFunc("POST /api/verify", f.verify(s.Running))
	mux.HandleFunc("POST /api/verify-user", f.verifyUser(s.Running))
	mux.HandleFunc("POST /api/order", f.carryOut(s.Orders))
	mux.HandleFunc("POST /api/user/forget", f.forgetUser(s.Orders))
	mux.HandleFunc("POST /api/db/check", f.check(s.Upkeep))
	mux.HandleFunc("POST /api/db/compact", f.compact(s.Upkeep))
	mux.HandleFunc("POST /api/db/backup", f.backUp(s.Upkeep))
	return f.guard(mux, func(r *http.Request) bool { return r.Header.Get("Origin") == "" })
}

// Listener handles admin.listen, which is at address. A browser that was tricked into resolving a foreign name to
// this machine is refused: the listener is called by localhost, by an IP address or by a name of its own.
func (s *Server) Listener(address string) http.Handler {
	mux, f, names := http.NewServeMux(), s.frame(), hostNames(address)
	s.public(mux, f)
	s.users(mux, f, s.onlyIfShown)
	if s.Page != nil {
		s.Page(mux, f.answer)
	}
	return f.guard(mux, func(r *http.Request) bool { return isProbe(r.URL.Path) || knownHost(r.Host, names) })
}

// public adds the routes that show no user id.
func (s *Server) public(mux *http.ServeMux, f *frame) {
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	if s.Metrics != nil {
		mux.Handle("GET /metrics", s.Metrics)
	}
	mux.HandleFunc("GET /api/hello", f.answer(func(*http.Request) (any, error) {
		return Hello{Version: s.Version, PID: os.Getpid()}, nil
	}))
	mux.HandleFunc("GET /api/status", f.answer(func(r *http.Request) (any, error) {
		return s.Inspect.Status(r.Context())
	}))
	mux.HandleFunc("GET /api/stats", f.answer(func(r *http.Request) (any, error) {
		return questions{s.Inspect}.stats(r)
	}))
	mux.HandleFunc("GET /api/schedule", f.answer(func(r *http.Request) (any, error) {
		next, err := strconv.Atoi(cmp.Or(r.URL.Query().Get("next"), "1"))
		if err != nil || next < 0 {
			return nil, fmt.Errorf("%w: next is no count", ErrUsage)
		}
		return s.Inspect.Schedule(r.Context(), next)
	}))
	mux.HandleFunc("GET /api/computations", f.answer(func(r *http.Request) (any, error) {
		return s.Inspect.Computations(r.Context())
	}))
}

// users adds the routes that show user ids, each handler wrapped by protect.
func (s *Server) users(mux *http.ServeMux, f *frame, protect func(http.HandlerFunc) http.HandlerFunc) {
	i := questions{s.Inspect}
	for pattern, answer := range map[string]Question{
		"GET /api/changes": i.changes,
		"GET /api/change":  i.change,
		"GET /api/members": i.members,
		"GET /api/journal": i.journal, "GET /api/deletions": i.deletions,
		"GET /api/user":    i.user,
		"GET /api/dry-run": i.dryRun,
		"GET /api/trail":   i.activity,
	} {
		mux.HandleFunc(pattern, protect(f.answer(answer)))
	}
}

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]bool{"alive": true})
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	why := s.Unready()
	if why == "" {
		answer := map[string]any{"ready": true}
		if refused := s.Refused(); refused != nil {
			answer["config_refused"] = refused // ready all the same: the old configuration stays in force
		}
		if list, err := s.Inspect.Computations(r.Context()); err == nil && len(condition.Guarded(list)) > 0 {
			answer["guard"] = condition.Guarded(list) // ready all the same: readiness is about accepting events
		}
		writeJSON(w, http.StatusOK, answer)
		return
	}
	writeJSON(w, http.StatusServiceUnavailable, map[string]any{"ready": false, "reason": why})
}

// onlyIfShown closes a route on admin.listen unless user ids may be seen there.
func (s *Server) onlyIfShown(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.ShowUsers() {
			WriteProblem(w, http.StatusForbidden, Problem{Code: "forbidden",
				Message: "user ids are shown here only with admin.show_users = true; the commands and the unix socket always show them"})
			return
		}
		next(w, r)
	}
}
