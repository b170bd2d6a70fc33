// Package cli is the command line: what can be typed, and how answers print.
//
// [Run] takes the arguments and returns the exit code; nothing below it ends the process. A command
// is a flag set, a question to an agent.Inspector, and a table for people or the same thing as JSON.
//
// What a program may read goes to standard output. Errors, and remarks such as whether the agent
// runs, go to standard error, so that the output is the same bytes whether it does or not.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/config"
	"personasync/store"
)

// Streams is what a command has of the world around it.
type Streams struct {
	Out, Err io.Writer
	Environ  []string // NAME=value

	// Again returns a process of this program with other arguments; nil: it is never started. It is
	// given by the program's main and by nobody else.
	Again func(ctx context.Context, args ...string) *exec.Cmd

	// Hangup has a SIGHUP that was caught, which asks `run` to reload. Any other command ends by one. nil:
	// none is caught.
	Hangup chan os.Signal
}

// System is the streams of this process.
func System() Streams {
	return Streams{Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()}
}

// Run runs one command line, args[0] being the program's name, and returns its exit code: one of the
// Exit constants. It ends early when ctx does.
func Run(ctx context.Context, args []string, s Streams) int {
	sh := &shell{out: s.Out, err: s.Err, environ: s.Environ, again: s.Again, hangup: s.Hangup}
	sh.attached = isTerminal(s.Out)
	sh.paint, sh.errPaint = newPalette(s.Out, sh.getenv), newPalette(s.Err, sh.getenv)
	app := sh.app()
	if len(args) > 1 && args[1] == completeWord {
		return sh.report(sh.complete(app, args[2:]))
	}
	arranged, err := arrange(app, args)
	if err == nil {
		err = app.RunContext(ctx, arranged)
	}
	code := sh.report(err)
	if sh.log != nil {
		sh.log.close()
	}
	return code
}

// shell is one command line being run.
type shell struct {
	out, err        io.Writer
	environ         []string
	again           func(ctx context.Context, args ...string) *exec.Cmd // see Streams
	hangup          chan os.Signal                                      // see Streams
	warned          bool                                                // see warnOnce
	named           string                                              // file of --config; see typed
	log             *logQueue                                           // of `run`; nil before there is one
	paint, errPaint palette                                             // colours for out and err
	attached        bool                                                // out is a terminal: text is wrapped to fit it
}

func (sh *shell) app() *urfave.App {
	app := &urfave.App{
		Name:  "personasync",
		Usage: "Segment Engage audiences and computed traits to MoEngage",
		Description: "Receives what Segment computes about users, keeps every enter and exit on disk,\n" +
			"and tells MoEngage. Start with `personasync demo`; it needs nothing.",
		Writer:                    sh.out,
		ErrWriter:                 sh.err,
		HideVersion:               true,
		DisableSliceFlagSeparator: true, // a fault of the sandbox has commas in it
		HideHelpCommand:           true,
		ExitErrHandler:            func(*urfave.Context, error) {}, // Run reports
		Before:                    sh.mindHangup,
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "config", Usage: "read `FILE` (default: $PERSONASYNC_CONFIG, ./agent.toml, /etc/personasync/agent.toml)"},
		},
		Commands: []*urfave.Command{
			sh.runCommand(),
			sh.statusCommand(),
			sh.outboxCommand(),
			sh.audienceCommand(),
			sh.userCommand(),
			sh.tailCommand(),
			sh.flushCommand(),
			sh.scheduleCommand(),
			sh.dbCommand(),
			sh.configCommand(),
			sh.sandboxCommand(),
			sh.serviceCommand(),
			sh.demoCommand(),
			sh.doctorCommand(),
			sh.versionCommand(),
			sh.completionCommand(),
			sh.manCommand(),
			sh.checkFilesCommand(),
		},
	}
	tidy(app.Commands)
	return app
}

// mindHangup leaves SIGHUP to `run`. It ends every other command, as it ends programs of a terminal that
// is closed.
func (sh *shell) mindHangup(c *urfave.Context) error {
	if sh.hangup == nil || c.Args().First() == "run" {
		return nil
	}
	signal.Reset(syscall.SIGHUP)
	select {
	case <-sh.hangup:
		return context.Canceled
	default:
		return nil
	}
}

// tidy sets what holds for every command: mistakes are errors of ours, and `help` is no argument.
func tidy(commands []*urfave.Command) {
	for _, c := range commands {
		c.HideHelpCommand = true
		c.OnUsageError = func(_ *urfave.Context, err error, _ bool) error { return usage("%w", err) }
		if len(c.Subcommands) > 0 {
			c.Action = groupAction
		}
		tidy(c.Subcommands)
	}
}

// groupAction answers a group named without one of its commands.
func groupAction(c *urfave.Context) error {
	return usage("say which: %s", commandList(c.Command.HelpName, c.Command))
}

// jsonFlag is on every command that shows something.
func jsonFlag() *urfave.BoolFlag {
	return &urfave.BoolFlag{Name: "json", Usage: "print JSON", DisableDefaultText: true}
}

func limitFlag(what string) *urfave.IntFlag {
	return &urfave.IntFlag{Name: "limit", Aliases: []string{"n"}, Value: store.DefaultLimit, Usage: "show at most `N` " + what}
}

// limit reads --limit.
func limit(c *urfave.Context) (int, error) {
	n := c.Int("limit")
	if n < 1 {
		return 0, usage("--limit is at least 1, not %d", n)
	}
	return n, nil
}

// arguments checks how many arguments there are; names are for the message.
func arguments(c *urfave.Context, names ...string) error {
	switch n := c.NArg(); {
	case n < len(names):
		return usage("%s needs %s: see `%s --help`", c.Command.HelpName, names[n], c.Command.HelpName)
	case n > len(names):
		return usage("%s does not take %q: see `%s --help`", c.Command.HelpName, c.Args().Get(len(names)), c.Command.HelpName)
	}
	return nil
}

// getenv looks a variable up in the environment of the command.
func (sh *shell) getenv(name string) string {
	for i := len(sh.environ) - 1; i >= 0; i-- {
		if e := sh.environ[i]; len(e) > len(name) && e[:len(name)] == name && e[len(name)] == '=' {
			return e[len(name)+1:]
		}
	}
	return ""
}

// findConfig names the file that counts: "" when there is none and the environment takes its place.
func (sh *shell) findConfig(c *urfave.Context) (string, error) {
	sh.named = c.String("config")
	path, err := config.Find(sh.named, sh.getenv)
	if errors.Is(err, config.ErrNoFile) && slices.ContainsFunc(sh.environ, isSetting) {
		return "", nil
	}
	return path, incurable(err)
}

// isSetting reports whether a variable of the environment belongs to the configuration.
func isSetting(variable string) bool { return strings.HasPrefix(variable, "PERSONASYNC_") }

// loadConfig reads the configuration that `run` would.
func (sh *shell) loadConfig(c *urfave.Context) (*config.Config, error) {
	conf, err := sh.load(c, config.Load)
	return conf, agent.DeniedConfig(err)
}

// loadPlaces reads the configuration for a command that looks for the agent and its data. An operator
// need not be able to read its secrets, and a fault elsewhere in it is a warning.
func (sh *shell) loadPlaces(c *urfave.Context) (*config.Config, error) {
	conf, err := sh.load(c, config.LoadPlaces)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, config.ErrNoFile) {
		return sh.servicePlaces(err)
	}
	if err == nil && conf.Refused() != nil {
		sh.warnOnce("the configuration has faults, which neither a start nor a reload takes (`personasync config check` names them all); "+
			"this command goes by data_dir %s and the socket %s:\n  %s", conf.DataDir, conf.Socket(sh.getenv), strings.ReplaceAll(conf.Refused().Error(), "\n", "\n  "))
	}
	return conf, err
}

// servicePlaces stands in for a configuration that cannot be read, where the socket of the service is
// there to be asked: what its agent does it knows itself.
func (sh *shell) servicePlaces(unread error) (*config.Config, error) {
	unread = incurable(agent.DeniedConfig(unread))
	if _, err := os.Stat(serviceSocket); err != nil {
		return nil, unread
	}
	conf, err := config.LoadPlaces("", sh.environ)
	if err != nil {
		return nil, unread
	}
	if conf.Admin.Socket == "" {
		conf.Admin.Socket = serviceSocket
	}
	conf.Refuse(unread)
	sh.warnOnce("%v; the agent at %s is asked", unread, conf.Admin.Socket)
	return conf, nil
}

// warnOnce warns on standard error, once for a command that reads the configuration again and again.
func (sh *shell) warnOnce(format string, args ...any) {
	if !sh.warned {
		sh.warned = true
		fmt.Fprintln(sh.err, sh.errPaint.yellow("warning:"), sh.typed(fmt.Sprintf(format, args...)))
	}
}

func (sh *shell) load(c *urfave.Context, load func(string, []string) (*config.Config, error)) (*config.Config, error) {
	path, err := sh.findConfig(c)
	if err != nil {
		return nil, err
	}
	conf, err := load(path, sh.environ)
	return conf, incurable(err)
}

// inspect asks whoever can answer, and says on standard error who that is.
func (sh *shell) inspect(c *urfave.Context, ask func(agent.Inspector) error) (err error) {
	places, err := sh.loadPlaces(c)
	if err != nil {
		return err
	}
	i, done, _, err := agent.Open(c.Context, places, Version())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done.Close()) }()
	sh.remark("%s", i.Where())
	return ask(i)
}

// remark tells the person at the terminal something that is not part of the output.
func (sh *shell) remark(format string, args ...any) {
	fmt.Fprintln(sh.err, sh.errPaint.dim(sh.typed(fmt.Sprintf(format, args...))))
}

// typed makes the commands in a text whole: where --config named the configuration, they go by it, too.
func (sh *shell) typed(text string) string {
	if sh.named == "" {
		return text
	}
	const command = "`personasync "
	return strings.ReplaceAll(text, command, command+"--config "+store.ShellWord(sh.named)+" ")
}

// brokenPipe reports whether the reader of the output has gone: it has what it wanted.
func brokenPipe(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)
}
