package socket

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// hanging is an agent's socket where some questions have no answer until the test ends.
func hanging(t *testing.T, hangs func(path string) bool) string {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	socket := agent()
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
		if err := c.Get(t.Context(), "/api/stats", nil, new(any)); !errors.Is(err, ErrFrozen) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("in the middle of an order", func(t *testing.T) {
		var frozen atomic.Bool
		c := dialBriefly(t, hanging(t, func(path string) bool { return frozen.Load() || path == "/api/db/compact" }), 200*time.Millisecond)
		frozen.Store(true)
		if err := c.Follow(t.Context(), "/api/db/compact", nil, nil, new(any)); !errors.Is(err, ErrFrozen) || !strings.Contains(err.Error(), "not known") {
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
	socket := agent()
	path := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/db/compact" {
			frozen.Store(true)
			w.Header().Set(VersionHeader, "1.0")
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
	err := c.Follow(ctx, "/api/db/compact", nil, func(done, _ int64) { far = done }, new(any))
	if far != 1 || !errors.Is(err, ErrFrozen) || !strings.Contains(err.Error(), "not known") {
		t.Errorf("after %d, %v", far, err)
	}
}

// TestASlowAnswerOfALiveAgentIsWaitedFor: of a question and of an order, for as long as greetings are
// answered.
func TestASlowAnswerOfALiveAgentIsWaitedFor(t *testing.T) {
	t.Parallel() // it waits
	var signs atomic.Int32
	socket := agent()
	slow := func(ctx context.Context) {
		for signs.Load() < 2 && ctx.Err() == nil { // the greeting, and one beside the question
			time.Sleep(time.Millisecond)
		}
	}
	path := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/hello", "/api/status":
			signs.Add(1)
		default:
			slow(r.Context())
		}
		socket.ServeHTTP(w, r)
	}))
	c := dialBriefly(t, path, 2*time.Second)
	var counts []int
	if err := c.Get(t.Context(), "/api/stats", nil, &counts); err != nil || len(counts) != 1 {
		t.Errorf("a question: %v, %v", counts, err)
	}
	signs.Store(1)
	pending := 0
	if err := c.Post(t.Context(), "/api/flush", nil, &pending); err != nil || pending != 7 {
		t.Errorf("an order: %d, %v", pending, err)
	}
}

func TestTheStateOfAProcessIsRead(t *testing.T) {
	if state := processState(os.Getpid()); state != 'R' && state != 'S' && state != 'D' {
		t.Errorf("this process is in state %q", state)
	}
}
