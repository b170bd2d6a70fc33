package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"personasync/agent/host"
	"personasync/store/domain"
)

// hanging is an agent's socket where some questions have no answer until the test ends.
func hanging(t *testing.T, hangs func(path string) bool) string {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	socket := testServer(&answers{}).Socket()
	return serveSocket(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hangs(r.URL.Path) {
			select {
			case <-over:
			case <-r.Context().Done():
			}
			return
		}
		socket.ServeHTTP(w, r)
	}))
}

// dialBriefly greets an agent with all the patience there is, and has little from then on.
func dialBriefly(t *testing.T, path string, patience time.Duration) *Client {
	t.Helper()
	c := dial(t, path)
	c.patience = patience
	return c
}

// TestAnAgentThatHangsIsGivenUp, be it at a lock that every question needs, or altogether.
func TestAnAgentThatHangsIsGivenUp(t *testing.T) {
	t.Parallel() // it waits
	t.Run("from the start", func(t *testing.T) {
		_, err := dialWith(t.Context(), hanging(t, func(string) bool { return true }), "1.0", 50*time.Millisecond)
		if !errors.Is(err, ErrFrozen) || errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "kill -ABRT") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("but for greetings", func(t *testing.T) {
		c := dialBriefly(t, hanging(t, func(path string) bool { return path != "/api/hello" }), 200*time.Millisecond)
		if _, err := c.Stats(t.Context(), domain.OutboxFilter{}); !errors.Is(err, ErrFrozen) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("in the middle of an order", func(t *testing.T) {
		var frozen atomic.Bool
		c := dialBriefly(t, hanging(t, func(path string) bool { return frozen.Load() || path == "/api/db/compact" }), 200*time.Millisecond)
		frozen.Store(true)
		if _, err := c.Compact(t.Context(), nil); !errors.Is(err, ErrFrozen) || !strings.Contains(err.Error(), "not known") {
			t.Errorf("got %v", err)
		}
	})
}

// TestAnAgentThatHangsBehindItsFirstWordsIsGivenUp: an order that has reported progress may hang all the same.
func TestAnAgentThatHangsBehindItsFirstWordsIsGivenUp(t *testing.T) {
	t.Parallel() // it waits
	var frozen atomic.Bool
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	socket := testServer(&answers{}).Socket()
	path := serveSocket(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/db/compact" {
			frozen.Store(true)
			w.Header().Set(versionHeader, "1.0")
			_, _ = io.WriteString(w, `{"done":1,"total":2}`+"\n")
			_ = http.NewResponseController(w).Flush()
		}
		if frozen.Load() {
			select {
			case <-over:
			case <-r.Context().Done():
			}
			return
		}
		socket.ServeHTTP(w, r)
	}))
	c, far := dialBriefly(t, path, 200*time.Millisecond), int64(0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := c.Compact(ctx, func(done, _ int64) { far = done })
	if far != 1 || !errors.Is(err, ErrFrozen) || !strings.Contains(err.Error(), "not known") {
		t.Errorf("after %d, %v", far, err)
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
	server := &http.Server{Handler: testServer(&answers{}).Socket(), ReadHeaderTimeout: time.Second, ConnState: func(_ net.Conn, s http.ConnState) {
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

// TestASlowAnswerOfALiveAgentIsWaitedFor: of a question and of an order, for as long as greetings are
// answered.
func TestASlowAnswerOfALiveAgentIsWaitedFor(t *testing.T) {
	t.Parallel() // it waits
	var signs atomic.Int32
	socket := testServer(&answers{stats: []domain.StatLine{{State: "pending", Count: 1}}}).Socket()
	slow := func(ctx context.Context) {
		for signs.Load() < 2 && ctx.Err() == nil { // the greeting, and one beside the question
			time.Sleep(time.Millisecond)
		}
	}
	path := serveSocket(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/hello", "/api/status":
			signs.Add(1)
		default:
			slow(r.Context())
		}
		socket.ServeHTTP(w, r)
	}))
	c := dialBriefly(t, path, 2*time.Second)
	if list, err := c.Stats(t.Context(), domain.OutboxFilter{}); err != nil || len(list) != 1 {
		t.Errorf("a question: %v, %v", list, err)
	}
	signs.Store(1)
	if r, err := c.Flush(t.Context(), ""); err != nil || r.Pending != 7 {
		t.Errorf("an order: %+v, %v", r, err)
	}
}

func TestTheStateOfAProcessIsRead(t *testing.T) {
	if state := processState(os.Getpid()); state != 'R' && state != 'S' && state != 'D' {
		t.Errorf("this process is in state %q", state)
	}
}
