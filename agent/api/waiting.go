package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"

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
func (w *Waiting) Socket() http.Handler {
	return w.guarded(func(r *http.Request) bool { return r.Header.Get("Origin") == "" })
}

// Listener handles admin.listen, which is at address, for the names that Server.Listener takes.
func (w *Waiting) Listener(address string) http.Handler {
	names := hostNames(address)
	return w.guarded(func(r *http.Request) bool { return isProbe(r.URL.Path) || knownHost(r.Host, names) })
}

func (w *Waiting) guarded(allowed func(*http.Request) bool) http.Handler {
	mux, h := http.NewServeMux(), &socket.Handlers{Version: w.Version, Log: w.Log}
	probes := &Server{Unready: func() string { return w.Why().Error() }}
	mux.HandleFunc("GET /healthz", probes.healthz)
	mux.HandleFunc("GET /readyz", probes.readyz)
	mux.Handle("GET /metrics", w.Metrics)
	mux.HandleFunc("GET /api/hello", h.Answer(func(*http.Request) (any, error) {
		return socket.Hello{Version: w.Version, PID: os.Getpid()}, nil
	}))
	mux.HandleFunc("/", h.Answer(func(*http.Request) (any, error) { return nil, fmt.Errorf("%w: %w", ErrWaiting, w.Why()) }))
	return h.Guard(mux, allowed)
}
