package cli

import (
	"context"
	"os"
	"os/exec"

	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/term"
)

// shell is one command line being run.
type shell struct {
	*term.Terminal
	environ []string
	again   func(ctx context.Context, args ...string) *exec.Cmd // see Streams
	hangup  chan os.Signal                                      // see Streams
	warned  bool                                                // see warnOnce
	atEnd   func()                                              // is called when the command has ended and was reported; may be nil
}

// action makes do what a command does.
func (env *shell) action(do func(*shell, *urfave.Context) error) urfave.ActionFunc {
	return func(c *urfave.Context) error { return do(env, c) }
}

// getenv looks a variable up in the environment of the command.
func (env *shell) getenv(name string) string {
	for i := len(env.environ) - 1; i >= 0; i-- {
		if e := env.environ[i]; len(e) > len(name) && e[:len(name)] == name && e[len(name)] == '=' {
			return e[len(name)+1:]
		}
	}
	return ""
}
