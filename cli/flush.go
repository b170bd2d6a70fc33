package cli

import (
	"errors"
	"fmt"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/cli/internal/command"
	"personasync/cli/internal/drain"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
)

func flushCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "flush",
		Usage: "send pending changes now, without waiting for their schedules",
		Description: "Asks the running agent to send at once, also changes that have a retry time, and returns without\n" +
			"waiting for MoEngage. With --computation, everything with the same schedule is sent.\n\n" +
			"--wait waits until these changes are sent, with a progress bar at a terminal. It exits with 1 if\n" +
			"MoEngage refuses everything, if the remaining changes all have a later retry time, or after\n" +
			"--timeout. The agent continues in each case, also after an interruption.\n\n" +
			"--dry-run prints the first requests with secrets masked, and sends nothing. It needs no running\n" +
			"agent.\n\n" +
			"Example: personasync flush --wait",
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "computation", Usage: "only the schedule of the computation with this `KEY` or id"},
			&urfave.BoolFlag{Name: "dry-run", Usage: "print the requests, and send nothing", DisableDefaultText: true},
			&urfave.BoolFlag{Name: "wait", Usage: "wait until every change that is pending now was sent", DisableDefaultText: true},
			&urfave.DurationFlag{Name: "timeout", Usage: "with --wait: give up after `D`", DefaultText: "never"},
			command.LimitFlag("users of a dry run"), command.JSONFlag(),
		},
		Action: env.Action(func(env *command.Env, c *urfave.Context) error {
			if _, err := command.Computation(c); err != nil {
				return err
			}
			switch {
			case c.Bool("wait") && (c.Bool("dry-run") || c.String("computation") != ""):
				return exit.Usage("--wait is for everything: it goes neither with --dry-run nor with --computation")
			case c.IsSet("timeout") && (!c.Bool("wait") || c.Duration("timeout") <= 0):
				return exit.Usage("--timeout goes with --wait, and is a duration such as 10m")
			case c.Bool("dry-run"):
				return dryRun(env, c)
			}
			return runFlush(env, c)
		}),
	}
}

func runFlush(env *command.Env, c *urfave.Context) (err error) {
	client, err := env.Dial(c, "only a running agent sends; start it with `personasync run`, or print the requests that it would send with --dry-run")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	var before condition.Status
	if c.Bool("wait") {
		if before, err = client.Status(c.Context); err != nil {
			return err
		}
	}
	asked := time.Now()
	receipt, err := client.Flush(c.Context, c.String("computation"))
	if err != nil {
		return command.UnknownKey(env, c, err, c.String("computation"))
	}
	if c.Bool("wait") {
		if err := drain.Wait(c.Context, env.Terminal, client, before, asked, c.Duration("timeout")); err != nil {
			return err
		}
	}
	if c.Bool("json") {
		return term.PrintJSON(env.Out, receipt)
	}
	if c.Bool("wait") {
		_, err = fmt.Fprintf(env.Out, "flushed: of %s none is pending any more\n", term.Plural(before.Changes.Pending, "change"))
		return err
	}
	what := "everything"
	if receipt.Job != "" {
		what = "the schedule " + receipt.Job
	}
	_, err = fmt.Fprintf(env.Out, "flushing %s; %s in the outbox\n", term.Plain(what), term.Plural(receipt.Pending, "pending change"))
	return err
}

func dryRun(env *command.Env, c *urfave.Context) error {
	n, err := command.Limit(c)
	if err != nil {
		return err
	}
	if n > api.MaxDryRun {
		env.Remark("a dry run shows %s at most", term.Plural(api.MaxDryRun, "user"))
	}
	return env.Inspect(c, func(i api.Inspector) error {
		r, err := i.DryRun(c.Context, c.String("computation"), n)
		if err != nil {
			return command.UnknownKey(env, c, err, c.String("computation"))
		}
		for _, remark := range r.Remarks {
			env.Remark("%s", remark)
		}
		if c.Bool("json") {
			return term.PrintJSON(env.Out, r)
		}
		return printDryRun(env.Terminal, r)
	})
}

func printDryRun(w *term.Terminal, r *api.DryRunResult) error {
	if len(r.Requests) == 0 {
		w.Remark("nothing would be sent")
	}
	for i := range r.Requests {
		p := &r.Requests[i]
		title := fmt.Sprintf("Request %d of %d: %s, %s", i+1, len(r.Requests), term.Plural(p.Users, "user"), term.Plural(p.Events, "event"))
		if _, err := fmt.Fprintf(w.Out, "%s\n%s\n\n", w.Paint.Bold(title), requestText(p, "")); err != nil {
			return err
		}
	}
	for _, why := range r.WouldPark {
		if _, err := fmt.Fprintln(w.Out, w.Paint.Yellow(term.Plain(why))); err != nil {
			return err
		}
	}
	return nil
}
