package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"personasync/cli/internal/logging"
	"personasync/cli/internal/term"
	"personasync/store"
)

// TestExitCodesTellWhatARestartCures: the unit starts an agent again after 1 and never after 2, so a
// fault that passes by itself must not end with 2, nor one that stays with 1.
func TestExitCodesTellWhatARestartCures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		root bool                                            // it takes root to bring about
		make func(t *testing.T, dir string) (lines []string) // of agent.toml
		code int
		says string
	}{
		{"the folder of data_dir does not exist: its disk is not mounted yet", false, func(*testing.T, string) []string {
			return []string{`data_dir = "disk/data"`}
		}, 1, `disk does not exist: mount its disk`},
		{"data_dir is a link to a disk that is not mounted yet", false, func(t *testing.T, dir string) []string {
			must(t, os.Symlink(filepath.Join(dir, "disk", "data"), filepath.Join(dir, "data")))
			return nil
		}, 1, `points to a folder that does not exist`},
		{"data_dir is to be made in root's mount point", true, func(t *testing.T, dir string) []string {
			must(t, os.Mkdir(filepath.Join(dir, "disk"), 0o755))
			return []string{`data_dir = "disk/data"`}
		}, 1, `this user may not make it: mount its disk`},
		{"data_dir is root's mount point, with nothing mounted", true, func(t *testing.T, dir string) []string {
			must(t, os.Mkdir(filepath.Join(dir, "data"), 0o755))
			return nil
		}, 1, `is an empty folder of root, .*: mount its disk there`},
		{"data_dir is root's and has something in it", true, func(t *testing.T, dir string) []string {
			must(t, os.MkdirAll(filepath.Join(dir, "data", "something"), 0o755))
			return nil
		}, 2, `may not be written by this user`},
		{"data_dir is a file", false, func(t *testing.T, dir string) []string {
			must(t, os.WriteFile(filepath.Join(dir, "data"), nil, 0o600))
			return nil
		}, 2, `data_dir .*data is not a folder: `},
		{"data_dir lies below a file", false, func(t *testing.T, dir string) []string {
			must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
			return []string{`data_dir = "file/data"`}
		}, 2, `data_dir .*data is not a folder: name one`},
		{"data_dir may not be written", true, func(t *testing.T, dir string) []string {
			must(t, os.Mkdir(filepath.Join(dir, "data"), 0o755))
			must(t, os.Chown(filepath.Join(dir, "data"), 12345, 12345))
			return nil
		}, 2, `may not be written by this user`},
		{"the ingest address is taken", false, func(t *testing.T, _ string) []string {
			return []string{"[ingest]", fmt.Sprintf("listen = %q", taken(t))}
		}, 1, `ingest.listen = .* is taken by another process`},
		{"the admin address is taken", false, func(t *testing.T, _ string) []string {
			return []string{"[ingest]", `listen = "127.0.0.1:0"`, "[admin]", fmt.Sprintf("listen = %q", taken(t))}
		}, 1, `admin.listen = .* is taken by another process`},
		{"the ingest address is not there yet", false, func(*testing.T, string) []string {
			return []string{"[ingest]", `listen = "192.0.2.1:8480"`, "behind_proxy = true"}
		}, 1, `ingest.listen = .* is no address of this host \(.ip -brief address. lists those there are\): correct it, or wait`},
		{"the admin socket is taken", false, func(t *testing.T, dir string) []string {
			l, err := net.Listen("unix", filepath.Join(dir, "s"))
			must(t, err)
			t.Cleanup(func() { _ = l.Close() })
			return []string{"[ingest]", `listen = "127.0.0.1:0"`, "[admin]", `socket = "s"`, `listen = ""`}
		}, 1, `socket .* is in use by another process`},
		{"no socket can have that path", false, func(_ *testing.T, dir string) []string {
			path := filepath.Join(dir, strings.Repeat("s", 106-len(dir)))
			return []string{"[ingest]", `listen = "127.0.0.1:0"`, "[admin]", fmt.Sprintf("socket = %q", path), `listen = ""`}
		}, 2, `longer than`},
		{"the admin socket names a file", false, func(t *testing.T, dir string) []string {
			must(t, os.WriteFile(filepath.Join(dir, "s"), nil, 0o600))
			return []string{"[ingest]", `listen = "127.0.0.1:0"`, "[admin]", `socket = "s"`, `listen = ""`}
		}, 2, `names a file`},
		{"the folder of the admin socket is not there yet", false, func(*testing.T, string) []string {
			return []string{"[ingest]", `listen = "127.0.0.1:0"`, "[admin]", `socket = "later/s"`, `listen = ""`}
		}, 1, `open socket`},
		{"state.db is a folder", false, func(t *testing.T, dir string) []string {
			must(t, os.MkdirAll(filepath.Join(dir, "data", "state.db"), 0o700))
			return nil
		}, 2, `.`},
		{"state.db is something else", false, func(t *testing.T, dir string) []string {
			must(t, os.Mkdir(filepath.Join(dir, "data"), 0o700))
			must(t, os.WriteFile(filepath.Join(dir, "data", "state.db"), []byte(strings.Repeat("no database ", 5000)), 0o600))
			return nil
		}, 2, `.`},
		{"another agent has the data", false, func(t *testing.T, dir string) []string {
			hold(t, filepath.Join(dir, "data"), "")
			return nil
		}, 2, `is held by process [0-9]+: stop that agent`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // some wait
			if c.root && os.Geteuid() != 0 {
				t.Skip("it takes root")
			}
			dir := shortDir(t)
			must(t, os.Chmod(dir, 0o755))
			must(t, os.WriteFile(filepath.Join(dir, "agent.toml"), []byte(strings.Join(c.make(t, dir), "\n")), 0o644))
			code, said := runUntilEnd(t, dir, c.root)
			if code != c.code || !regexp.MustCompile(c.says).MatchString(said) {
				t.Errorf("it ended with %d, not %d and %q; it said:\n%s", code, c.code, c.says, said)
			}
		})
	}
}

// TestAStartWaitsForACommandThatHasTheData: it ended with 2, after which the unit stops for good.
func TestAStartWaitsForACommandThatHasTheData(t *testing.T) {
	t.Parallel() // it waits
	m := newHost(t)
	command := hold(t, filepath.Join(m.dir, "data"), "user forget")
	said := m.startHeard(regexp.MustCompile(fmt.Sprintf("holder=.*process %d .*personasync user forget", os.Getpid())))
	must(t, command.Close())
	if s := m.accepted(); s != 0 {
		t.Errorf("a new store has %d events", s)
	}
	m.stop()
	if text := said.String(); !strings.Contains(text, "waits until that command has ended") || !strings.Contains(text, "msg=stopped") {
		t.Errorf("it said:\n%s", text)
	}
}

// shortDir is a folder whose path leaves room for a socket's.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "exit")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// taken is an address at which somebody listens.
func taken(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// hold opens the data in dir as a command does, or as an agent.
func hold(t *testing.T, dir, command string) *store.Store {
	t.Helper()
	s, err := store.Open(dir, store.Options{Log: logging.NewLogger(t.Output(), "text", nil, false), Command: command})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// runUntilEnd runs the agent of dir/agent.toml, as a stranger if it is to have no rights.
func runUntilEnd(t *testing.T, dir string, asStranger bool) (code int, said string) {
	t.Helper()
	program, err := exec.LookPath("personasync")
	must(t, err)
	binary, err := os.Open(program)
	must(t, err)
	defer binary.Close()
	ctx, cancel := context.WithTimeout(t.Context(), hangs)
	defer cancel()
	c := exec.CommandContext(ctx, "/proc/self/fd/3", "run")
	c.Args[0], c.Dir, c.ExtraFiles = "personasync", dir, []*os.File{binary}
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0", "PERSONASYNC_INGEST_SHARED_SECRET=hush", "PERSONASYNC_MOENGAGE_WORKSPACE_ID=WS", "PERSONASYNC_MOENGAGE_API_KEY=key"}
	text := readFile(t, filepath.Join(dir, "agent.toml"))
	if !strings.Contains(text, "data_dir") {
		c.Env = append(c.Env, "PERSONASYNC_DATA_DIR=data")
	}
	if !strings.Contains(text, "[admin]") {
		c.Env = append(c.Env, "PERSONASYNC_ADMIN_LISTEN=") // an agent may answer at the default one of this host
	}
	if asStranger {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	}
	out, _ := c.CombinedOutput() // its exit code tells
	return c.ProcessState.ExitCode(), string(out)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

// An error repeats what others wrote, such as the reason of a pause. Its lines stay lines.
func TestAnErrorTakesCommandsFromTerminals(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	report(term.New(&said, &said, func(string) string { return "" }), errors.New("sending is paused (\x1b[2Jfreeze)\nso nothing was flushed"))
	if want := "personasync: sending is paused (\\u001b[2Jfreeze)\nso nothing was flushed\n"; said.String() != want {
		t.Errorf("got %q, want %q", said.String(), want)
	}
}
