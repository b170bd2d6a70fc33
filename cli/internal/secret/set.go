package secret

import (
	"context"
	"fmt"
	"io"
	"os"

	"personasync/agent/config"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
)

// Set asks for the values of the secret of o, or reads them from the standard input, stores them, and prints where.
func Set(ctx context.Context, env *command.Env, o Order, asJSON bool) error {
	if err := o.refused(); err != nil { // before anybody is asked
		return err
	}
	text, err := Read(ctx, env, o.Place.Key)
	if err != nil {
		return err
	}
	o.Values, err = config.ParseSecret(o.Place.Key, text)
	if err != nil {
		return exit.Usage("nothing was stored: the secret for %s cannot be one: %w", o.Place.Key, err)
	}
	stored, err := Store(ctx, o)
	if err != nil {
		return err
	}
	if asJSON {
		return term.PrintJSON(env.Out, stored)
	}
	how := "a file that only its owner can read"
	if stored.Encrypted {
		how = "encrypted for this host"
	}
	fmt.Fprintf(env.Out, "stored in %s, %s (%s); to put it in force: %s\n", term.Plain(stored.Path), how, term.Plural(stored.Values, "value"), stored.Do)
	if stored.Note != "" {
		env.Remark("%s", stored.Note)
	}
	return nil
}

// longestSecret is more than any secret has; config.ParseSecret refuses less.
const longestSecret = 1 << 20

// Read asks for a secret at the terminal, which shows nothing of the answer, or reads the standard input to its end.
func Read(ctx context.Context, env *command.Env, key string) (string, error) {
	if !term.Attended() {
		text, err := io.ReadAll(io.LimitReader(term.Until(ctx, os.Stdin), longestSecret))
		return string(text), err
	}
	fmt.Fprintf(env.Err, "%s (nothing is shown while you type or paste, then Enter): ", key)
	text, err := term.ReadHidden()
	fmt.Fprintln(env.Err)
	return text, err
}
