package cli

import (
	"bytes"
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
	syncer "personasync/sync"
)

func outboxCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "outbox",
		Usage: "show and handle the changes for MoEngage",
		Subcommands: []*urfave.Command{
			{
				Name:  "list",
				Usage: "list changes",
				Description: "Lists pending changes, oldest first. --state chooses another state.\n\n" +
					"Example: personasync outbox list --state parked --computation high_value_shoppers",
				Flags: append(append([]urfave.Flag{command.StateFlag("pending")}, command.FilterFlags()...),
					command.LimitFlag("changes"), command.WideFlag(), command.JSONFlag(), command.CSVFlag()),
				Action: func(c *urfave.Context) error { return outboxList(env, c) },
			},
			{
				Name:      "show",
				Usage:     "show one change: its cause, its payload, its answers",
				ArgsUsage: "ID",
				Description: "Shows the transition, the event that caused it, the exact request to MoEngage, the attempts and the\n" +
					"last answer, and the change that replaced it, if any.\n\n" +
					"Example: personasync outbox show 9c41e2f0-3e8-0",
				Flags:  []urfave.Flag{command.JSONFlag()},
				Action: env.Action(outboxShow, "the ID of a change"),
			},
			{
				Name:  "stats",
				Usage: "count changes by state, computation and cause",
				Description: "A cause is the reason why changes were refused, are pending or are parked. For parked changes it\n" +
					"includes MoEngage's words, without ids and numbers. `outbox explain-code` explains a reason. `outbox\n" +
					"retry --reason` retries the parked changes of a reason, or of one cause as --wide and --json show\n" +
					"it. Without --state, pending, held and parked changes are counted.\n\n" +
					"Example: personasync outbox stats --wide",
				Flags:  append(append([]urfave.Flag{command.StateFlag("")}, command.FilterFlags()...), command.WideFlag(), command.JSONFlag(), command.CSVFlag()),
				Action: env.Action(outboxStats),
			},
			retryCommand(env),
			dropCommand(env),
			exportCommand(env),
			pauseCommand(env),
			resumeCommand(env),
			explainCommand(env),
		},
	}
}

func outboxList(env *command.Env, c *urfave.Context) error {
	if _, ok := domain.ParseState(c.Args().First()); ok {
		return exit.Usage("a state is named by --state: `personasync outbox list --state %s`", c.Args().First())
	}
	if err := command.Arguments(c); err != nil {
		return err
	}
	n, err := command.Limit(c)
	if err != nil {
		return err
	}
	filter, err := command.Filter(c)
	if err != nil {
		return err
	}
	return env.Inspect(c, func(i api.Inspector) error {
		list := command.Listing[domain.ChangeInfo]{Columns: changeTable, Row: changeRow}
		list.Empty = func() error { return otherStates(env, c, i, filter) }
		list.Fetch = func(want int) ([]domain.ChangeInfo, bool, error) {
			filter.Limit = want
			page, next, err := i.Changes(c.Context, filter)
			filter.Cursor = next
			return page, next != "", err
		}
		return list.Print(env.Terminal, c, n)
	})
}

// otherStates is called if no change is in the requested state. It prints in which states there are changes, and
// fails if the user or the computation is unknown.
func otherStates(env *command.Env, c *urfave.Context, i api.Inspector, asked domain.OutboxFilter) error {
	some := false
	for _, state := range []domain.State{domain.StatePending, domain.StateHeld, domain.StateParked} {
		if state == asked.State {
			continue
		}
		filter := asked
		filter.State, filter.Limit, filter.Cursor = state, 1, ""
		page, _, err := i.Changes(c.Context, filter)
		if err != nil {
			return err
		}
		if len(page) > 0 {
			some = true
			env.Remark("some are %s: `personasync outbox list --state %s%s`", state, state, command.FilterText(asked))
		}
	}
	if some {
		return nil
	}
	return command.EnsureKnown(env, c, i, asked.User, asked.Computation)
}

var changeTable = []term.Column{
	{Title: "ID"}, {Title: "USER"}, {Title: "COMPUTATION"},
	{Title: "KIND"}, {Title: "CHANGE"}, {Title: "EVENT TIME"}, {Title: "WHY", Flexible: true},
}

func changeRow(v domain.ChangeInfo) []string {
	return []string{v.ID, v.User, v.Computation, v.Kind, v.Transition, term.Minute(v.EventTime), whyText(v)}
}

// whyText returns in few words why a change is not at MoEngage.
func whyText(v domain.ChangeInfo) string {
	if v.Reason == "" || v.Attempts == 0 {
		return v.Reason
	}
	return v.Reason + " after " + term.Plural(v.Attempts, "attempt")
}

func outboxShow(env *command.Env, c *urfave.Context) error {
	id, err := domain.ParseID(c.Args().First())
	if err != nil {
		return exit.Usage("%w", err)
	}
	return env.Inspect(c, func(i api.Inspector) error {
		page, err := i.Change(c.Context, id)
		if errors.Is(err, store.ErrNotFound) {
			return exit.Nothing("there is no change %s: finished changes are removed after retention.delivered; `personasync outbox list` shows the pending ones", id)
		}
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return term.PrintJSON(env.Out, page)
		}
		return printChange(env.Terminal, page)
	})
}

func printChange(w *term.Terminal, p *api.ChangePage) error {
	var b bytes.Buffer
	line := func(title, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-14s%s\n", title, term.Plain(text))
		}
	}
	line("change", p.ID)
	fmt.Fprintf(&b, "%-14s%s\n", "state", stateText(w, p.State))
	line("superseded by", p.SupersededBy)
	line("closed", p.Closed)
	line("user", p.User)
	line("computation", strings.TrimSpace(p.Computation+" "+term.InBrackets(p.ComputationID)))
	line("transition", p.Transition)
	line("kind", strings.TrimSpace(p.Kind+" "+p.Name))
	line("value", string(p.Value))
	line("event time", strings.TrimSpace(p.EventTime+" "+term.InBrackets(p.TimeSentence)))
	line("left out", strings.Join(p.LeftOut, ", "))
	line("received", p.ReceivedAt)
	line("message id", p.MessageID)
	line("trace", p.Trace)
	line("attempts", term.Count(p.Attempts))
	line("next attempt", p.NextAttempt)
	line("reason", p.Reason)
	if p.Sentence != "" {
		fmt.Fprintf(&b, "%-14s%s\n", "", w.Beside(term.Plain(p.Sentence), 14))
	}
	writeAnswer(&b, p.Answer)
	fmt.Fprintf(&b, "\n%s\n%s\n", w.Paint.Bold("Event, as received"), eventText(p))
	fmt.Fprintf(&b, "\n%s\n%s\n", w.Paint.Bold("Request to MoEngage"), requestText(p.Request, p.NoRequest))
	_, err := w.Out.Write(b.Bytes())
	return err
}

func writeAnswer(b *bytes.Buffer, a *domain.Answer) {
	if a == nil {
		return
	}
	fmt.Fprintf(b, "%-14s%s\n", "last answer", answerText(a))
	if a.Body != "" {
		fmt.Fprintf(b, "%-14s%s\n", "", term.Plain(a.Body))
	}
}

// answerText returns MoEngage's last answer and its time.
func answerText(a *domain.Answer) string {
	what := "none"
	if a.Status != 0 {
		what = fmt.Sprintf("HTTP %d", a.Status)
	}
	return strings.TrimSpace(what + " at " + a.At.Format("2006-01-02T15:04:05Z07:00") + " " + term.Plain(term.InBrackets(a.RequestID)))
}

func stateText(w *term.Terminal, state string) string {
	switch state {
	case "delivered":
		return w.Paint.Green(state)
	case "parked", "held":
		return w.Paint.Yellow(state)
	}
	return state
}

func eventText(p *api.ChangePage) string {
	if p.OrderedBy != "" {
		return fmt.Sprintf("  none: it was made by `personasync %s` at %s", p.OrderedBy, p.ReceivedAt)
	}
	if len(p.Event) == 0 || string(p.Event) == "null" {
		return "  no longer kept: received events stay for retention.received"
	}
	return term.Indented(p.Event, "  ")
}

// requestText returns a request as it is sent, with an indented body.
func requestText(r *syncer.Preview, why string) string {
	if r == nil {
		return "  none: " + term.Plain(why)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  %s %s\n", r.Method, term.Plain(r.URL))
	for _, name := range term.SortedKeys(r.Header) {
		fmt.Fprintf(&b, "  %s: %s\n", name, term.Plain(strings.Join(r.Header[name], ", ")))
	}
	fmt.Fprintf(&b, "\n%s", term.Indented(r.Body, "  "))
	return b.String()
}

// first is the first of a list, if it has one.
func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func outboxStats(env *command.Env, c *urfave.Context) error {
	filter, err := command.Filter(c)
	if err != nil {
		return err
	}
	return env.Inspect(c, func(i api.Inspector) error {
		lines, err := i.Stats(c.Context, filter)
		if err != nil {
			return err
		}
		if len(lines) == 0 {
			if err := command.EnsureKnown(env, c, i, filter.User, filter.Computation); err != nil {
				return err
			}
		}
		if asked, err := command.PrintData(env.Terminal, c, lines); asked {
			return err
		}
		if len(lines) == 0 && filter == (domain.OutboxFilter{}) {
			env.Remark("no change is pending, held or parked")
		} else if len(lines) == 0 {
			env.Remark("no change matches")
		}
		t := env.NewTable(c.Bool("wide"), term.Column{Title: "STATE"}, term.Column{Title: "KIND"},
			term.Column{Title: "COMPUTATION"}, term.Column{Title: "CAUSE", Flexible: true}, term.Column{Title: "COUNT", Right: true}, term.Column{Title: "FOR EXAMPLE"})
		var rows [][]string
		for _, l := range lines {
			rows = append(rows, []string{l.State, l.Kind, l.Computation, l.Cause, term.Count(l.Count), first(l.Samples)})
		}
		return t.Print(rows)
	})
}
