package command

import (
	"context"
	"os"
	"os/exec"

	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/term"
)

// Env is the environment of one command line: the terminal it writes to, and what it may know of the world.
type Env struct {
	*term.Terminal
	Version string   // of this program
	Environ []string // NAME=value

	// Again returns a process of this program with other arguments; nil: it is never started.
	Again func(ctx context.Context, args ...string) *exec.Cmd

	// Hangup has a SIGHUP that was caught, which asks `run` to reload; nil: none is caught.
	Hangup chan os.Signal

	// AtEnd is called when the command has ended and its error was reported; it may be nil.
	AtEnd func()

	warned bool // see warnOnce
}

// Action makes do what a command does.
func (env *Env) Action(do func(*Env, *urfave.Context) error) urfave.ActionFunc {
	return func(c *urfave.Context) error { return do(env, c) }
}

// Getenv looks a variable up in the environment of the command.
func (env *Env) Getenv(name string) string {
	for i := len(env.Environ) - 1; i >= 0; i-- {
		if e := env.Environ[i]; len(e) > len(name) && e[:len(name)] == name && e[len(name)] == '=' {
			return e[len(name)+1:]
		}
	}
	return ""
}
