package cli

import (
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
)

// reconcile is `audience reconcile`: of one computation, or with --all of each.
func reconcile(env *command.Env) urfave.ActionFunc {
	one := audienceOrder(env, "reconcile")
	return func(c *urfave.Context) error {
		switch {
		case !c.Bool("all"):
			return one(c)
		case c.NArg() > 0:
			return exit.Usage("--all takes every audience and trait: leave out %s, or --all", term.Argument(c.Args().First()))
		case c.IsSet("told-since"), c.IsSet("told-until"):
			return exit.Usage("--all does not go with --told-since and --told-until: name the KEY of one audience")
		}
		names, err := computationNames(env, c)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return exit.Nothing("no event has named a computation, so there is nothing to send again")
		}
		return env.Order(c, func(o api.Orders, bar *term.Bar) error { return reconcileAll(env.Terminal, c, o, bar, names) })
	}
}

// computationNames lists what each computation can be called by: its key, or its id where several share the key.
func computationNames(env *command.Env, c *urfave.Context) (names []string, err error) {
	err = env.Quietly(c, func(i api.Inspector) error {
		list, err := i.Computations(c.Context)
		sharing := map[string]int{}
		for _, l := range list {
			sharing[l.Key]++
		}
		for _, l := range list {
			name := l.Key
			if sharing[name] > 1 && l.ID != "" {
				name = l.ID
			}
			names = append(names, name)
		}
		return err
	})
	return names, err
}

// reconcileAll orders each computation to be sent again, after it asked once for all of them.
func reconcileAll(w *term.Terminal, c *urfave.Context, o api.Orders, bar *term.Bar, names []string) error {
	each := func(dry bool) (list []store.MembershipReport, again uint64, err error) {
		for _, name := range names {
			bar.Next(people)
			r, err := o.Order(c.Context, api.Order{Verb: "reconcile", Key: name, Events: c.Bool("events"), DryRun: dry, By: operatorName()}, bar.Tell)
			if err != nil {
				bar.End()
				return list, again, fmt.Errorf("%s: %w", term.Plain(name), err)
			}
			list, again = append(list, r), again+r.Again
		}
		bar.End()
		return list, again, nil
	}
	if !c.Bool("dry-run") && !c.Bool("yes") {
		_, again, err := each(true)
		if err != nil {
			return err
		}
		if err := command.Confirm(w, fmt.Sprintf("%s audiences and traits: %s memberships and values would be told again", term.Count(len(names)), term.Count(again))); err != nil {
			return err
		}
	}
	list, again, err := each(c.Bool("dry-run"))
	if c.Bool("json") {
		if err := term.PrintJSON(w.Out, list); err != nil {
			return err
		}
	} else {
		for _, r := range list {
			if _, err := fmt.Fprintln(w.Out, membershipText("reconcile", r)); err != nil {
				return err
			}
		}
	}
	if err == nil && again == 0 {
		err = exit.Nothing("nothing is known that MoEngage should be told")
	}
	return err
}
