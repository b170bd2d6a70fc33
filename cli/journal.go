package cli

import (
	"errors"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/journal"
	"personasync/cli/internal/term"
	"personasync/store"
	"personasync/store/domain"
)

func userHistoryCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "history",
		Usage:     "list when and why a user entered and left audiences, and what MoEngage was told",
		ArgsUsage: "ID",
		Description: "Newest first, as far back as [history] keeps it. \"told in\" and \"told out\" are changes that were made\n" +
			"without an enter or an exit. Values of traits have no history.\n\n" +
			"Example: personasync user history usr_48213 --audience high_value_shoppers --since 2026-05-01",
		Flags:  append([]urfave.Flag{&urfave.StringFlag{Name: "audience", Usage: "only of the audience with this `KEY` or id"}}, journalFlags()...),
		Action: env.Action(userHistory, "the ID of a user"),
	}
}

func transitionsCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "transitions",
		Usage:     "list who entered and left an audience, when and why",
		ArgsUsage: "KEY",
		Description: "Newest first, as far back as [history] keeps it. `user history` also shows what MoEngage was told.\n\n" +
			"Example: personasync audience transitions high_value_shoppers --since 2026-05-01 --until 2026-05-04 --csv",
		Flags:  journalFlags(),
		Action: env.Action(audienceTransitions, "the KEY of an audience"),
	}
}

func journalFlags() []urfave.Flag {
	return append(command.TimeFlags(), command.LimitFlag("lines"), command.WideFlag(), command.JSONFlag(), command.CSVFlag())
}

func userHistory(env *command.Env, c *urfave.Context) error {
	f := domain.JournalFilter{User: c.Args().First(), Computation: c.String("audience")}
	return env.Inspect(c, func(i api.Inspector) error {
		u, err := findUser(c.Context, i, f.User) // its id as it is stored
		if err == nil {
			f.User = u.User
		} else if clean := domain.CleanID(f.User); clean != "" { // only the journal may know the user
			f.User = clean
		}
		if _, unknown := i.Journal(c.Context, domain.JournalFilter{User: f.User, Limit: 1}); errors.Is(unknown, store.ErrNotFound) {
			return command.UnknownUser(f.User)
		}
		return printJournal(env, c, i, f, journal.UserTable, journal.UserRow)
	})
}

func audienceTransitions(env *command.Env, c *urfave.Context) error {
	return env.Inspect(c, func(i api.Inspector) error {
		return printJournal(env, c, i, domain.JournalFilter{Computation: c.Args().First()}, journal.AudienceTable, journal.AudienceRow)
	})
}

// printJournal prints what passes the filter, and how far back the journal goes.
func printJournal(env *command.Env, c *urfave.Context, i api.Inspector, f domain.JournalFilter, columns []term.Column, row func(domain.JournalInfo) []string) (err error) {
	if f.Since, f.Until, err = command.Times(c); err != nil {
		return err
	}
	n, err := command.Limit(c)
	if err != nil {
		return err
	}
	var last domain.JournalPage
	list := command.Listing[domain.JournalInfo]{Columns: columns, Row: row}
	list.Fetch = func(want int) ([]domain.JournalInfo, bool, error) {
		f.Limit = want
		page, err := i.Journal(c.Context, f)
		f.Before, last = page.Next, page
		return page.Items, page.Next != 0, err
	}
	err = list.Print(env.Terminal, c, n)
	switch {
	case errors.Is(err, store.ErrNoMembers):
		return exit.Nothing("%s is a trait, and of values there is no history: `personasync user show ID` shows the current one", term.Plain(f.Computation))
	case err != nil:
		return command.UnknownKey(env, c, err, f.Computation)
	case last.Off:
		env.Remark("enters and exits are not written down, because history.keep is \"0s\" in agent.toml")
	case last.Next == 0 && last.From != "":
		env.Remark("the history begins at %s", term.Second(last.From))
	}
	return nil
}
