package cli

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"personasync/agent"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/store"
	"personasync/sync/sandbox"
)

// TestRestartsBehindASocketOfSystemdLoseNothing restarts the agent three times under 64 clients. The
// test plays systemd: it holds the socket, and hands it to each process in turn.
func TestRestartsBehindASocketOfSystemdLoseNothing(t *testing.T) {
	m := newHost(t)
	m.start()
	c := m.hammer(64)
	for range 3 {
		c.more(500)
		m.stop()
		m.start()
	}
	c.more(500)
	c.end()
	if c.failed.Load() > 0 {
		t.Errorf("%d of %d requests failed, one with: %v", c.failed.Load(), c.failed.Load()+c.taken.Load(), c.why.Load())
	}
	if accepted := m.accepted(); accepted != c.taken.Load() {
		t.Errorf("%d events were answered 200, the agent holds %d", c.taken.Load(), accepted)
	}
	m.stop()
}

// TestACrashDoesNotEndLikeARefusal: the unit starts the agent again after the one, not after the other. A
// crash ends by a signal. Which one is the runtime's affair: it may meet another while it writes down what
// its threads were doing, and systemd restarts after any.
func TestACrashDoesNotEndLikeARefusal(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGABRT /* as a watchdog does */, syscall.SIGSEGV} {
		t.Run(sig.String(), func(t *testing.T) {
			m := newHost(t)
			m.start()
			m.agent.Stderr = nil
			c := m.hammer(1)
			c.more(1)
			c.cancel()
			if err := m.agent.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			err := m.agent.Wait()
			c.all.Wait()
			m.agent = nil
			failed := (*exec.ExitError)(nil)
			if !errors.As(err, &failed) || !failed.Sys().(syscall.WaitStatus).Signaled() {
				t.Errorf("the agent ended with %v, want the end by a signal", err)
			}
		})
	}
}

// machine has a socket and, now and then, an agent on it.
type machine struct {
	t      *testing.T
	dir    string
	socket *os.File
	addr   string
	admin  string // address of the page; "" for none
	agent  *exec.Cmd
}

func newHost(t *testing.T) *machine {
	box := httptest.NewServer(sandbox.New(sandbox.Options{}))
	t.Cleanup(box.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // the file stays open
	t.Cleanup(func() { _ = socket.Close() })
	m := &machine{t: t, dir: t.TempDir(), socket: socket, addr: l.Addr().String()}
	file := fmt.Sprintf("data_dir = \"data\"\n[ingest]\nlisten = %q\nshared_secret = \"hush\"\n[admin]\nsocket = \"s\"\nlisten = \"\"\n"+
		"[moengage]\nworkspace_id = \"WS\"\napi_key = \"key\"\nbase_url = %q\n", m.addr, box.URL)
	if err := os.WriteFile(m.config(), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if m.agent != nil {
			_ = m.agent.Process.Kill()
			_ = m.agent.Wait()
		}
	})
	return m
}

func (m *machine) config() string { return filepath.Join(m.dir, "agent.toml") }

// start does not wait until the agent is there: nor does systemd keep the clients away until then.
func (m *machine) start() {
	m.t.Helper()
	m.startTo(m.t.Output())
}

// startHeard starts it and waits until its log has what says matches.
func (m *machine) startHeard(says *regexp.Regexp) *heard {
	m.t.Helper()
	done := make(chan struct{})
	said := &heard{until: says, then: func() { close(done) }}
	m.startTo(said)
	select {
	case <-done:
	case <-time.After(hangs):
		m.t.Fatalf("it never said %q, but:\n%s", says, said)
	}
	return said
}

func (m *machine) startTo(log io.Writer) {
	m.t.Helper()
	m.agent = m.inheriting(m.socket)
	m.agent.Stderr = log
	if err := m.agent.Start(); err != nil {
		m.t.Fatal(err)
	}
}

// inheriting is an agent that systemd hands files over to.
func (m *machine) inheriting(files ...*os.File) *exec.Cmd {
	c := exec.Command("sh", "-c", `LISTEN_PID=$$ exec personasync run --config "$0"`, m.config())
	c.Env = append(os.Environ(), fmt.Sprintf("LISTEN_FDS=%d", len(files)), "GORACE=atexit_sleep_ms=0")
	c.ExtraFiles = files
	return c
}

// command begins a command, an agent or another, as a shell does.
func (m *machine) command(name string, environ ...string) {
	m.t.Helper()
	m.agent = exec.Command("personasync", name, "--config", m.config())
	m.agent.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), environ...)
	m.agent.Stderr = m.t.Output()
	must(m.t, m.agent.Start())
}

// endBy has it get a signal, which it must die of.
func (m *machine) endBy(s syscall.Signal) {
	m.t.Helper()
	must(m.t, m.agent.Process.Signal(s))
	err := m.agent.Wait()
	m.agent = nil
	if failed := (*exec.ExitError)(nil); !errors.As(err, &failed) || failed.Sys().(syscall.WaitStatus).Signal() != s {
		m.t.Errorf("it ended with %v", err)
	}
}

// stop has the agent end, which it must do well and in time.
func (m *machine) stop() {
	m.t.Helper()
	must(m.t, m.agent.Process.Signal(syscall.SIGTERM))
	late := time.AfterFunc(hangs, func() { _ = m.agent.Process.Kill() })
	err := m.agent.Wait()
	late.Stop()
	if err != nil {
		m.t.Errorf("the agent ended with %v", err)
	}
	m.agent = nil
}

// accepted counts the events that the running agent knows, once it has applied them all.
func (m *machine) accepted() int64 {
	m.t.Helper()
	conf, err := config.LoadWithoutSecrets(m.config(), nil)
	if err != nil {
		m.t.Fatal(err)
	}
	for {
		i, done, _, err := agent.Open(m.t.Context(), conf, "test")
		var s condition.Status
		if err == nil {
			s, err = i.Status(m.t.Context())
			_ = done.Close()
		}
		switch {
		case errors.Is(err, store.ErrInUse): // it starts, and takes the files that were being read
		case err != nil:
			m.t.Fatal(err)
		case s.Ready && s.Unapplied == 0:
			return int64(s.Events.Accepted)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// clients post without pause.
type clients struct {
	t             *testing.T
	url           string
	ctx           context.Context
	cancel        context.CancelFunc
	all           sync.WaitGroup
	taken, failed atomic.Int64
	why           atomic.Value
}

func (m *machine) hammer(n int) *clients {
	c := &clients{t: m.t, url: "http://" + m.addr + "/segment/webhook"}
	c.ctx, c.cancel = context.WithCancel(m.t.Context())
	for i := range n {
		c.all.Go(func() { c.post(i) })
	}
	return c
}

func (c *clients) post(n int) {
	transport := &http.Transport{} // one connection each, kept alive
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	for i := 0; c.ctx.Err() == nil; i++ {
		if err := post(client, c.url, fmt.Sprintf("usr_%d_%d", n, i)); err != nil {
			c.failed.Add(1)
			c.why.Store(err.Error())
			return
		}
		c.taken.Add(1)
	}
}

func post(client *http.Client, url, user string) error {
	body := `{"type":"identify","userId":"` + user + `","messageId":"m-` + user + `","timestamp":"2026-03-14T09:26:53.589Z","traits":{"vip":true},` +
		`"context":{"personas":{"computation_class":"audience","computation_id":"aud_1","computation_key":"vip","space_id":"spa_1"}}}`
	mac := hmac.New(sha1.New, []byte("hush"))
	_, _ = io.WriteString(mac, body)
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct{ Success bool }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK || !answer.Success {
		return fmt.Errorf("HTTP %d, %+v, %v", resp.StatusCode, answer, err)
	}
	return nil
}

// more waits until n more events were taken.
func (c *clients) more(n int64) {
	c.t.Helper()
	for was, end := c.taken.Load(), time.Now().Add(hangs); c.taken.Load() < was+n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("waited in vain for %d more events: %d taken, %d failed", n, c.taken.Load(), c.failed.Load())
		}
	}
}

func (c *clients) end() {
	c.cancel()
	c.all.Wait()
}
