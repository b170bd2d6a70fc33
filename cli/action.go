package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
	"personasync/store/domain"
)

func retryCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "retry",
		Usage:     "send parked changes again",
		ArgsUsage: "ID... | --all | --reason R …",
		Description: "Makes them pending again, as if they had never been tried. Name them by ID, or choose them by the\n" +
			"flags of `outbox list`. Then it shows how many there are and asks first; --yes skips the question. A\n" +
			"parked event is read again with the current configuration and version. If it still cannot be used, it\n" +
			"stays parked. With --reason delete_limit, or by ID, it releases held deletions of users at MoEngage.\n" +
			"After an interruption, run the command again.\n\n" +
			"Example: personasync outbox retry --reason data_refused --since 2h",
		Flags: append(append([]urfave.Flag{&urfave.BoolFlag{Name: "all", Usage: "all parked changes and events", DisableDefaultText: true}}, command.FilterFlags()...),
			command.YesFlag(), command.DryRunFlag(), command.JSONFlag()),
		Action: func(c *urfave.Context) error {
			filter, err := command.Filter(c)
			if err != nil {
				return err
			}
			chosen := filter != (domain.OutboxFilter{})
			if filter.State = domain.StateParked; filter.Reason == domain.ReasonDeleteLimit {
				filter.State = domain.StateHeld // no parked change has this reason
			}
			a := action{order: api.ActionOrder{IDs: c.Args().Slice()}, done: "retried", do: (*api.Client).Retry}
			switch {
			case given(len(a.order.IDs) > 0)+given(c.Bool("all"))+given(chosen) != 1:
				return exit.Usage("say which: IDs, or --all, or --reason R, --computation KEY, --user USER, --since TIME, --until TIME")
			case len(a.order.IDs) == 0:
				a.choose(filter)
			}
			return a.run(env, c)
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
		ArgsUsage: "ID... | --state STATE …",
		Description: "These changes are never sent. Memberships stay as they are, so the next transition or `audience\n" +
			"reconcile` starts from the last sent values. Name them by ID, or choose them by --state and the other\n" +
			"flags of `outbox list`. Asks first; --yes skips the question. Changes in a request that is under way\n" +
			"are left alone. After an interruption, run the command again.\n\n" +
			"Example: personasync outbox drop --state parked --reason data_refused --until 2026-03-14 --dry-run",
		Flags: append(append([]urfave.Flag{command.StateFlag("")}, command.FilterFlags()...), command.YesFlag(), command.DryRunFlag(), command.JSONFlag()),
		Action: func(c *urfave.Context) error {
			filter, err := command.Filter(c)
			if err != nil {
				return err
			}
			a := action{order: api.ActionOrder{IDs: c.Args().Slice()}, done: "dropped", asks: true, do: (*api.Client).Drop}
			switch chosen := filter != (domain.OutboxFilter{}); {
			case chosen == (len(a.order.IDs) > 0):
				return exit.Usage("%s needs the ID of a change, or --state with the flags of `personasync outbox list`: see `%s --help`", c.Command.HelpName, c.Command.HelpName)
			case chosen && filter.State != domain.StatePending && filter.State != domain.StateHeld && filter.State != domain.StateParked:
				return exit.Usage("say which changes to drop: --state pending, --state held or --state parked")
			case chosen:
				a.choose(filter)
			}
			return a.run(env, c)
		},
	}
}

// action retries or drops changes. It shows the effect first, asks if it should, and then carries the order out.
type action struct {
	order api.ActionOrder
	done  string // "retried" or "dropped"
	asks  bool
	do    func(*api.Client, context.Context, api.ActionOrder) (*api.ActionReceipt, error)
}

// actionPart is how many changes that pass a filter one order reads. Between two of them an interrupt ends the command,
// and the bar moves.
const actionPart = 10_000

// choose takes the changes that pass a filter, up to those received by now: the question must count the changes that are then taken.
func (a *action) choose(f domain.OutboxFilter) {
	if f.Until.IsZero() {
		f.Until = time.Now()
	}
	a.asks, a.order.Most = true, actionPart
	a.order.Filter = &api.ActionFilter{State: f.State.String(), User: f.User, Computation: f.Computation, Reason: f.Reason, Since: f.Since, Until: f.Until}
}

func (a *action) run(env *command.Env, c *urfave.Context) (err error) {
	for _, id := range a.order.IDs {
		if _, err := domain.ParseID(id); err != nil && a.done == "retried" && len(a.order.IDs) == 1 {
			return exit.Usage("%w; to name all changes parked for a reason, use --reason %s", err, id)
		} else if err != nil {
			return exit.Usage("%w", err)
		}
	}
	client, err := env.Dial(c, "changes are changed by it alone; start it with `personasync run`")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	preview, err := a.carryOut(c.Context, client, true, func(int) {})
	if err != nil {
		return unknownChange(err)
	}
	if a.order.Filter != nil && preview.Done+preview.Parked == 0 && !c.Bool("all") {
		return a.nothing(env, c, client)
	}
	if c.Bool("dry-run") {
		return printOutcome(env.Terminal, c, preview, "would be "+a.done)
	}
	if a.asks && preview.Done > 0 && !c.Bool("yes") {
		if err := command.Confirm(c.Context, env.Terminal, fmt.Sprintf("%s will be %s (%s)", term.Plural(preview.Done, "change"), a.done, strings.Join(preview.Samples, ", "))); err != nil {
			return err
		}
	}
	bar := env.Progress()
	bar.Unit = func(n int64) string { return term.Plural(n, "change") }
	receipt, err := a.carryOut(c.Context, client, false, func(done int) { bar.Tell(int64(done), int64(preview.Done)) })
	bar.End()
	if err != nil && receipt.Done > 0 {
		return fmt.Errorf("%s %s, and then: %w; run the command again for the others", term.Plural(receipt.Done, "change"), a.done, err)
	}
	if err != nil {
		return unknownChange(err)
	}
	return printOutcome(env.Terminal, c, receipt, a.done)
}

// carryOut gives the order to the agent, in parts if it goes by a filter. After an error the receipt has the parts before.
func (a *action) carryOut(ctx context.Context, client *api.Client, dryRun bool, tell func(done int)) (*api.ActionReceipt, error) {
	whole := &api.ActionReceipt{Samples: []string{}, Skipped: []api.Skipped{}}
	o := a.order
	o.DryRun = dryRun
	for first := true; first || o.Cursor != ""; first = false {
		part, err := a.do(client, ctx, o)
		if err != nil {
			return whole, err
		}
		if len(whole.Samples) == 0 {
			whole.Samples = part.Samples
		}
		whole.Done, whole.Parked, whole.Skipped = whole.Done+part.Done, whole.Parked+part.Parked, append(whole.Skipped, part.Skipped...)
		o.Cursor = part.Next
		tell(whole.Done)
	}
	return whole, nil
}

// nothing is the error of an order whose filter no change passes.
func (a *action) nothing(env *command.Env, c *urfave.Context, client *api.Client) error {
	f := a.order.Filter
	if err := command.EnsureKnown(env, c, client, f.User, f.Computation); err != nil {
		return err
	}
	reason := ""
	if f.Reason != "" {
		reason = fmt.Sprintf(" for %q", f.Reason)
	}
	return exit.Nothing("no change is %s%s that matches the flags: `personasync outbox stats` lists states, reasons and causes", f.State, reason)
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
			"Example: personasync outbox export --state parked --since 7d > parked.jsonl",
		Flags:  append(append([]urfave.Flag{command.StateFlag("pending")}, command.FilterFlags()...), command.JSONFlag()),
		Action: env.Action(outboxExport),
	}
}

func outboxExport(env *command.Env, c *urfave.Context) error {
	filter, err := command.Filter(c)
	if err != nil {
		return err
	}
	filter.Limit = api.MaxDryRun
	return env.Inspect(c, func(i api.Inspector) error {
		out := bufio.NewWriter(env.Out)
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		some := false
		for more := true; more; more = filter.Cursor != "" {
			page, next, err := i.Changes(c.Context, filter)
			if err != nil {
				return err
			}
			some = some || len(page) > 0
			for _, change := range page {
				if err := e.Encode(change); err != nil {
					return err
				}
			}
			if err := out.Flush(); err != nil {
				return err
			}
			filter.Cursor = next
		}
		if !some {
			return command.EnsureKnown(env, c, i, filter.User, filter.Computation)
		}
		return nil
	})
}
