//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"personasync/bench/internal/child"
	"personasync/bench/internal/contender"
	"personasync/bench/internal/figures"
	"personasync/bench/internal/load"
)

// measureNames are the names of the measures in the order of the report.
var measureNames = []string{"ack", "lone", "fsyncs", "users", "large", "backlog", "backup", "drain", "delay", "listing", "product", "postgres"}

// options are the command line options.
type options struct {
	quick, large bool
	only         []string
	reps         int
	long         int // repetitions of measures that take minutes
	during       time.Duration
	out          string
	dir          string
	profiles     string
	postgres     string // URL of a server
	sizes        sizes
}

// sizes are the amounts of stored and moved data.
type sizes struct {
	Users   []int         // stored while events arrive
	Backlog int           // events waiting to be applied
	Drain   int           // users with a pending change to send or list
	State   int64         // bytes of state.db at a cold start
	Commits int           // of the single client
	Both    time.Duration // of receiving and sending at once
}

// bench is one run of the benchmark.
type bench struct {
	options
	book    figures.Book
	began   time.Time
	root    string   // root of the product's module
	home    string   // directory of all our data
	work    string   // directory of this run
	program string   // executable of the children
	notices []string // for the report
	done    []string // names of the completed measures
	events  map[uint64]*load.Events
	served  int // number of the next data directory
}

// workPrefix begins the name of a run's directory. Its process id follows.
const workPrefix = "run-"

// newBench prepares a run: it cleans up after killed ones and builds the children.
func newBench(ctx context.Context, o options) (*bench, error) {
	b := &bench{options: o, book: make(figures.Book), began: time.Now(), events: make(map[uint64]*load.Events)}
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "personasync").Output()
	if err != nil {
		return nil, fmt.Errorf("find the source of personasync (run `go run -C bench .` within it, with go in the path): %w", err)
	}
	b.root = strings.TrimSpace(string(root))
	if b.home = o.dir; b.home == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		b.home = filepath.Join(cache, "personasync-bench")
	}
	b.sweep()
	b.work = filepath.Join(b.home, fmt.Sprintf("%s%d", workPrefix, os.Getpid()))
	if err := os.MkdirAll(b.work, 0o700); err != nil {
		return nil, err
	}
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil {
			return nil, errors.Join(err, b.close())
		}
	}
	if inMemory(b.home) {
		b.notice("%s is memory, where fsync costs nothing: figures of acknowledgements mean little", b.home)
	}
	if err := b.build(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// close removes the run's directory.
func (b *bench) close() error { return os.RemoveAll(b.work) }

// sweep removes the directories of killed runs and warns of runs in progress.
func (b *bench) sweep() {
	left, _ := filepath.Glob(filepath.Join(b.home, workPrefix+"*"))
	for _, path := range left {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(path), workPrefix+"%d", &pid); err != nil {
			continue
		}
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(path)
			continue
		}
		b.notice("another run, process %d, was measuring at the same time: both got less of the machine", pid)
	}
}

const (
	tmpfsMagic = 0x01021994
	ramfsMagic = 0x858458f6
)

// inMemory reports whether dir is in a file system without a disk.
func inMemory(dir string) bool {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return false
	}
	return fs.Type == tmpfsMagic || fs.Type == ramfsMagic
}

// compared are the measures in which SQLite takes part.
var compared = []string{"ack", "fsyncs"}

// build builds the children's executable: this program, with SQLite if it takes part and there is a C compiler. A build tag
// keeps the minute of compiling SQLite out of vet and tests.
func (b *bench) build(ctx context.Context) (err error) {
	if b.program, err = os.Executable(); err != nil || contender.HaveSQLite {
		return err
	}
	if b.only != nil && !slices.ContainsFunc(b.only, func(name string) bool { return slices.Contains(compared, name) }) {
		return nil
	}
	settings, err := exec.CommandContext(ctx, "go", "env", "CGO_ENABLED", "CC").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(settings)), "\n")
	compiler := strings.Fields(lines[len(lines)-1])
	if _, err := exec.LookPath(append(compiler, "cc")[0]); lines[0] != "1" || err != nil {
		b.notice("without cgo and a C compiler there is no C SQLite to compare with")
		return nil
	}
	b.say("building with SQLite; the first time takes a minute")
	program := filepath.Join(b.work, "bench")
	if err := b.goBuild(ctx, nil, "-C", "bench", "-tags", "sqlite", "-o", program, "."); err != nil {
		b.notice("SQLite could not be built, so it is not compared with: %v", err)
		return ctx.Err()
	}
	b.program = program
	return nil
}

// goBuild runs go build at the root of the product's module.
func (b *bench) goBuild(ctx context.Context, environment []string, args ...string) error {
	c := exec.CommandContext(ctx, "go", append([]string{"build"}, args...)...)
	c.Dir, c.Env = b.root, append(os.Environ(), environment...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	return nil
}

// withSQLite reports whether the children include SQLite.
func (b *bench) withSQLite() bool {
	self, _ := os.Executable()
	return contender.HaveSQLite || b.program != self
}

// notice prints a message and adds it to the report.
func (b *bench) notice(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.notices = append(b.notices, text)
	b.say("NOTICE: %s", text)
}

// say prints progress.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%7s  %s\n", time.Since(b.began).Round(time.Second), fmt.Sprintf(format, args...))
}

// folder creates an empty data directory for one child.
func (b *bench) folder() (string, error) {
	b.served++
	dir := filepath.Join(b.work, fmt.Sprintf("data-%d", b.served))
	return dir, os.Mkdir(dir, 0o700)
}

// eventsOver returns events over that many users; 0 means unlimited.
func (b *bench) eventsOver(users int) *load.Events {
	span := uint64(users)
	if b.events[span] == nil {
		b.events[span] = load.NewEvents(span)
	}
	return b.events[span]
}

// profileOf returns the path for a profile of the agent, or "" if none is wanted.
func (b *bench) profileOf(contender, measurement string) string {
	if b.profiles == "" || contender != "agent" {
		return ""
	}
	return filepath.Join(b.profiles, measurement+".pprof")
}

// start starts a child of this run. See startChild.
func (b *bench) start(ctx context.Context, o child.Order, wrapper ...string) (*child.Child, error) {
	return child.Start(ctx, b.program, o, wrapper...)
}
