package cli

import (
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/cli/internal/command"
	"personasync/cli/internal/term"
	"personasync/store/domain"
)

func audienceHistoryCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "history",
		Usage:     "list when a user entered and left audiences, and the result at MoEngage",
		ArgsUsage: "USER",
		Description: "Lists pending changes, and the last 50 closed ones as long as retention.delivered keeps them, newest\n" +
			"first. The current memberships are always shown.\n\n" +
			"Example: personasync audience history usr_48213",
		Flags:  []urfave.Flag{command.WideFlag(), command.JSONFlag()},
		Action: env.Action(audienceHistory, "the ID of a user"),
	}
}

// historyEntry is one enter or exit of a user.
type historyEntry struct {
	Computation string          `json:"computation"`
	Transition  string          `json:"transition"`
	EventTime   string          `json:"event_time"`
	Changes     []historyChange `json:"changes"` // caused by it; empty if nothing was to be sent, or if they were removed since
}

type historyChange struct {
	ID    string `json:"id"`
	Kind  string `json:"kind"`
	State string `json:"state"`
}

func audienceHistory(env *command.Env, c *urfave.Context) error {
	id := c.Args().First()
	return env.Inspect(c, func(i api.Inspector) error {
		u, err := findUser(c.Context, i, id)
		if err != nil {
			return err
		}
		list := userHistoryOf(u)
		if c.Bool("json") {
			return term.PrintJSON(env.Out, list)
		}
		if len(list) == 0 {
			env.Remark("none: this user has never been in an audience, as far as is remembered")
		}
		t := env.NewTable(c.Bool("wide"), term.Column{Title: "EVENT TIME"}, term.Column{Title: "COMPUTATION"},
			term.Column{Title: "CHANGE"}, term.Column{Title: "AT MOENGAGE", Flexible: true})
		var rows [][]string
		for _, p := range list {
			rows = append(rows, []string{term.Minute(p.EventTime), p.Computation, p.Transition, p.outcome()})
		}
		return t.Print(rows)
	})
}

// outcome lists how the changes ended, such as "attribute delivered, event parked".
func (p *historyEntry) outcome() string {
	var parts []string
	for _, c := range p.Changes {
		parts = append(parts, c.Kind+" "+c.State)
	}
	return strings.Join(parts, ", ")
}

// userHistoryOf groups the changes of a user by the event that caused them, newest first.
func userHistoryOf(u *domain.UserInfo) []historyEntry {
	list := []historyEntry{}
	for _, ch := range slices.Concat(u.Pending, u.History) {
		if ch.Transition != "enter" && ch.Transition != "exit" {
			continue
		}
		at := slices.IndexFunc(list, func(p historyEntry) bool {
			return p.Computation == ch.Computation && p.Transition == ch.Transition && p.EventTime == ch.EventTime
		})
		if at < 0 {
			at = len(list)
			list = append(list, historyEntry{ch.Computation, ch.Transition, ch.EventTime, nil})
		}
		list[at].Changes = append(list[at].Changes, historyChange{ch.ID, ch.Kind, ch.State})
	}
	newestFirst(list)
	for _, m := range u.Memberships {
		transition := "exit"
		if m.In {
			transition = "enter"
		}
		last := slices.IndexFunc(list, func(p historyEntry) bool { return p.Computation == m.Computation })
		if last < 0 || list[last].Transition != transition {
			list = append(list, historyEntry{m.Computation, transition, m.Since, []historyChange{}})
		}
	}
	newestFirst(list)
	for i := range list {
		slices.SortFunc(list[i].Changes, func(a, b historyChange) int { return strings.Compare(a.Kind, b.Kind) })
	}
	return list
}

func newestFirst(list []historyEntry) {
	slices.SortStableFunc(list, func(a, b historyEntry) int { return strings.Compare(b.EventTime, a.EventTime) })
}
