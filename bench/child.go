//go:build linux

package main

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

// childArgument, followed by an order, makes this program a child.
const childArgument = "child"

// order is a child's task. The parent passes it as the second argument.
type order struct {
	Role    string // a key of childRoles
	Name    string // of the contender or the seed
	Dir     string // its data directory
	Count   int
	Target  string        // agent: where MoEngage is; "": nothing ever leaves
	Latency time.Duration // of the sandbox
	For     time.Duration // duration of listing
	Profile string        // file for a CPU profile; "": none
}

// hello is the one line that a child prints: its address or its result.
type hello struct {
	PID     int
	Address string
	Figures map[string]float64
}

// childRoles are the tasks of children. A role calls say once it is ready, and returns when ctx is done.
var childRoles = map[string]func(ctx context.Context, o order, say func(hello)) error{
	"serve":   serveContender,
	"sandbox": serveSandbox,
	"seed":    layTheSeed,
	"commits": timeCommits,
	"list":    listOnAndOn,
}

// childMain is the main function of a child.
func childMain(argument string) error {
	var o order
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
	return childRoles[o.Role](ctx, o, func(h hello) {
		h.PID = os.Getpid()
		_ = json.NewEncoder(os.Stdout).Encode(h)
	})
}

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

// child is a child process.
type child struct {
	hello
	command *exec.Cmd
	end     func() error // requests its end
	done    chan error
}

// stopPatience is how long a child may take to close its files.
const stopPatience = 20 * time.Second

// start starts a child and waits for its hello. An optional wrapper is a command to run it under.
func (b *bench) start(ctx context.Context, o order, wrapper ...string) (*child, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	command := append(wrapper, b.program, childArgument, string(text))
	c := &child{command: exec.Command(command[0], command[1:]...)}
	stdin, err := c.command.StdinPipe()
	if err != nil {
		return nil, err
	}
	c.end = stdin.Close
	stdout, err := c.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	out := bufio.NewReader(stdout)
	return c, c.launch(ctx, func() error {
		line, err := out.ReadBytes('\n')
		if err != nil {
			return err
		}
		return json.Unmarshal(line, &c.hello)
	})
}

// launch starts a command and returns once ready does. On an error it leaves no process.
func (c *child) launch(ctx context.Context, ready func() error) error {
	c.command.Stderr = os.Stderr
	c.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ctrl-C must reach only the parent, which stops the children in order
	if err := c.command.Start(); err != nil {
		return err
	}
	release := context.AfterFunc(ctx, func() { _ = c.end() })
	err := ready()
	c.done = make(chan error, 1)
	go func() {
		c.done <- c.command.Wait()
		release()
	}()
	if err != nil {
		return errors.Join(fmt.Errorf("%s did not get ready: %w", filepath.Base(c.command.Path), err), ctx.Err(), c.stop())
	}
	return nil
}

// stop makes a child close its files and end. It kills a child that does not.
func (c *child) stop() error {
	_ = c.end()
	select {
	case err := <-c.done:
		return err
	case <-time.After(stopPatience):
		_ = c.command.Process.Kill()
		return errors.Join(fmt.Errorf("a child had to be killed after %v", stopPatience), <-c.done)
	}
}

// memory returns the anonymous memory of a child in bytes. Memory mapped from files can be dropped by the
// kernel.
func (c *child) memory() int64 {
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

// cpu returns the user and system CPU time of a child.
func (c *child) cpu() time.Duration {
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
