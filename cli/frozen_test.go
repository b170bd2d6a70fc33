package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestAFrozenAgentIsNamedByEveryCommand: each waited for 60 s and said nothing. A process is stopped here;
// one that hangs or waits for a disk is as silent.
func TestAFrozenAgentIsNamedByEveryCommand(t *testing.T) {
	t.Parallel() // it waits
	m := newHost(t)
	m.startHeard(regexp.MustCompile("msg=ready"))
	pid := m.agent.Process.Pid
	freeze(t, pid)
	list := filepath.Join(m.dir, "list.txt")
	must(t, os.WriteFile(list, []byte("usr_ann\n"), 0o600))
	want := regexp.MustCompile(fmt.Sprintf("process %d has .*kill -CONT %d", pid, pid))
	var all errgroup.Group
	all.SetLimit(32) // each waits for the agent
	for _, line := range []string{
		"status", "outbox list", "outbox show 00000001-1-0", "outbox stats", "outbox retry 00000001-1-0", "outbox drop --yes 00000001-1-0",
		"outbox export --state parked", "audience list", "audience members vip", "audience history usr_ann", "user history usr_ann", "audience transitions vip", "audience import vip LIST --dry-run",
		"audience reconcile vip --dry-run", "audience verify vip", "user show usr_ann", "user forget --yes usr_ann", "tail", "tail --follow",
		"flush", "flush --wait", "schedule", "db check", "db compact", "db backup " + filepath.Join(m.dir, "b.tar"), "doctor",
	} {
		all.Go(func() error {
			code, said := m.try(hangs, strings.Fields(strings.ReplaceAll(line, "LIST", list))...)
			if code != 1 || !want.MatchString(strings.Join(strings.Fields(said), " ")) {
				t.Errorf("`personasync %s` ended with %d and said:\n%s", line, code, said)
			}
			return nil
		})
	}
	all.Go(func() error { // a person who pressed a key is told nothing, and does not wait
		if code, said := m.try(hangs, "__complete", "audience", "close", ""); code != 0 || said != "" {
			t.Errorf("completion ended with %d and said %q", code, said)
		}
		return nil
	})
	_ = all.Wait()
}

// TestAnAgentThatFreezesUnderAWatchIsNamed, and the watch goes on when it is back.
func TestAnAgentThatFreezesUnderAWatchIsNamed(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"status --watch", "tail --follow"} {
		t.Run(line, func(t *testing.T) {
			t.Parallel() // it waits
			m := newHost(t)
			m.startHeard(regexp.MustCompile("msg=ready"))
			pid := m.agent.Process.Pid
			named := make(chan struct{})
			said := &heard{until: regexp.MustCompile(fmt.Sprintf("kill -CONT %d", pid)), then: func() { close(named) }}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := exec.CommandContext(ctx, "personasync", append(strings.Fields(line), "--config", m.config())...)
			c.Stdout, c.Stderr = said, said
			c.Cancel = func() error { return c.Process.Signal(syscall.SIGINT) }
			must(t, c.Start())
			freeze(t, pid)
			select {
			case <-named:
			case <-time.After(hangs):
				t.Errorf("it says:\n%s", said)
			}
			cancel()
			_ = c.Wait()
		})
	}
}

// freeze stops a process until the test ends.
func freeze(t *testing.T, pid int) {
	must(t, syscall.Kill(pid, syscall.SIGSTOP))
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	running := func(task string) bool { // a thread that runs elsewhere stops a moment later
		status, err := os.ReadFile(task)
		return err == nil && !strings.Contains(string(status), "State:\tT")
	}
	for {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		must(t, err)
		if !slices.ContainsFunc(tasks, running) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// try runs a command, and returns -1 if it had to be killed.
func (m *machine) try(limit time.Duration, args ...string) (code int, said string) {
	ctx, cancel := context.WithTimeout(m.t.Context(), limit)
	defer cancel()
	c := exec.CommandContext(ctx, "personasync", args...)
	c.Env = append(os.Environ(), "PERSONASYNC_CONFIG="+m.config(), "GORACE=atexit_sleep_ms=0")
	var out bytes.Buffer
	c.Stdout, c.Stderr, c.Dir = &out, &out, m.dir
	_ = c.Run() // its exit code tells
	return c.ProcessState.ExitCode(), out.String()
}
