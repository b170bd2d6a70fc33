package argv

import (
	"regexp"
	"sync"

	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
)

// refusedValue is how package flag says that a value cannot be used.
var refusedValue = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^invalid (?:boolean )?value "(.*)" for (?:flag )?-([^ ]+): `)
})

// ValueError says of a value that a flag does not take what it takes.
func ValueError(flags []urfave.Flag, err error) error {
	m := refusedValue().FindStringSubmatch(err.Error())
	if m == nil {
		return exit.Usage("%w", err)
	}
	for _, f := range flags {
		if !HasFlag([]urfave.Flag{f}, m[2]) {
			continue
		}
		dash := "--"
		if len(m[2]) == 1 {
			dash = "-"
		}
		switch f.(type) {
		case *urfave.DurationFlag:
			return exit.Usage("%s%s %s is no duration: write 30s, 90m or 12h", dash, m[2], term.Plain(m[1]))
		case *urfave.IntFlag:
			return exit.Usage("%s%s %s is no whole number of this size: write one such as 20", dash, m[2], term.Plain(m[1]))
		case *urfave.BoolFlag:
			return exit.Usage("%s%s takes no value: write it without %s", dash, m[2], term.Plain(m[1]))
		}
	}
	return exit.Usage("%w", err)
}
