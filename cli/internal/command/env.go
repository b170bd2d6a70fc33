package command

import (
	"context"
	"os"
	"os/exec"

	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/term"
)

// Env is the environment of one command line: the terminal, the variables, the signals.
type Env struct {
	*term.Terminal
	Version string   // of this program
	Environ []string // NAME=value

	// Again returns a process of this program with other arguments. If it is nil, no process is started.
	Again func(ctx context.Context, args ...string) *exec.Cmd

	// Hangup receives a SIGHUP, which makes `run` reload. If it is nil, SIGHUP is not caught.
	Hangup chan os.Signal

	// AtEnd is called after the command has ended and its error was reported. It may be nil.
	AtEnd func()

	ConfigFile string // path of the configuration that was read last; "" if there was no file

	warned bool // see warnOnce
}

// Action makes do the action of a command that takes these arguments, see [Arguments].
func (env *Env) Action(do func(*Env, *urfave.Context) error, arguments ...string) urfave.ActionFunc {
	return func(c *urfave.Context) error {
		if err := Arguments(c, arguments...); err != nil {
			return err
		}
		return do(env, c)
	}
}

// Getenv returns a variable of the command's environment.
func (env *Env) Getenv(name string) string {
	for i := len(env.Environ) - 1; i >= 0; i-- {
		if e := env.Environ[i]; len(e) > len(name) && e[:len(name)] == name && e[len(name)] == '=' {
			return e[len(name)+1:]
		}
	}
	return ""
}
