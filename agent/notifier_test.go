package agent

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"personasync/agent/config"
)

// manager plays the service manager and collects its messages.
type manager struct {
	t    *testing.T
	told chan string
}

func newManager(t *testing.T) *manager {
	path := filepath.Join(t.TempDir(), "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	m := &manager{t, make(chan string, 1000)}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		for buf := make([]byte, 4096); ; {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			m.told <- string(buf[:n])
		}
	}()
	return m
}

// await returns the next message that has words, and the messages before it.
func (m *manager) await(words string) (message string, before []string) {
	m.t.Helper()
	for patience := time.After(time.Minute); ; {
		select {
		case message := <-m.told:
			if strings.Contains(message, words) {
				return message, before
			}
			before = append(before, message)
		case <-patience:
			m.t.Fatalf("the service manager was never told %q, but %q", words, before)
		}
	}
}

func TestServiceManagerHearsOfEveryPhase(t *testing.T) {
	m, s := newManager(t), newSite(t)
	hangup, next := make(chan os.Signal), make(chan *config.Config, 1)
	a := s.start(s.load(), RunOptions{Reload: hangup, Load: func() (*config.Config, error) {
		if c := <-next; c != nil {
			return c, nil
		}
		return nil, os.ErrInvalid
	}})
	message, before := m.await("READY=1")
	if !strings.Contains(message, "STATUS=accepting events; 0 changes pending, 0 parked; MoEngage unknown") || len(before) > 0 {
		t.Errorf("told %q after %q", message, before)
	}
	for _, c := range []*config.Config{nil, s.load()} {
		next <- c
		hangup <- os.Interrupt
		m.await("RELOADING=1")
		message, _ = m.await("READY=1")
		if refused := strings.Contains(message, "the last reload was refused"); refused != (c == nil) {
			t.Errorf("after a reload of %v: %q", c, message)
		}
	}
	a.stop()
	m.await("STOPPING=1")
}

// TestServiceManagerHearsOfAFullDisk: the start is over, though nothing is accepted. Waiting on for
// READY, systemd would end the agent and start it again.
func TestServiceManagerHearsOfAFullDisk(t *testing.T) {
	m, s := newManager(t), newSite(t)
	dir := s.smallDisk("size=8m")
	s.start(s.load(), RunOptions{}).stop()
	m.await("STOPPING=1")
	fill(t, dir)

	ctx, end := context.WithCancel(t.Context())
	a := &started{t: t, ended: make(chan error, 1), end: end}
	changed := s.load("PERSONASYNC_DEFAULTS_SEND=both") // the rules must be recorded, and cannot be
	go func() { a.ended <- Run(ctx, changed, RunOptions{Log: quiet()}) }()
	defer a.stop()
	message, _ := m.await("READY=1")
	if !strings.Contains(message, "STATUS=not accepting events: ") {
		t.Errorf("on a full disk it says %q", message)
	}
}

func TestWatchdogIsServedWhileCommitsEnd(t *testing.T) {
	m, s := newManager(t), newSite(t)
	t.Setenv("WATCHDOG_USEC", "80000")
	a := s.start(s.load(), RunOptions{})
	for range 3 {
		m.await("WATCHDOG=1")
	}
	a.stop()
}

// TestWatchdogStarvesWithTheCommits: a process whose goroutines tick and whose disk is dead must be
// killed.
func TestWatchdogStarvesWithTheCommits(t *testing.T) {
	m, s := newManager(t), newSite(t)
	t.Setenv("WATCHDOG_USEC", "80000")
	log := new(journal)
	p, err := start(t.Context(), s.load(), life{RunOptions: RunOptions{Log: slog.New(slog.NewTextHandler(log, nil))}})
	if err != nil {
		t.Fatal(err)
	}
	waits := make(chan struct{})
	p.notifier.Liveness = func(ctx context.Context) error {
		<-ctx.Done()
		select {
		case waits <- struct{}{}:
		default:
		}
		return ctx.Err()
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx) }()
	for range 3 {
		awaited(t, "a question whether commits complete", waits)
	}
	log.await(t, "commits do not complete")
	end()
	if err := awaited(t, "the end", ended); err != nil {
		t.Error(err)
	}
	if _, before := m.await("STOPPING=1"); strings.Contains(strings.Join(before, " "), "WATCHDOG=1") {
		t.Errorf("with no commit coming to an end the service manager heard %q", before)
	}
}

func TestSocketOfSystemdIsHeldAgainstTheRules(t *testing.T) {
	s := newSite(t)
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	err = Run(t.Context(), s.load(), RunOptions{Log: quiet(), Ingest: l})
	if err == nil || !strings.Contains(err.Error(), "the socket unit of systemd: ingest.listen") || !strings.Contains(err.Error(), "reachable from other machines") {
		t.Errorf("plain HTTP for everybody: %v", err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("the socket stays open")
	}
}

// TestReloadLeavesTheSocketOfSystemdAlone: what ingest.listen says does not matter there, and is no
// reason for a warning at every reload.
func TestReloadLeavesTheSocketOfSystemdAlone(t *testing.T) {
	s := newSite(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log, hangup := new(journal), make(chan os.Signal)
	a := s.start(s.load(), RunOptions{
		Log: slog.New(slog.NewTextHandler(log, nil)), Ingest: l,
		Reload: hangup, Load: func() (*config.Config, error) { return s.load(), nil },
	})
	log.await(t, "ingest.listen is not used")
	if a.Ingest.String() != l.Addr().String() {
		t.Errorf("it listens at %s, not on the socket %s", a.Ingest, l.Addr())
	}
	hangup <- os.Interrupt
	log.await(t, "configuration reloaded")
	if strings.Contains(log.String(), "takes effect at the next start only") {
		t.Errorf("the reload warns:\n%s", log)
	}
	if code := a.post(http.DefaultClient, "http", news("ann", true, time.Now())); code != http.StatusOK {
		t.Errorf("a delivery was answered %d", code)
	}
}
