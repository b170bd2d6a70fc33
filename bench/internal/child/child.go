//go:build linux

// Package child runs measured servers as processes of their own, by re-executing this program. A child serves until
// its standard input closes, so it cannot outlive the run.
package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Argument, followed by an order, makes this program a child.
const Argument = "child"

// Order is a child's task. The parent passes it as the second argument.
type Order struct {
	Role     string // a key of the roles
	Name     string // of the contender or the seed
	Dir      string // its data directory
	Count    int
	Target   string        // agent: where MoEngage is; "": nothing ever leaves
	Latency  time.Duration // of the sandbox
	For      time.Duration // duration of listing
	Database string        // agent, engine: URL#SCHEMA of its store; "": files
	Profile  string        // file for a CPU profile; "": none
}

// Hello is the one line that a child prints: its address or its result.
type Hello struct {
	PID     int
	Address string
	Figures map[string]float64
}

// Role is a task of a child. It calls say once it is ready, and returns when ctx is done.
type Role func(ctx context.Context, o Order, say func(Hello)) error

// Main is the main function of a child. argument is its order.
func Main(argument string, roles map[string]Role) error {
	var o Order
	if err := json.Unmarshal([]byte(argument), &o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ctx, orphaned := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent, even if that is killed
		orphaned()
	}()
	stopProfile, err := profile(o.Profile)
	if err != nil {
		return err
	}
	defer stopProfile()
	return roles[o.Role](ctx, o, func(h Hello) {
		h.PID = os.Getpid()
		_ = json.NewEncoder(os.Stdout).Encode(h)
	})
}

// profile writes a CPU profile to path until stop is called.
func profile(path string) (stop func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { pprof.StopCPUProfile(); _ = f.Close() }, nil
}

// Child is a child process.
type Child struct {
	Hello
	Command *exec.Cmd
	End     func() error // requests its end
	done    chan error
}

// stopPatience is how long a child may take to close its files.
const stopPatience = 20 * time.Second

// Start starts program as a child and waits for its hello. An optional wrapper is a command to run it under.
func Start(ctx context.Context, program string, o Order, wrapper ...string) (*Child, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	command := append(wrapper, program, Argument, string(text))
	c := &Child{Command: exec.Command(command[0], command[1:]...)}
	stdin, err := c.Command.StdinPipe()
	if err != nil {
		return nil, err
	}
	c.End = stdin.Close
	stdout, err := c.Command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	out := bufio.NewReader(stdout)
	return c, c.Launch(ctx, func() error {
		line, err := out.ReadBytes('\n')
		if err != nil {
			return err
		}
		return json.Unmarshal(line, &c.Hello)
	})
}

// Launch starts a command and returns once ready does. On an error it leaves no process.
func (c *Child) Launch(ctx context.Context, ready func() error) error {
	c.Command.Stderr = os.Stderr
	c.Command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ctrl-C must reach only the parent, which stops the children in order
	if err := c.Command.Start(); err != nil {
		return err
	}
	release := context.AfterFunc(ctx, func() { _ = c.End() })
	err := ready()
	c.done = make(chan error, 1)
	go func() {
		c.done <- c.Command.Wait()
		release()
	}()
	if err != nil {
		return errors.Join(fmt.Errorf("%s did not get ready: %w", filepath.Base(c.Command.Path), err), ctx.Err(), c.Stop())
	}
	return nil
}

// Stop makes a child close its files and end. It kills a child that does not.
func (c *Child) Stop() error {
	_ = c.End()
	select {
	case err := <-c.done:
		return err
	case <-time.After(stopPatience):
		_ = c.Command.Process.Kill()
		return errors.Join(fmt.Errorf("a child had to be killed after %v", stopPatience), <-c.done)
	}
}

// Memory returns the anonymous memory of a child in bytes. Memory mapped from files can be dropped by the
// kernel.
func (c *Child) Memory() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// clockTick is the time unit of /proc: USER_HZ is 100 on every platform Go runs on.
const clockTick = 10 * time.Millisecond

// CPU returns the user and system CPU time of a child.
func (c *Child) CPU() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.PID))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name before it may contain anything
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick
}
