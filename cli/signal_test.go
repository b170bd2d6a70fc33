package cli

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
)

// TestAHangupBeforeTheConfigurationIsReadDoesNotEndTheAgent: it ended the process, and systemd takes a
// death by SIGHUP for a clean end, so that the agent stayed down. It is carried out after the start.
func TestAHangupBeforeTheConfigurationIsReadDoesNotEndTheAgent(t *testing.T) {
	m := newHost(t)
	kept := m.config() + ".kept"
	must(t, os.Rename(m.config(), kept))
	must(t, syscall.Mkfifo(m.config(), 0o600))
	reloaded := make(chan struct{})
	said := &heard{until: regexp.MustCompile("configuration reloaded"), then: func() { close(reloaded) }}
	m.startTo(said)
	fifo, err := os.OpenFile(m.config(), os.O_WRONLY, 0) // returns when the agent has opened it to read
	must(t, err)
	must(t, m.agent.Process.Signal(syscall.SIGHUP))
	must(t, os.Rename(kept, m.config()))
	_, err = fifo.WriteString(readFile(t, m.config()))
	must(t, errors.Join(err, fifo.Close()))
	select {
	case <-reloaded:
	case <-time.After(hangs):
		t.Fatalf("it did not reload, and said:\n%s", said)
	}
	m.stop()
}

// TestAHangupDuringTheStopDoesNotEndItBadly sends them until the process has ended.
func TestAHangupDuringTheStopDoesNotEndItBadly(t *testing.T) {
	m := newHost(t)
	m.startHeard(regexp.MustCompile("msg=ready"))
	must(t, m.agent.Process.Signal(syscall.SIGTERM))
	ended := make(chan error, 1)
	go func() { ended <- m.agent.Wait() }()
	for {
		select {
		case err := <-ended:
			m.agent = nil
			if err != nil {
				t.Errorf("the agent ended with %v", err)
			}
			return
		case <-time.After(100 * time.Microsecond):
			_ = m.agent.Process.Signal(syscall.SIGHUP)
		}
	}
}

// TestAStartThatWaitsForACommandCanBeStopped: a unit that is stopped meanwhile ends well.
func TestAStartThatWaitsForACommandCanBeStopped(t *testing.T) {
	t.Parallel() // it waits
	m := newHost(t)
	hold(t, filepath.Join(m.dir, "data"), "db compact")
	m.startHeard(regexp.MustCompile("personasync db compact"))
	m.stop()
}

// TestAStartThatWaitsForABackupCanBeStopped: a backup of the files of a stopped agent holds their locks for
// as long as it takes, and the start was deaf meanwhile.
func TestAStartThatWaitsForABackupCanBeStopped(t *testing.T) {
	t.Parallel() // it waits
	m := newHost(t)
	must(t, hold(t, filepath.Join(m.dir, "data"), "").Close())
	file, err := os.Open(filepath.Join(m.dir, "data", "state.db"))
	must(t, err)
	defer file.Close()
	must(t, syscall.Flock(int(file.Fd()), syscall.LOCK_SH))
	m.startHeard(regexp.MustCompile("another process reads the files"))
	m.stop()
}

// TestOtherCommandsEndByAHangup: the terminal is gone.
func TestOtherCommandsEndByAHangup(t *testing.T) {
	m := newHost(t)
	must(t, os.Remove(m.config()))
	must(t, syscall.Mkfifo(m.config(), 0o600))
	m.command("status")
	fifo, err := os.OpenFile(m.config(), os.O_WRONLY, 0)
	must(t, err)
	defer fifo.Close()
	m.endBy(syscall.SIGHUP)
}

// TestAnAgentThatMissesTheSocketOfSystemdIsUnready: it listened where nobody sends to, and said that all
// was well.
func TestAnAgentThatMissesTheSocketOfSystemdIsUnready(t *testing.T) {
	m := newHost(t)
	must(t, m.socket.Close())
	m.command("run", "LISTEN_FDS=1", "LISTEN_PID=1")
	conf, err := config.LoadWithoutSecrets(m.config(), nil)
	must(t, err)
	var s condition.Status
	for end := time.Now().Add(hangs); !strings.Contains(s.Unready, "systemd has a socket for process"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it says %+v", s)
		}
		c, err := api.Dial(t.Context(), conf.Socket(os.Getenv), "test")
		if err != nil {
			continue
		}
		s, err = c.Status(t.Context())
		must(t, errors.Join(err, c.Close()))
	}
	if s.Ready {
		t.Errorf("it is ready: %+v", s)
	}
	m.stop()
}

// TestSocketsOfTheWrongKindAreRefused: systemd hands over whatever the socket unit says. A connection, of
// Accept=yes, was taken for a listener.
func TestSocketsOfTheWrongKindAreRefused(t *testing.T) {
	for name, files := range map[string]func(t *testing.T) []*os.File{
		"datagrams": func(t *testing.T) []*os.File {
			c, err := net.ListenPacket("udp", "127.0.0.1:0")
			must(t, err)
			defer c.Close()
			return []*os.File{fileOf(t, c.(filed))}
		},
		"a connection": func(t *testing.T) []*os.File {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer l.Close()
			c, err := net.Dial("tcp", l.Addr().String())
			must(t, err)
			defer c.Close()
			return []*os.File{fileOf(t, c.(filed))}
		},
		"sequenced packets": func(t *testing.T) []*os.File {
			l, err := net.Listen("unixpacket", filepath.Join(shortDir(t), "s"))
			must(t, err)
			defer l.Close()
			return []*os.File{fileOf(t, l.(filed))}
		},
		"no socket": func(t *testing.T) []*os.File {
			f, err := os.Open(os.DevNull)
			must(t, err)
			return []*os.File{f}
		},
		"two sockets": func(t *testing.T) []*os.File {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer l.Close()
			return []*os.File{fileOf(t, l.(filed)), fileOf(t, l.(filed))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newHost(t)
			var said strings.Builder
			c := m.inheriting(files(t)...)
			c.Stderr = &said
			_ = c.Run() // its exit code tells
			if code := c.ProcessState.ExitCode(); code != 2 || !strings.Contains(said.String(), "ListenStream=") {
				t.Errorf("it ended with %d and said:\n%s", code, &said)
			}
		})
	}
}

// filed are the connections and listeners of package net.
type filed interface{ File() (*os.File, error) }

func fileOf(t *testing.T, c filed) *os.File {
	f, err := c.File()
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}
