package socket

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"personasync/agent/host"
)

// serve serves h on a fresh unix socket until the test ends. As the agent's own, it knows the user at the other end.
func serve(t *testing.T, h http.Handler) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := host.ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: h, ReadHeaderTimeout: time.Second, ConnContext: WithPeer}}
	server.Start()
	t.Cleanup(server.Close)
	return path
}

func dial(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), path, "1.0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// agent handles the socket of an agent that answers a few routes.
func agent() http.Handler {
	mux, h := http.NewServeMux(), &Handlers{"1.0", slog.New(slog.DiscardHandler)}
	says := func(v any) http.HandlerFunc { return h.Answer(func(*http.Request) (any, error) { return v, nil }) }
	mux.HandleFunc("GET /api/hello", says(Hello{Version: "1.0", PID: os.Getpid()}))
	mux.HandleFunc("GET /api/status", says("well"))
	mux.HandleFunc("GET /api/stats", says([]int{1}))
	mux.HandleFunc("POST /api/flush", h.Order(says(7)))
	return h.Guard(mux, func(*http.Request) bool { return true })
}

func TestDialTellsWhoIsThere(t *testing.T) {
	dir := t.TempDir()
	if _, err := Dial(t.Context(), filepath.Join(dir, "none"), "1.0"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}

	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	if _, err := Dial(t.Context(), stale, "1.0"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a socket that a crash left: %v", err)
	}

	stranger := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }))
	if _, err := Dial(t.Context(), stranger, "1.0"); err == nil || errors.Is(err, ErrNotRunning) {
		t.Errorf("another program's socket: %v", err)
	}
}

func TestAnAgentOfAnotherVersionThatDoesNotKnowTheQuestion(t *testing.T) {
	old, h := http.NewServeMux(), &Handlers{"0.1", slog.New(slog.DiscardHandler)}
	old.HandleFunc("GET /api/hello", h.Answer(func(*http.Request) (any, error) { return Hello{Version: "0.1"}, nil }))
	c := dial(t, serve(t, h.Guard(old, func(*http.Request) bool { return true })))
	err := c.Get(t.Context(), "/api/stats", nil, new(any))
	if err == nil || !strings.Contains(err.Error(), "version 0.1") {
		t.Errorf("the error does not name the older version: %v", err)
	}
}

// TestAClosedClientLeavesNoConnection: an agent that stops waits for those that are open.
func TestAClosedClientLeavesNoConnection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := host.ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{}, 9)
	server := &http.Server{Handler: agent(), ReadHeaderTimeout: time.Second, ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			closed <- struct{}{}
		}
	}}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		_ = server.Close()
		<-served
	}()
	c, err := Dial(t.Context(), path, "1.0")
	if err == nil {
		err = c.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Error("the connection stays open")
	}
}

// TestAnAgentThatIsNotThereIsNotOneThatRefuses: a command then reads the files, or does not.
func TestAnAgentThatIsNotThereIsNotOneThatRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"nothing": filepath.Join(dir, "s"), "no folder": filepath.Join(dir, "none", "s"), "below a file": filepath.Join(file, "s"), "a file": file} {
		if _, err := Dial(t.Context(), path, "1.0"); !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := dialError("/run/s", fs.ErrPermission); errors.Is(err, ErrNotRunning) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a socket of another user: %v", err)
	}
	odd := errors.New("odd")
	if err := dialError("/run/s", odd); errors.Is(err, ErrNotRunning) || !errors.Is(err, odd) || !strings.Contains(err.Error(), "/run/s") {
		t.Errorf("another error: %v", err)
	}
}

// TestAStopIsTheReasonOfAnOrderThatEnded, and nothing else is.
func TestAStopIsTheReasonOfAnOrderThatEnded(t *testing.T) {
	why, odd := errors.New("the agent is stopping"), errors.New("odd")
	ended, end := context.WithCancelCause(t.Context())
	end(why)
	gone, leave := context.WithCancel(t.Context())
	leave()
	for _, tt := range []struct {
		ctx       context.Context
		err, want error
	}{
		{ended, context.Canceled, why},
		{ended, odd, odd},
		{gone, context.Canceled, context.Canceled},
		{t.Context(), context.Canceled, context.Canceled},
		{t.Context(), odd, odd},
	} {
		if got := stopped(tt.ctx, tt.err); got != tt.want {
			t.Errorf("%v became %v, want %v", tt.err, got, tt.want)
		}
	}
}
