package service

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Unit is the unit of systemd that runs an agent.
type Unit struct {
	Name     string
	Sockets  []string // units that start it
	up       bool     // it or a socket of it ran, or failed, when it was found
	identity []string // the properties that decide as whom it runs and which folder it has, NAME=VALUE
}

// ErrNoUnit says that no unit of systemd runs the agent of a configuration.
var ErrNoUnit = errors.New("no unit of systemd runs this agent")

// booted is there while systemd runs the host.
var booted = "/run/systemd/system"

// Booted reports whether systemd runs this host.
func Booted() bool {
	info, err := os.Stat(booted)
	return err == nil && info.IsDir()
}

// identity are the properties that a process needs to read and write what the agent of a unit does.
var identity = []string{"User", "Group", "SupplementaryGroups", "DynamicUser", "StateDirectory", "StateDirectoryMode", "UMask"}

// Find returns the unit that runs the agent of the configuration file at path, whatever the name of the unit; with a name,
// that unit. It returns ErrNoUnit if there is none.
func Find(ctx context.Context, path, name string) (*Unit, error) {
	list, err := candidates(ctx, path, name)
	if err != nil {
		return nil, err
	}
	if running := slices.DeleteFunc(slices.Clone(list), func(u properties) bool { return u["ActiveState"] == inactive }); len(running) > 0 {
		list = running // a template may fit as well: personasync@agent.service
	}
	switch {
	case len(list) == 0 && name != "":
		return nil, fmt.Errorf("%w: systemd knows no unit %s", ErrNoUnit, name)
	case len(list) == 0:
		return nil, ErrNoUnit
	case len(list) > 1:
		return nil, fmt.Errorf("%s and %s both run an agent with %s: name one with --unit", list[0]["Id"], list[1]["Id"], path)
	}
	u := &Unit{Name: list[0]["Id"], up: list[0]["ActiveState"] != inactive}
	for _, t := range strings.Fields(list[0]["TriggeredBy"]) {
		if strings.HasSuffix(t, ".socket") {
			u.Sockets = append(u.Sockets, t)
		}
	}
	for _, p := range identity {
		if v := list[0][p]; v != "" && v != "[not set]" {
			u.identity = append(u.identity, p+"="+v)
		}
	}
	for _, s := range u.Sockets {
		state, err := output(ctx, "systemctl", "show", "--value", "--property=ActiveState", "--", s)
		if err != nil {
			return nil, err
		}
		u.up = u.up || strings.TrimSpace(state) != inactive
	}
	return u, nil
}

// inactive is the state of a unit that was stopped, or never started.
const inactive = "inactive"

// properties are those of one unit.
type properties map[string]string

// candidates lists the units that fit. A pattern finds loaded units alone, and a stopped one of another name is not loaded: it
// is found by its file.
func candidates(ctx context.Context, path, name string) ([]properties, error) {
	if name != "" {
		return show(ctx, func(properties) bool { return true }, name)
	}
	fits := func(u properties) bool { return runsAgent(u["ExecStart"], path) }
	names := []string{"personasync.service", "*.service"}
	if instance := strings.TrimSuffix(filepath.Base(path), ".toml"); instance != "agent" {
		names = append(names, "personasync@"+instance+".service")
	}
	list, err := show(ctx, fits, names...)
	if err != nil || len(list) > 0 {
		return list, err
	}
	out, err := output(ctx, "systemctl", "list-unit-files", "--no-pager", "--no-legend", "--type=service")
	if err != nil {
		return nil, err
	}
	names = nil
	for line := range strings.Lines(out) {
		if words := strings.Fields(line); len(words) > 0 && !strings.HasSuffix(words[0], "@.service") {
			names = append(names, words[0])
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	return show(ctx, fits, names...)
}

// show asks systemd for the properties of units, and returns those of loaded ones that fit.
func show(ctx context.Context, fits func(properties) bool, names ...string) ([]properties, error) {
	args := []string{"show", "--no-pager", "--property=Id,LoadState,ActiveState,ExecStart,TriggeredBy," + strings.Join(identity, ","), "--"}
	out, err := output(ctx, "systemctl", append(args, names...)...)
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(parseUnits(out), func(u properties) bool { return u["LoadState"] != "loaded" || !fits(u) })
	return slices.CompactFunc(list, func(a, b properties) bool { return a["Id"] == b["Id"] }), nil
}

// parseUnits reads what `systemctl show` prints: a block of NAME=VALUE for each unit, sorted by unit.
func parseUnits(out string) (list []properties) {
	for block := range strings.SplitSeq(out, "\n\n") {
		u := properties{}
		for line := range strings.Lines(block) {
			if k, v, ok := strings.Cut(strings.TrimRight(line, "\n"), "="); ok {
				u[k] = v
			}
		}
		if u["Id"] != "" {
			list = append(list, u)
		}
	}
	slices.SortFunc(list, func(a, b properties) int { return strings.Compare(a["Id"], b["Id"]) })
	return list
}

// runsAgent reports whether a unit's command is `run` of this program with the configuration at path.
func runsAgent(command, path string) bool {
	_, argv, found := strings.Cut(command, "argv[]=")
	argv, _, _ = strings.Cut(argv, " ;")
	words := strings.Fields(argv)
	if !found || !slices.Contains(words, "run") || !strings.Contains(filepath.Base(words[0]), "personasync") {
		return false
	}
	for i, w := range words {
		if file, ok := strings.CutPrefix(w, "--config="); ok {
			return sameFile(file, path)
		}
		if (w == "--config" || w == "-config") && i+1 < len(words) {
			return sameFile(words[i+1], path)
		}
	}
	return sameFile(configPath, path) // where it is looked for
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return filepath.Clean(a) == filepath.Clean(b)
	}
	two, err := os.Stat(b)
	return err == nil && os.SameFile(one, two)
}

// all are the unit and its sockets, in the order in which they are started.
func (u *Unit) all() []string { return append(slices.Clone(u.Sockets), u.Name) }

// start starts the unit and its sockets, and waits until it is ready or has failed.
func (u *Unit) start(ctx context.Context) error {
	if _, err := output(ctx, "systemctl", append([]string{"reset-failed", "--"}, u.all()...)...); err != nil && ctx.Err() != nil {
		return err
	}
	_, err := output(ctx, "systemctl", append([]string{"start", "--"}, u.all()...)...)
	return err
}

// failed returns why the unit does not run; nil while it does, or is about to.
func (u *Unit) failed(ctx context.Context) error {
	out, err := output(ctx, "systemctl", "show", "--value", "--property=ActiveState", "--", u.Name)
	if state := strings.TrimSpace(out); err == nil && (state == "failed" || state == inactive) {
		return fmt.Errorf("%s is %s", u.Name, state)
	}
	return err
}

// wasUp reports whether the unit was to run: one that was stopped by hand, with its sockets, stays so.
func (u *Unit) wasUp() bool { return u.up }

// runStopped runs this program while the unit and its sockets are stopped, as its user and with its folder, but without its
// other limits, and returns its output. systemd itself stops the unit before and, if it was up, starts it after the
// program ends, however that ends and even if this process is killed.
func (u *Unit) runStopped(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	transient := fmt.Sprintf("personasync-restore-%d.service", os.Getpid())
	run := []string{"--quiet", "--wait", "--pipe", "--collect", "--unit=" + transient, "--property=TimeoutStopSec=60s"}
	for _, p := range u.identity {
		run = append(run, "--property="+p)
	}
	names := strings.NewReplacer(`\`, `\\`, "%", "%%").Replace(strings.Join(u.all(), " "))
	run = append(run, "--property=ExecStartPre=+"+systemctlPath()+" stop "+names)
	if u.up {
		run = append(run, "--property=ExecStopPost=+"+systemctlPath()+" --no-block start "+names)
	}
	stop := context.AfterFunc(ctx, func() {
		_, _ = output(context.WithoutCancel(ctx), "systemctl", "stop", transient) // it may have ended
	})
	defer stop()
	var out, words bytes.Buffer
	c := exec.Command("systemd-run", append(append(run, self), args...)...) // ctx stops the transient unit, which ends it
	c.Stdin, c.Stdout, c.Stderr = stdin, &out, &words
	if err := c.Run(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", fmt.Errorf("%s: %w", saidBy(&words, "systemd-run"), err)
	}
	return out.String(), nil
}

func systemctlPath() string {
	if path, err := exec.LookPath("systemctl"); err == nil {
		return path
	}
	return "/usr/bin/systemctl"
}

// output runs a command of the host. Its error has what the command said.
func output(ctx context.Context, name string, args ...string) (string, error) {
	var out, words bytes.Buffer
	c := exec.CommandContext(ctx, name, args...)
	c.Stdout, c.Stderr = &out, &words
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s: %w", saidBy(&words, name+" "+strings.Join(args, " ")), err)
	}
	return out.String(), nil
}

// saidBy is the last line that a command said, or else its name.
func saidBy(words *bytes.Buffer, name string) string {
	lines := strings.Split(strings.TrimSpace(words.String()), "\n")
	return cmp.Or(strings.TrimPrefix(lines[len(lines)-1], "personasync: "), name)
}
