package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/api"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
	"personasync/store/domain"
)

type handWork = func(*api.Client, context.Context, api.ActionOrder) (*api.ActionReceipt, error)

func retryCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "retry",
		Usage:     "send parked changes again",
		ArgsUsage: "ID... | --all | --reason R",
		Description: "Makes them pending again, as if they had never been tried. --all and --reason show how many there\n" +
			"are and ask first; --yes skips the question. A parked event is read again with the current\n" +
			"configuration and version. If it still cannot be used, it stays parked.\n\n" +
			"Example: personasync outbox retry --reason data_refused",
		Flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "all", Usage: "all parked changes and events", DisableDefaultText: true},
			&urfave.StringFlag{Name: "reason", Usage: "all that are parked for `REASON`, or for one cause as `outbox stats --wide` shows it"},
			command.YesFlag(), command.DryRunFlag(), command.JSONFlag(),
		},
		Action: func(c *urfave.Context) error {
			o := api.ActionOrder{IDs: c.Args().Slice(), All: c.Bool("all"), Reason: c.String("reason")}
			if given(len(o.IDs) > 0)+given(o.All)+given(o.Reason != "") != 1 {
				return exit.Usage("say which: IDs, or --all, or --reason R")
			}
			return actOnChanges(env, c, o, "retried", len(o.IDs) == 0, (*api.Client).Retry)
		},
	}
}

func given(b bool) int {
	if b {
		return 1
	}
	return 0
}

func dropCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "drop",
		Usage:     "remove changes that are pending, held or parked",
		ArgsUsage: "ID...",
		Description: "These changes are never sent. Memberships stay as they are, so the next transition or `audience\n" +
			"reconcile` starts from the last sent values. Asks first; --yes skips the question. Changes in a\n" +
			"request that is under way are left alone.\n\n" +
			"Example: personasync outbox drop 9c41e2f0-3e8-0 --dry-run",
		Flags: []urfave.Flag{command.YesFlag(), command.DryRunFlag(), command.JSONFlag()},
		Action: func(c *urfave.Context) error {
			if c.NArg() == 0 {
				return exit.Usage("%s needs the ID of a change: see `%s --help`", c.Command.HelpName, c.Command.HelpName)
			}
			return actOnChanges(env, c, api.ActionOrder{IDs: c.Args().Slice()}, "dropped", true, (*api.Client).Drop)
		},
	}
}

// hand shows the effect, asks unless told otherwise, and carries it out.
func actOnChanges(env *command.Env, c *urfave.Context, o api.ActionOrder, done string, asks bool, do handWork) (err error) {
	for _, id := range o.IDs {
		if _, err := domain.ParseID(id); err != nil && !asks && len(o.IDs) == 1 {
			return exit.Usage("%w; to name all changes parked for a reason, use --reason %s", err, id)
		} else if err != nil {
			return exit.Usage("%w", err)
		}
	}
	places, err := env.LoadPlaces(c)
	if err != nil {
		return err
	}
	client, err := agent.DialAgent(c.Context, places, env.Version)
	if errors.Is(err, api.ErrNotRunning) {
		return fmt.Errorf("%w: changes are changed by it alone; start it with `personasync run`", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	preview := o
	preview.DryRun = true
	r, err := do(client, c.Context, preview)
	if err != nil {
		return unknownChange(err)
	}
	if o.Reason != "" && r.Done+r.Parked == 0 {
		return exit.Nothing("no change is parked for %q: `personasync outbox stats` shows the reasons and causes that there are", o.Reason)
	}
	if c.Bool("dry-run") {
		return printOutcome(env.Terminal, c, r, "would be "+done)
	}
	if asks && r.Done > 0 && !c.Bool("yes") {
		if err := command.Confirm(env.Terminal, fmt.Sprintf("%s will be %s (%s)", term.Plural(r.Done, "change"), done, strings.Join(r.Samples, ", "))); err != nil {
			return err
		}
	}
	if r, err = do(client, c.Context, o); err != nil {
		return unknownChange(err)
	}
	return printOutcome(env.Terminal, c, r, done)
}

func unknownChange(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return exit.Nothing("%v: ids are those of `personasync outbox list`", err)
	}
	return err
}

func printOutcome(w *term.Terminal, c *urfave.Context, r *api.ActionReceipt, done string) error {
	idle := error(nil)
	if r.Done == 0 && r.Parked == 0 && len(r.Skipped) > 0 {
		idle = exit.Nothing("none of the changes named could be taken: `personasync outbox show %s` says more", r.Skipped[0].ID)
	}
	if c.Bool("json") {
		return cmp.Or(term.PrintJSON(w.Out, r), idle)
	}
	for _, s := range r.Skipped {
		w.Remark("%s is left alone: %s", s.ID, term.Plain(s.Why))
	}
	if still := r.Parked - len(r.Skipped); still > 0 {
		what := "read again and parked still"
		if c.Bool("dry-run") {
			what = "would stay parked"
		}
		w.Remark("%s %s: `personasync outbox stats` shows why", term.Plural(still, "event"), what)
	}
	_, err := fmt.Fprintf(w.Out, "%s %s\n", term.Plural(r.Done, "change"), done)
	return cmp.Or(err, idle)
}

func exportCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "export",
		Usage: "write all changes of a state as JSON lines",
		Description: "Writes pending changes. --state chooses another state.\n\n" +
			"Example: personasync outbox export --state parked > parked.jsonl",
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "state", Value: "pending", Usage: "`STATE`: pending, held, parked, delivered, superseded, cancelled, dropped, expired"},
			command.JSONFlag(),
		},
		Action: env.Action(outboxExport),
	}
}

func outboxExport(env *command.Env, c *urfave.Context) error {
	if err := command.Arguments(c); err != nil {
		return err
	}
	state, ok := domain.ParseState(c.String("state"))
	if !ok {
		return exit.Usage("there is no state %q", c.String("state"))
	}
	return env.Inspect(c, func(i api.Inspector) error {
		out := bufio.NewWriter(env.Out)
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		for cursor, more := "", true; more; more = cursor != "" {
			page, next, err := i.Changes(c.Context, domain.OutboxFilter{State: state, Limit: api.MaxDryRun, Cursor: cursor})
			if err != nil {
				return err
			}
			for _, change := range page {
				if err := e.Encode(change); err != nil {
					return err
				}
			}
			if err := out.Flush(); err != nil {
				return err
			}
			cursor = next
		}
		return nil
	})
}
