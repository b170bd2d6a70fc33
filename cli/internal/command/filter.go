package command

import (
	"strconv"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store/domain"
)

// StateFlag is --state. byDefault is "" if the command has no default state.
func StateFlag(byDefault string) *urfave.StringFlag {
	return &urfave.StringFlag{Name: "state", Value: byDefault, Usage: "`STATE`: " + strings.Join(domain.StateNames(), ", ")}
}

// FilterFlags are the flags that choose changes, without --state.
func FilterFlags() []urfave.Flag {
	return append([]urfave.Flag{
		&urfave.StringFlag{Name: "reason", Aliases: []string{"cause"}, Usage: "only for `REASON`, or for one cause as `outbox stats --wide` shows it"},
		&urfave.StringFlag{Name: "computation", Usage: "only of the computation with this `KEY` or id"},
		&urfave.StringFlag{Name: "user", Usage: "only of `USER`"},
	}, TimeFlags()...)
}

// TimeFlags are --since and --until.
func TimeFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "since", Usage: "only received at `TIME` or later: 2026-03-14T09:26:53Z, 2026-03-14, or an age such as 90m or 2d"},
		&urfave.StringFlag{Name: "until", Usage: "only received before `TIME`"},
	}
}

// Filter reads the flags that choose changes. It refuses an empty value, because a filter without a value takes every
// change.
func Filter(c *urfave.Context) (f domain.OutboxFilter, err error) {
	if name := c.String("state"); name != "" || c.IsSet("state") {
		var ok bool
		if f.State, ok = domain.ParseState(name); !ok {
			return f, exit.Usage("--state %s is no state: there are %s", name, strings.Join(domain.StateNames(), ", "))
		}
	}
	if f.User, err = User(c); err != nil {
		return f, err
	}
	if f.Computation, err = Computation(c); err != nil {
		return f, err
	}
	if f.Reason = c.String("reason"); f.Reason == "" && c.IsSet("reason") {
		return f, exit.Usage("--reason is empty: `personasync outbox stats` lists the reasons")
	}
	f.Since, f.Until, err = Times(c)
	return f, err
}

// Times reads --since and --until. A time that is not given is the zero time.
func Times(c *urfave.Context) (since, until time.Time, err error) {
	if since, err = Time(c, "since"); err != nil {
		return since, until, err
	}
	if until, err = Time(c, "until"); err != nil {
		return since, until, err
	}
	if !since.IsZero() && !until.IsZero() && !since.Before(until) {
		return since, until, exit.Usage("--since %s is not before --until %s, so nothing can match", c.String("since"), c.String("until"))
	}
	return since, until, nil
}

// FilterText returns the flags that make up a filter, without the state.
func FilterText(f domain.OutboxFilter) (flags string) {
	for _, part := range []struct{ name, value string }{
		{"reason", f.Reason}, {"computation", f.Computation}, {"user", f.User}, {"since", domain.Timestamp(f.Since)}, {"until", domain.Timestamp(f.Until)},
	} {
		if part.value != "" {
			flags += " --" + part.name + " " + term.Argument(part.value)
		}
	}
	return flags
}

// Time reads a flag with a time or an age. Without the flag it returns the zero time.
func Time(c *urfave.Context, name string) (time.Time, error) {
	text := c.String(name)
	if text == "" && !c.IsSet(name) {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if age, ok := ParseAge(text); ok {
		return time.Now().Add(-age), nil
	}
	return time.Time{}, exit.Usage("--%s %s is no time: write 2026-03-14T09:26:53Z, 2026-03-14 for its first moment in UTC, or an age such as 90m or 2d", name, text)
}

// ParseAge reads a duration, or a number of days such as 2d. It is never negative.
func ParseAge(text string) (time.Duration, bool) {
	if number, found := strings.CutSuffix(text, "d"); found {
		days, err := strconv.ParseFloat(number, 64)
		return time.Duration(days * float64(24*time.Hour)), err == nil && days >= 0 && days < 1e5
	}
	age, err := time.ParseDuration(text)
	return age, err == nil && age >= 0
}
