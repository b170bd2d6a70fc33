package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/argv"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
)

// Streams are the connections of a command to its surroundings: files, environment, signals.
type Streams struct {
	Out, Err io.Writer
	Environ  []string // NAME=value

	// Again returns a process of this program with other arguments. Only the program's main sets it. If it is nil, no
	// process is started.
	Again func(ctx context.Context, args ...string) *exec.Cmd

	// Hangup receives a SIGHUP, which makes `run` reload. Every other command ends at one. If it is nil, SIGHUP is
	// not caught.
	Hangup chan os.Signal
}

// System returns the streams of this process.
func System() Streams {
	return Streams{Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()}
}

// Run runs one command line and returns its exit code, one of package exit. args[0] is the program's name. It ends
// early when ctx is done.
func Run(ctx context.Context, args []string, s Streams) int {
	env := &command.Env{Version: Version(), Environ: s.Environ, Again: s.Again, Hangup: s.Hangup}
	env.Terminal = term.New(s.Out, s.Err, env.Getenv)
	app := newApp(env)
	if len(args) > 1 && args[1] == completeWord {
		return report(env.Terminal, printCandidates(env, app, args[2:]))
	}
	arranged, err := argv.Arrange(app, args)
	if err == nil {
		err = app.RunContext(ctx, arranged)
	}
	code := report(env.Terminal, err)
	if env.AtEnd != nil {
		env.AtEnd()
	}
	return code
}

func newApp(env *command.Env) *urfave.App {
	app := &urfave.App{
		Name:  "personasync",
		Usage: "Segment Engage audiences and computed traits to MoEngage",
		Description: "Receives what Segment computes about users, keeps every enter and exit on disk,\n" +
			"and tells MoEngage. Start with `personasync demo`; it needs nothing.",
		Writer:                    env.Out,
		ErrWriter:                 env.Err,
		HideVersion:               true,
		DisableSliceFlagSeparator: true, // a fault of the sandbox has commas in it
		HideHelpCommand:           true,
		ExitErrHandler:            func(*urfave.Context, error) {}, // Run reports
		Before:                    func(c *urfave.Context) error { return mindHangup(env, c) },
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "config", Usage: "read `FILE` (default: $PERSONASYNC_CONFIG, ./agent.toml, /etc/personasync/agent.toml)"},
		},
		Commands: []*urfave.Command{
			runCommand(env),
			statusCommand(env),
			outboxCommand(env),
			audienceCommand(env),
			userCommand(env),
			tailCommand(env),
			flushCommand(env),
			scheduleCommand(env),
			dbCommand(env),
			configCommand(env),
			previewCommand(env),
			sandboxCommand(env),
			serviceCommand(env),
			demoCommand(env),
			doctorCommand(env),
			notifyCommand(env),
			secretCommand(env),
			versionCommand(env),
			completionCommand(env),
			manCommand(env),
			checkFilesCommand(env),
			proveBackupCommand(env),
			putBackCommand(env),
		},
	}
	tidy(app.Commands)
	return app
}

// mindHangup leaves SIGHUP to `run`. Any other command ends at SIGHUP, as programs do when their terminal is closed.
func mindHangup(env *command.Env, c *urfave.Context) error {
	if env.Hangup == nil || c.Args().First() == "run" {
		return nil
	}
	signal.Reset(syscall.SIGHUP)
	select {
	case <-env.Hangup:
		return context.Canceled
	default:
		return nil
	}
}

// tidy sets the options that all commands share: mistakes are reported as our own errors, and `help` is not an
// argument.
func tidy(commands []*urfave.Command) {
	for _, c := range commands {
		c.HideHelpCommand = true
		c.OnUsageError = func(_ *urfave.Context, err error, _ bool) error { return argv.ValueError(c.Flags, err) }
		if len(c.Subcommands) > 0 {
			c.Action = groupAction
		}
		tidy(c.Subcommands)
	}
}

// groupAction returns the error of a group that is named without one of its commands.
func groupAction(c *urfave.Context) error {
	return exit.Usage("say which: %s", argv.CommandList(c.Command.HelpName, c.Command))
}

// report prints the error and returns the exit code.
func report(w *term.Terminal, err error) int {
	code := exit.Code(err)
	if code == exit.Done {
		return code
	}
	text := err.Error()
	var ambiguous *store.AmbiguousError
	switch {
	case errors.Is(err, context.Canceled):
		text = "interrupted"
	case errors.As(err, &ambiguous):
		text += ":\n  " + strings.Join(ambiguous.IDs, "\n  ")
	}
	fmt.Fprintln(w.Err, w.ErrPaint.Red("personasync:"), w.Said(text))
	return code
}
