package cli

import (
	"maps"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/store"
)

func audienceCommand(env *shell) *urfave.Command {
	return &urfave.Command{
		Name:  "audience",
		Usage: "who is in which audience, as the agent knows it, and what it should know",
		Subcommands: append([]*urfave.Command{
			{
				Name:  "list",
				Usage: "list every audience and trait seen, with its members",
				Description: "A computation appears with its first event; nothing need be configured for it. --wide shows the ids,\n" +
					"too.\n\n" +
					"Example: personasync audience list",
				Flags:  []urfave.Flag{wideFlag(), jsonFlag()},
				Action: env.action(audienceList),
			},
			{
				Name:      "members",
				Usage:     "list the members of one audience",
				ArgsUsage: "KEY",
				Description: "KEY may be the computation's id. A trait has no members.\n\n" +
					"Example: personasync audience members high_value_shoppers --limit 1000",
				Flags:  []urfave.Flag{limitFlag("members"), wideFlag(), jsonFlag()},
				Action: env.action(audienceMembers),
			},
			audienceHistoryCommand(env),
			audienceVerifyCommand(env),
		}, membershipCommands(env)...),
	}
}

func audienceList(env *shell, c *urfave.Context) error {
	if err := arguments(c); err != nil {
		return err
	}
	conf, err := env.loadPlaces(c)
	if err != nil {
		return err
	}
	return env.inspect(c, func(i agent.Inspector) error {
		list, err := i.Computations(c.Context)
		if err != nil {
			return err
		}
		if unseen := neverSeen(conf.Rules(), list); len(unseen) > 0 {
			env.remark("configured, but never seen in an event: %s", strings.Join(unseen, ", "))
		}
		if c.Bool("json") {
			return printJSON(env.out, list)
		}
		keys := shared(list)
		for _, l := range list {
			if l.ExitsHeldSince != "" {
				key := plain(store.Arguments(l.Key))
				if keys[l.Key] {
					key = plain(store.Arguments(l.ID))
				}
				env.remark("too many members left %s at once, exits are held since %s: `personasync audience release %s` sends them, `personasync audience discard %s` drops them", plain(l.Key), minute(l.ExitsHeldSince), key, key)
			}
		}
		if len(list) == 0 {
			env.remark("no event of an audience or trait has come yet")
		}
		return printComputations(env.terminal, c.Bool("wide"), list)
	})
}

func printComputations(w *terminal, wide bool, list []store.ComputationInfo) error {
	t := w.newTable(wide, column{title: "KEY"}, column{title: "CLASS"},
		column{title: "MEMBERS", right: true}, column{title: "ENTERED", right: true}, column{title: "EXITED", right: true}, column{title: "HELD", right: true},
		column{title: "LAST EVENT"})
	if wide || len(shared(list)) > 0 {
		t.columns = append(t.columns, column{title: "ID"})
	}
	var rows [][]string
	for _, l := range list {
		members := count(l.Members)
		if l.Class == "trait" {
			members = ""
		}
		row := []string{l.Key, l.Class, members, count(l.Entered), count(l.Exited), count(l.Held), minute(l.LastEvent), l.ID}
		rows = append(rows, row[:len(t.columns)])
	}
	return t.print(rows)
}

// shared returns the keys that several computations have: they say not which.
func shared(list []store.ComputationInfo) map[string]bool {
	all := map[string]bool{}
	for i := range list {
		_, again := all[list[i].Key]
		all[list[i].Key] = again
	}
	maps.DeleteFunc(all, func(_ string, several bool) bool { return !several })
	return all
}

// neverSeen names the sections of the configuration whose computation no event has named yet.
func neverSeen(rules store.Rules, seen []store.ComputationInfo) (missing []string) {
	for _, s := range rules.Sections {
		known := slices.ContainsFunc(seen, func(c store.ComputationInfo) bool {
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

var memberTable = []column{{title: "USER"}, {title: "SINCE"}}

func memberRow(v store.MemberInfo) []string { return []string{v.User, v.Since} }

func audienceMembers(env *shell, c *urfave.Context) error {
	if err := arguments(c, "the KEY of an audience"); err != nil {
		return err
	}
	n, err := limit(c)
	if err != nil {
		return err
	}
	key := c.Args().First()
	return env.inspect(c, func(i agent.Inspector) error {
		after := ""
		list := listing[store.MemberInfo]{columns: memberTable, row: memberRow}
		list.fetch = func(want int) ([]store.MemberInfo, bool, error) {
			page, more, err := i.Members(c.Context, key, after, want)
			if len(page) > 0 {
				after = page[len(page)-1].User
			}
			return page, more, err
		}
		return unknownKey(env, c, list.print(env.terminal, c, n), key)
	})
}
