package host

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serving is a server with a listener on the loopback address that keeps so many connections open.
func serving(t *testing.T, most int, log io.Writer, h http.HandlerFunc) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(slog.New(slog.NewTextHandler(log, nil)), "test", l, most, h)
	ended := make(chan error, 1)
	go func() { ended <- s.Run() }()
	t.Cleanup(func() {
		if err := s.Stop(time.Second); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask gets the answer to one request on a connection of its own.
func ask(t *testing.T, s *Server) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	resp, err := client.Get("http://" + s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// until waits for a state that must come.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

// TestAClosedConnectionMakesRoomForTheNext: a slot that was not given back would be the end of a server.
func TestAClosedConnectionMakesRoomForTheNext(t *testing.T) {
	during := make(chan int, 3)
	var s *Server
	s = serving(t, 1, io.Discard, func(w http.ResponseWriter, _ *http.Request) {
		open, _ := s.Connections()
		during <- open
		_, _ = io.WriteString(w, "hello")
	})
	for range 3 {
		if got := ask(t, s); got != "hello" {
			t.Errorf("it answers %q", got)
		}
		if open := <-during; open != 1 {
			t.Errorf("%d connections were open, want 1", open)
		}
	}
	until(t, "no connection is open", func() bool { open, _ := s.Connections(); return open == 0 })
}

// TestAFullServerSaysSoOnce: and serves the connections that wait once others are closed.
func TestAFullServerSaysSoOnce(t *testing.T) {
	var log bytes.Buffer
	s := serving(t, 1, &log, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	idle, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the slot is taken", func() bool { open, _ := s.Connections(); return open == 1 })
	answered := make(chan string)
	for range 2 {
		go func() { answered <- ask(t, s) }()
	}
	until(t, "the listener is full", func() bool { return s.listener.said.Load() != 0 })
	_ = idle.Close()
	for range 2 {
		if got := <-answered; got != "hello" {
			t.Errorf("it answers %q", got)
		}
	}
	until(t, "no connection is open", func() bool { open, _ := s.Connections(); return open == 0 })
	s.listener.warn(time.Now())
	if n := strings.Count(log.String(), "as many connections are open as may be"); n != 1 {
		t.Errorf("it was said %d times:\n%s", n, &log)
	}
	if s.listener.warn(time.Now().Add(2 * time.Minute)); strings.Count(log.String(), "as many connections") != 2 {
		t.Error("it is not said again, minutes later")
	}
}

// TestAKeptSocketOutlivesItsServers: connections of the pause between two of them are served by the second.
func TestAKeptSocketOutlivesItsServers(t *testing.T) {
	kept, err := Keep(t.Context(), "ingest.listen", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := kept.Again()
	if err != nil {
		t.Fatal(err)
	}
	address := first.Addr().String()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatalf("between two servers nobody listens: %v", err)
	}
	defer conn.Close()
	second, err := kept.Again()
	if err != nil {
		t.Fatal(err)
	}
	served, err := second.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = served.Close()
	_ = second.Close()
	if err := kept.Close(); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("a socket that is no longer kept still listens")
	}
}

// TestASocketWithANameIsNotKept: its server looks after the name, so each makes its own.
func TestASocketWithANameIsNotKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	kept, err := Keep(t.Context(), "admin.listen", "unix:"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := kept.Again(); l != nil || err != nil {
		t.Errorf("it gives %v, %v", l, err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket was left there")
	}
	if err := kept.Close(); err != nil {
		t.Error(err)
	}
}

func TestAnOwnerIsNamed(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := OwnerName(info); got != me.Username {
		t.Errorf("the owner is named %q, and is %q", got, me.Username)
	}
}
