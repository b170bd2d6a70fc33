package cli

import (
	"errors"
	"maps"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/store"
)

func (sh *shell) audienceCommand() *urfave.Command {
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
				Action: sh.audienceList,
			},
			{
				Name:      "members",
				Usage:     "list the members of one audience",
				ArgsUsage: "KEY",
				Description: "KEY may be the computation's id. A trait has no members.\n\n" +
					"Example: personasync audience members high_value_shoppers --limit 1000",
				Flags:  []urfave.Flag{limitFlag("members"), wideFlag(), jsonFlag()},
				Action: sh.audienceMembers,
			},
			sh.audienceHistoryCommand(),
			sh.audienceVerifyCommand(),
		}, sh.membershipCommands()...),
	}
}

func (sh *shell) audienceList(c *urfave.Context) error {
	if err := arguments(c); err != nil {
		return err
	}
	conf, err := sh.loadPlaces(c)
	if err != nil {
		return err
	}
	return sh.inspect(c, func(i agent.Inspector) error {
		list, err := i.Computations(c.Context)
		if err != nil {
			return err
		}
		if unseen := neverSeen(conf.Rules(), list); len(unseen) > 0 {
			sh.remark("configured, but never seen in an event: %s", strings.Join(unseen, ", "))
		}
		if c.Bool("json") {
			return printJSON(sh.out, list)
		}
		keys := shared(list)
		for _, l := range list {
			if l.ExitsHeldSince != "" {
				key := plain(store.ShellWord(l.Key))
				if keys[l.Key] {
					key = plain(store.ShellWord(l.ID))
				}
				sh.remark("too many members left %s at once, exits are held since %s: `personasync audience release %s` sends them, `personasync audience discard %s` drops them", plain(l.Key), minute(l.ExitsHeldSince), key, key)
			}
		}
		if len(list) == 0 {
			sh.remark("no event of an audience or trait has come yet")
		}
		return sh.printComputations(c.Bool("wide"), list)
	})
}

func (sh *shell) printComputations(wide bool, list []store.ComputationInfo) error {
	t := sh.newTable(wide, column{title: "KEY"}, column{title: "CLASS"},
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

func (sh *shell) audienceMembers(c *urfave.Context) error {
	if err := arguments(c, "the KEY of an audience"); err != nil {
		return err
	}
	n, err := limit(c)
	if err != nil {
		return err
	}
	key := c.Args().First()
	return sh.inspect(c, func(i agent.Inspector) error {
		after := ""
		err := sh.listing(c, n, memberTable, nil, func(want int) ([]any, bool, error) {
			page, more, err := i.Members(c.Context, key, after, want)
			if len(page) > 0 {
				after = page[len(page)-1].User
			}
			return anys(page), more, err
		})
		return sh.unknownKey(c, err, key)
	})
}

// unknownKey says what to do about a key that nobody knows.
func (sh *shell) unknownKey(c *urfave.Context, err error, key string) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	hint := "`personasync audience list` shows those that are known"
	if near := didYouMean(strings.ToLower(key), sh.knownKeys(c), ""); near != "" {
		hint = strings.TrimPrefix(near, ": ")
	}
	return nothing("no event has named a computation %q: %s", key, hint)
}

// keyOf returns the key of the audience that is named by its key or its id; the name itself if nobody answers.
func (sh *shell) keyOf(c *urfave.Context, name string) (key string) {
	key = name
	_ = sh.quietly(c, func(i agent.Inspector) error { // the order itself says what is wrong with the name
		list, err := i.Computations(c.Context)
		for _, l := range list {
			if l.Key == name {
				key = name
				break
			}
			if l.ID == name {
				key = l.Key
			}
		}
		return err
	})
	return key
}

// knownKeys lists the keys of the computations, or none if nobody answers.
func (sh *shell) knownKeys(c *urfave.Context) (keys []string) {
	_ = sh.quietly(c, func(i agent.Inspector) error { // it is a hint only
		list, err := i.Computations(c.Context)
		for _, l := range list {
			keys = append(keys, l.Key)
		}
		return err
	})
	return keys
}
