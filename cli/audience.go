package cli

import (
	"maps"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/cli/internal/command"
	"personasync/cli/internal/pausing"
	"personasync/cli/internal/term"
	"personasync/store"
	"personasync/store/domain"
)

func audienceCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "audience",
		Usage: "show and correct audiences and traits",
		Subcommands: append([]*urfave.Command{
			{
				Name:  "list",
				Usage: "list every audience and trait, with the number of members",
				Description: "A computation appears with its first event. It needs no configuration. --wide also shows the ids.\n\n" +
					"Example: personasync audience list",
				Flags:  []urfave.Flag{command.WideFlag(), command.JSONFlag(), command.CSVFlag()},
				Action: env.Action(audienceList),
			},
			{
				Name:      "members",
				Usage:     "list the members of one audience",
				ArgsUsage: "KEY",
				Description: "KEY is a key or an id. A trait has no members.\n\n" +
					"Example: personasync audience members high_value_shoppers --limit 1000",
				Flags:  []urfave.Flag{command.LimitFlag("members"), command.WideFlag(), command.JSONFlag(), command.CSVFlag()},
				Action: env.Action(audienceMembers, "the KEY of an audience"),
			},
			audienceHistoryCommand(env),
			transitionsCommand(env),
			audienceVerifyCommand(env),
		}, membershipCommands(env)...),
	}
}

func audienceList(env *command.Env, c *urfave.Context) error {
	conf, err := env.LoadPlaces(c)
	if err != nil {
		return err
	}
	return env.Inspect(c, func(i api.Inspector) error {
		list, err := i.Computations(c.Context)
		if err != nil {
			return err
		}
		if unseen := neverSeen(conf.Rules(), list); len(unseen) > 0 {
			env.Remark("configured, but never seen in an event: %s", strings.Join(unseen, ", "))
		}
		if asked, err := command.PrintData(env.Terminal, c, list); asked {
			return err
		}
		keys := shared(list)
		for _, l := range list {
			if l.Pause != nil {
				pausing.Remark(env.Terminal, l.Pause, l.HeldPaused)
			}
			if l.ExitsHeldSince != "" {
				key := term.Plain(store.Arguments(l.Key))
				if keys[l.Key] {
					key = term.Plain(store.Arguments(l.ID))
				}
				env.Remark("too many members left %s at once, exits are held since %s: `personasync audience release %s` sends them, `personasync audience discard %s` drops them", term.Plain(l.Key), term.Minute(l.ExitsHeldSince), key, key)
			}
		}
		if len(list) == 0 {
			env.Remark("no event of an audience or trait has come yet")
		}
		return printComputations(env.Terminal, c.Bool("wide"), list)
	})
}

func printComputations(w *term.Terminal, wide bool, list []domain.ComputationInfo) error {
	t := w.NewTable(wide, term.Column{Title: "KEY"}, term.Column{Title: "CLASS"},
		term.Column{Title: "MEMBERS", Right: true}, term.Column{Title: "ENTERED", Right: true}, term.Column{Title: "EXITED", Right: true}, term.Column{Title: "HELD", Right: true},
		term.Column{Title: "LAST EVENT"}, term.Column{Title: "SENT UP TO"})
	withheld := slices.ContainsFunc(list, func(l domain.ComputationInfo) bool { return l.Withheld > 0 })
	if withheld {
		t.Columns = slices.Insert(t.Columns, 6, term.Column{Title: "WITHHELD", Right: true})
	}
	if wide || len(shared(list)) > 0 {
		t.Columns = append(t.Columns, term.Column{Title: "ID"})
	}
	if slices.ContainsFunc(list, func(l domain.ComputationInfo) bool { return l.Rollout != nil }) {
		t.Columns = slices.Insert(t.Columns, 6, term.Column{Title: "TOLD"})
	}
	var rows [][]string
	for _, l := range list {
		members := term.Count(l.Members)
		if l.Class == "trait" {
			members = ""
		}
		row := []string{l.Key, l.Class, members, term.Count(l.Entered), term.Count(l.Exited), term.Count(l.Held), term.Minute(l.LastEvent), term.Minute(l.SentUpTo), l.ID}
		if withheld {
			row = slices.Insert(row, 6, term.Count(l.Withheld))
		}
		if t.Columns[6].Title == "TOLD" {
			row = slices.Insert(row, 6, toldShare(l.Rollout))
		}
		rows = append(rows, row[:len(t.Columns)])
	}
	return t.Print(rows)
}

// toldShare says which users MoEngage is told of.
func toldShare(r *domain.RolloutInfo) string {
	if r == nil {
		return "all"
	}
	text := domain.Percent(r.Share)
	if r.Listed != nil {
		text += " of " + term.Plural(uint64(*r.Listed), "listed user")
	}
	if r.Holdout > 0 {
		text += ", holdout " + domain.Percent(r.Holdout)
	}
	return text
}

// shared returns the keys that several computations have. A key alone does not say which of them is meant.
func shared(list []domain.ComputationInfo) map[string]bool {
	all := map[string]bool{}
	for i := range list {
		_, again := all[list[i].Key]
		all[list[i].Key] = again
	}
	maps.DeleteFunc(all, func(_ string, several bool) bool { return !several })
	return all
}

// neverSeen lists the sections of the configuration whose computation has had no event.
func neverSeen(rules domain.Rules, seen []domain.ComputationInfo) (missing []string) {
	for _, s := range rules.Sections {
		known := slices.ContainsFunc(seen, func(c domain.ComputationInfo) bool {
			if s.ID != "" {
				return c.ID == s.ID
			}
			return c.Key == s.Key
		})
		switch {
		case known:
		case s.ID != "":
			missing = append(missing, s.ID)
		default:
			missing = append(missing, s.Key)
		}
	}
	return missing
}

var memberTable = []term.Column{{Title: "USER"}, {Title: "SINCE"}}

func memberRow(v domain.MemberInfo) []string { return []string{v.User, v.Since} }

func audienceMembers(env *command.Env, c *urfave.Context) error {
	n, err := command.Limit(c)
	if err != nil {
		return err
	}
	key := c.Args().First()
	return env.Inspect(c, func(i api.Inspector) error {
		after := ""
		list := command.Listing[domain.MemberInfo]{Columns: memberTable, Row: memberRow}
		list.Fetch = func(want int) ([]domain.MemberInfo, bool, error) {
			page, more, err := i.Members(c.Context, key, after, want)
			if len(page) > 0 {
				after = page[len(page)-1].User
			}
			return page, more, err
		}
		return command.UnknownKey(env, c, list.Print(env.Terminal, c, n), key)
	})
}
