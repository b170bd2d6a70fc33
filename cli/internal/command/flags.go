package command

import (
	"math"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/exit"
	"personasync/store"
	"personasync/store/domain"
)

// JSONFlag is --json, on every command that prints data.
func JSONFlag() *urfave.BoolFlag {
	return &urfave.BoolFlag{Name: "json", Usage: "print JSON", DisableDefaultText: true}
}

// CSVFlag is --csv, on listings. It lists every item unless --limit is given, because a file that is passed on must not
// end where a screen does.
func CSVFlag() *urfave.BoolFlag {
	return &urfave.BoolFlag{Name: "csv", Usage: "print CSV, every item unless --limit is given", DisableDefaultText: true, Action: func(c *urfave.Context, _ bool) error {
		if c.Bool("json") {
			return exit.Usage("--csv and --json exclude each other: give one of them")
		}
		return nil
	}}
}

// LimitFlag is --limit, on listings. what names the items.
func LimitFlag(what string) *urfave.IntFlag {
	return &urfave.IntFlag{Name: "limit", Aliases: []string{"n"}, Value: store.DefaultLimit, Usage: "show at most `N` " + what}
}

// Limit reads --limit.
func Limit(c *urfave.Context) (int, error) {
	if c.Bool("csv") && !c.IsSet("limit") {
		return math.MaxInt, nil
	}
	n := c.Int("limit")
	if n < 1 {
		return 0, exit.Usage("--limit is at least 1, not %d", n)
	}
	return n, nil
}

// Arguments checks the number of arguments. names are for the message; one in brackets may be missing.
func Arguments(c *urfave.Context, names ...string) error {
	switch n := c.NArg(); {
	case n < len(names) && names[n][0] != '[':
		return exit.Usage("%s needs %s: see `%s --help`", c.Command.HelpName, names[n], c.Command.HelpName)
	case n > len(names):
		return exit.Usage("%s does not take %q: see `%s --help`", c.Command.HelpName, c.Args().Get(len(names)), c.Command.HelpName)
	}
	return nil
}

// WideFlag is --wide, on tables.
func WideFlag() *urfave.BoolFlag {
	return &urfave.BoolFlag{Name: "wide", Usage: "print columns in full width", DisableDefaultText: true}
}

// YesFlag is --yes, on commands that ask with [Confirm].
func YesFlag() *urfave.BoolFlag {
	return &urfave.BoolFlag{Name: "yes", Usage: "do not ask for confirmation", DisableDefaultText: true}
}

// DryRunFlag is --dry-run, on commands that change something.
func DryRunFlag() *urfave.BoolFlag {
	return &urfave.BoolFlag{Name: "dry-run", Usage: "print the effect, and change nothing", DisableDefaultText: true}
}

// User returns the value of --user. It refuses an empty one, because a filter without a user takes every user.
func User(c *urfave.Context) (string, error) {
	id := c.String("user")
	if c.IsSet("user") && domain.CleanID(id) == "" {
		return "", exit.Usage("--user is empty, which names nobody: give the ID of a user, or leave --user out")
	}
	return id, nil
}

// Computation returns the value of --computation.
func Computation(c *urfave.Context) (string, error) {
	key := c.String("computation")
	if c.IsSet("computation") && strings.TrimSpace(key) == "" {
		return "", exit.Usage("--computation is empty, which names nothing: give a KEY or id, or leave --computation out")
	}
	return key, nil
}
