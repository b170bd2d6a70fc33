package api

import (
	"fmt"
	"log/slog"
	"net/http"

	"personasync/agent/api/internal/socket"
)

// ErrWaiting is the answer of an agent that runs and cannot open its store yet.
var ErrWaiting = socket.ErrWaiting

// Waiting answers on the admin side of an agent whose store cannot be opened yet: the probes, a greeting, the metrics, and
// the reason to everything else.
type Waiting struct {
	Version string
	Why     func() error
	Metrics http.Handler
	Log     *slog.Logger
}

// Socket handles the unix socket.
func (w *Waiting) Socket() http.Handler { return w.guarded(fromNoPage) }

// Listener handles admin.listen, which is at address, for the names that Server.Listener takes.
func (w *Waiting) Listener(address string) http.Handler { return w.guarded(byKnownName(address)) }

func (w *Waiting) guarded(allowed func(*http.Request) bool) http.Handler {
	s := &Server{Version: w.Version, Metrics: w.Metrics, Log: w.Log, Unready: func() string { return w.Why().Error() }}
	mux, h := http.NewServeMux(), s.handlers()
	s.alive(mux, h)
	mux.HandleFunc("/", h.Answer(func(*http.Request) (any, error) { return nil, fmt.Errorf("%w: %w", ErrWaiting, w.Why()) }))
	return h.Guard(mux, allowed)
}
