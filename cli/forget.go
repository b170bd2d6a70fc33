package cli

import (
	"errors"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/cli/internal/command"
	"personasync/cli/internal/deletion"
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
			"With --moengage the user is deleted at MoEngage, too, which needs moengage.delete_users = true. The\n" +
			"order is on disk when the command ends, and carried out by the running agent; until then the files\n" +
			"hold the ID. `personasync user deletions` shows what became of it.\n\n" +
			"Example: personasync user forget usr_48213",
		Flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "moengage", Usage: "delete the user at MoEngage, too", DisableDefaultText: true}, command.YesFlag(), command.DryRunFlag(), command.JSONFlag(),
		},
		Action: env.Action(userForget, "the ID of a user"),
	}
}

func userForget(env *command.Env, c *urfave.Context) error {
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
		what := "this user will be erased, which cannot be undone"
		if c.Bool("moengage") {
			what = "this user will be erased here and at MoEngage, which cannot be undone"
		}
		if err := command.Confirm(c.Context, env.Terminal, what); err != nil {
			return err
		}
	}
	return env.Order(c, func(o api.Orders, bar *term.Bar) error {
		r, err := o.Forget(c.Context, api.ForgetOrder{User: id, MoEngage: c.Bool("moengage"), By: operatorName()})
		if errors.Is(err, api.ErrUsage) {
			return exit.Usage("%v", err)
		} else if err != nil {
			return err
		}
		print := func() error { return deletion.PrintForgotten(env.Terminal, r) }
		if c.Bool("json") {
			print = func() error { return term.PrintJSON(env.Out, deletion.NewReceipt(r)) }
		}
		if err := print(); err != nil || deletion.Found(r) || r.Deletion != nil {
			return err
		}
		return command.UnknownUser(id)
	})
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

func deletionsCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "deletions",
		Usage:     "list deletions of users at MoEngage: who asked, and when MoEngage accepted",
		ArgsUsage: "[ID]",
		Description: "Newest first. The ID of a user is shown until the deletion is done; from then on there is a salted hash\n" +
			"of it. Give an ID to see the deletions of that user. The list is kept for ever.\n\n" +
			"Example: personasync user deletions usr_48213 --json",
		Flags:  []urfave.Flag{command.StateFlag(""), command.LimitFlag("deletions"), command.WideFlag(), command.JSONFlag(), command.CSVFlag()},
		Action: env.Action(userDeletions, "[ID]"),
	}
}

func userDeletions(env *command.Env, c *urfave.Context) error {
	f := domain.DeletionFilter{State: c.String("state"), User: domain.CleanID(c.Args().First())}
	n, err := command.Limit(c)
	if err != nil {
		return err
	}
	return env.Inspect(c, func(i api.Inspector) error {
		list := command.Listing[domain.Deletion]{Columns: deletion.Table, Row: deletion.Row}
		list.Fetch = func(want int) ([]domain.Deletion, bool, error) {
			f.Limit = want
			page, total, err := i.Deletions(c.Context, f)
			f.Skip += len(page)
			return page, f.Skip < total, err
		}
		return list.Print(env.Terminal, c, n)
	})
}
