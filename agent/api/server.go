package api

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"

	"personasync/agent/api/internal/socket"
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

func (s *Server) handlers() *socket.Handlers { return &socket.Handlers{Version: s.Version, Log: s.Log} }

// Socket handles the unix socket.
func (s *Server) Socket() http.Handler {
	mux, h := http.NewServeMux(), s.handlers()
	s.public(mux, h)
	s.users(mux, h, func(f http.HandlerFunc) http.HandlerFunc { return f })
	mux.HandleFunc("GET /api/config", configuration(h, s.Running))
	mux.HandleFunc("POST /api/authenticate", authenticate(h, s.Running))
	mux.HandleFunc("POST /api/preview", h.Answer(questions{s.Inspect}.preview))
	mux.HandleFunc("POST /api/notify/test", testNotify(h, s.Running))
	mux.HandleFunc("POST /api/flush", flush(h, s.Running))
	mux.HandleFunc("POST /api/outbox/retry", act(h, s.Running.Retry))
	mux.HandleFunc("POST /api/outbox/drop", act(h, s.Running.Drop))
	for _, part := range [...]string{"outbox", "computation"} {
		mux.HandleFunc("POST /api/"+part+"/pause", pause(h, s.Pauser))
		mux.HandleFunc("POST /api/"+part+"/resume", resume(h, s.Pauser))
	}
	mux.HandleFunc("POST /api/verify", verify(h, s.Running))
	mux.HandleFunc("POST /api/verify-user", verifyUser(h, s.Running))
	mux.HandleFunc("POST /api/order", carryOut(h, s.Orders))
	mux.HandleFunc("POST /api/user/forget", forgetUser(h, s.Orders))
	mux.HandleFunc("POST /api/db/check", check(h, s.Upkeep))
	mux.HandleFunc("POST /api/db/compact", compact(h, s.Upkeep))
	mux.HandleFunc("POST /api/db/backup", backUp(h, s.Upkeep))
	return h.Guard(mux, fromNoPage)
}

// Listener handles admin.listen, which is at address. A browser that was tricked into resolving a foreign name to
// this machine is refused: the listener is called by localhost, by an IP address or by a name of its own.
func (s *Server) Listener(address string) http.Handler {
	mux, h := http.NewServeMux(), s.handlers()
	s.public(mux, h)
	s.users(mux, h, s.onlyIfShown)
	if s.Page != nil {
		s.Page(mux, h.Answer)
	}
	return h.Guard(mux, byKnownName(address))
}

// alive adds the routes that an agent answers even while its store cannot be opened.
func (s *Server) alive(mux *http.ServeMux, h *socket.Handlers) {
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	if s.Metrics != nil {
		mux.Handle("GET /metrics", s.Metrics)
	}
	mux.HandleFunc("GET /api/hello", h.Answer(func(*http.Request) (any, error) {
		return socket.Hello{Version: s.Version, PID: os.Getpid()}, nil
	}))
}

// public adds the routes that show no user id.
func (s *Server) public(mux *http.ServeMux, h *socket.Handlers) {
	s.alive(mux, h)
	mux.HandleFunc("GET /api/status", h.Answer(func(r *http.Request) (any, error) {
		return s.Inspect.Status(r.Context())
	}))
	mux.HandleFunc("GET /api/stats", h.Answer(func(r *http.Request) (any, error) {
		return questions{s.Inspect}.stats(r)
	}))
	mux.HandleFunc("GET /api/schedule", h.Answer(func(r *http.Request) (any, error) {
		next, err := strconv.Atoi(cmp.Or(r.URL.Query().Get("next"), "1"))
		if err != nil || next < 0 {
			return nil, fmt.Errorf("%w: next is no count", socket.ErrUsage)
		}
		return s.Inspect.Schedule(r.Context(), next)
	}))
	mux.HandleFunc("GET /api/computations", h.Answer(func(r *http.Request) (any, error) {
		return s.Inspect.Computations(r.Context())
	}))
}

// users adds the routes that show user ids, each handler wrapped by protect.
func (s *Server) users(mux *http.ServeMux, h *socket.Handlers, protect func(http.HandlerFunc) http.HandlerFunc) {
	i := questions{s.Inspect}
	for pattern, answer := range map[string]socket.Question{
		"GET /api/changes": i.changes,
		"GET /api/change":  i.change,
		"GET /api/members": i.members,
		"GET /api/journal": i.journal, "GET /api/deletions": i.deletions,
		"GET /api/user":    i.user,
		"GET /api/dry-run": i.dryRun,
		"GET /api/trail":   i.activity,
	} {
		mux.HandleFunc(pattern, protect(h.Answer(answer)))
	}
}

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	socket.WriteJSON(w, http.StatusOK, map[string]bool{"alive": true})
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
		socket.WriteJSON(w, http.StatusOK, answer)
		return
	}
	socket.WriteJSON(w, http.StatusServiceUnavailable, map[string]any{"ready": false, "reason": why})
}

// onlyIfShown closes a route on admin.listen unless user ids may be seen there.
func (s *Server) onlyIfShown(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.ShowUsers() {
			socket.WriteProblem(w, http.StatusForbidden, socket.Problem{Code: "forbidden",
				Message: "user ids are shown here only with admin.show_users = true; the commands and the unix socket always show them"})
			return
		}
		next(w, r)
	}
}
