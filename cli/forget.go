package cli

import (
	"errors"
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
	"personasync/store/domain"
)

func forgetCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "forget",
		Usage:     "erase a user from the data directory",
		ArgsUsage: "ID",
		Description: "Cancels the user's pending changes, removes the stored data and the received events, and compacts\n" +
			"the files, so that the bytes are gone. Events from before this moment are ignored if they arrive\n" +
			"later. It cannot be undone.\n\n" +
			"Example: personasync user forget usr_48213",
		Flags: []urfave.Flag{
			command.YesFlag(), command.DryRunFlag(), command.JSONFlag(),
		},
		Action: env.Action(userForget),
	}
}

func userForget(env *command.Env, c *urfave.Context) error {
	if err := command.Arguments(c, "the ID of a user"); err != nil {
		return err
	}
	id := c.Args().First()
	if len(id) > domain.MaxUserID {
		return exit.Usage("an id has %d bytes at most", domain.MaxUserID)
	}
	if clean := domain.CleanID(id); clean != id {
		if err := env.Inspect(c, func(i api.Inspector) error {
			_, err := i.User(c.Context, id)
			switch {
			case !errors.Is(err, store.ErrNotFound):
				return err // an older version stored such an id unchanged
			case clean == "":
				return exit.Usage("blanks name nobody: give the ID of a user, as Segment's userId has it")
			}
			id = clean // as ids of events are read, so that later deliveries are ignored
			return nil
		}); err != nil {
			return err
		}
	}
	if dry := c.Bool("dry-run"); dry || !c.Bool("yes") {
		if err := env.Inspect(c, func(i api.Inspector) error { return previewForget(env.Terminal, c, i, id) }); err != nil || dry {
			return err
		}
		if err := command.Confirm(env.Terminal, "this user will be erased, which cannot be undone"); err != nil {
			return err
		}
	}
	return env.Order(c, func(o api.Orders, bar *term.Bar) error {
		r, err := o.Forget(c.Context, id)
		if err != nil {
			return err
		}
		print := func() error { return printForgotten(env.Terminal, r) }
		if c.Bool("json") {
			print = func() error { return term.PrintJSON(env.Out, forgetReceipt{r, outOfReach}) }
		}
		if err := print(); err != nil || found(r) {
			return err
		}
		return command.UnknownUser(id)
	})
}

// forgetReceipt is the JSON of an erasure, which an operator can keep as a record.
type forgetReceipt struct {
	store.ForgetReport
	OutOfReach []string `json:"out_of_reach"`
}

var outOfReach = []string{
	"MoEngage: the data there stays until the user is erased there too",
	"backups: those made before hold the user, and restoring one brings him back",
	"late deliveries: ignored, and their bytes go with the next erasure or with retention.received",
}

func previewForget(w *term.Terminal, c *urfave.Context, i api.Inspector, id string) error {
	u, err := i.User(c.Context, id)
	if errors.Is(err, store.ErrNotFound) && c.Bool("dry-run") {
		return command.UnknownUser(id)
	}
	if errors.Is(err, store.ErrNotFound) {
		w.Remark("no data of this user is stored; the received events are searched all the same, and late deliveries are ignored")
		return nil
	}
	if err != nil {
		return err
	}
	w.Remark("%s: %s, %s, %s not at MoEngage yet, %s or more done", term.Plain(id),
		term.Plural(len(u.Memberships), "membership"), term.Plural(len(u.Traits), "trait"), term.Plural(len(u.Pending), "change"), term.Plural(len(u.History), "change"))
	return nil
}

// found reports whether any data of the user was erased.
func found(r store.ForgetReport) bool {
	return r.Memberships > 0 || r.Changes > 0 || r.Journal > 0 || r.Records > 0
}

func printForgotten(w *term.Terminal, r store.ForgetReport) error {
	if !found(r) {
		_, err := fmt.Fprintln(w.Out, "nothing was known of this user; what happened up to now and is delivered later is ignored")
		return err
	}
	_, err := fmt.Fprintf(w.Out, "forgotten: %s erased, %s withdrawn, %s of the history erased, %s blanked; state.db had %s and has %s\nout of reach:\n  %s\n",
		term.Plural(r.Memberships, "value"), term.Plural(r.Changes, "change"), term.Plural(r.Journal, "line"), term.Plural(r.Records, "received record"),
		domain.Bytes(r.Before), domain.Bytes(r.After), strings.Join(outOfReach, "\n  "))
	return err
}
