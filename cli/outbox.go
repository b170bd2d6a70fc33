package cli

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/store"
	syncer "personasync/sync"
)

// pageSize is how many items are asked for at once.
const pageSize = 500

func wideFlag() *urfave.BoolFlag {
	return &urfave.BoolFlag{Name: "wide", Usage: "cut nothing to fit the terminal", DisableDefaultText: true}
}

func (sh *shell) outboxCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "outbox",
		Usage: "the changes that MoEngage should know, and what became of them",
		Subcommands: []*urfave.Command{
			{
				Name:  "list",
				Usage: "list changes",
				Description: "Pending ones unless --state says otherwise, oldest first.\n\n" +
					"Example: personasync outbox list --state parked --computation high_value_shoppers",
				Flags: []urfave.Flag{
					&urfave.StringFlag{Name: "state", Value: "pending", Usage: "`STATE`: pending, held, parked, delivered, superseded, cancelled, dropped, expired"},
					&urfave.StringFlag{Name: "user", Usage: "of `USER` only"},
					&urfave.StringFlag{Name: "computation", Usage: "of the computation with this `KEY` or id only"},
					limitFlag("changes"), wideFlag(), jsonFlag(),
				},
				Action: sh.outboxList,
			},
			{
				Name:      "show",
				Usage:     "show one change: its cause, its payload, its answers",
				ArgsUsage: "ID",
				Description: "The transition, the event that caused it, the exact request to MoEngage, the attempts\n" +
					"and the last answer, and what took its place if something did.\n\n" +
					"Example: personasync outbox show 9c41e2f0-3e8-0",
				Flags:  []urfave.Flag{jsonFlag()},
				Action: sh.outboxShow,
			},
			{
				Name:  "stats",
				Usage: "count what waits, by state, computation and cause",
				Description: "A cause is the reason why a change was refused, waits or is parked, and of what is parked the words of\n" +
					"MoEngage, less ids and numbers. `outbox explain-code` says more of a reason; `outbox retry --reason`\n" +
					"sends again what is parked for a reason, or for one cause as --wide and --json show it.\n\n" +
					"Example: personasync outbox stats --wide",
				Flags:  []urfave.Flag{wideFlag(), jsonFlag()},
				Action: sh.outboxStats,
			},
			sh.retryCommand(),
			sh.dropCommand(),
			sh.exportCommand(),
			sh.explainCommand(),
		},
	}
}

func (sh *shell) outboxList(c *urfave.Context) error {
	if _, ok := store.ParseState(c.Args().First()); ok {
		return usage("a state is named by --state: `personasync outbox list --state %s`", c.Args().First())
	}
	if err := arguments(c); err != nil {
		return err
	}
	n, err := limit(c)
	if err != nil {
		return err
	}
	state, ok := store.ParseState(c.String("state"))
	if !ok {
		return usage("--state %s is no state: pending, held, parked, delivered, superseded, cancelled, dropped or expired", c.String("state"))
	}
	user, err := userFlag(c)
	if err != nil {
		return err
	}
	computation, err := computationFlag(c)
	if err != nil {
		return err
	}
	filter := store.OutboxFilter{State: state, User: user, Computation: computation}
	return sh.inspect(c, func(i agent.Inspector) error {
		return sh.listing(c, n, changeTable, func() error { return sh.otherStates(c, i, filter) }, func(want int) (rows []any, more bool, err error) {
			filter.Limit = want
			page, next, err := i.Changes(c.Context, filter)
			filter.Cursor = next
			return anys(page), next != "", err
		})
	})
}

// otherStates says, where no change is in the state that was asked for, in which states there are some. It
// fails where there are none because nobody knows the user or the computation that was asked for.
func (sh *shell) otherStates(c *urfave.Context, i agent.Inspector, asked store.OutboxFilter) error {
	some := false
	for _, state := range []store.State{store.StatePending, store.StateHeld, store.StateParked} {
		filter := store.OutboxFilter{State: state, User: asked.User, Computation: asked.Computation, Limit: 1}
		if state == asked.State {
			continue
		}
		page, _, err := i.Changes(c.Context, filter)
		if err != nil {
			return err
		}
		if len(page) > 0 {
			some = true
			sh.remark("some are %s: `personasync outbox list --state %s%s`", state, state, narrowed(asked))
		}
	}
	if some {
		return nil
	}
	return sh.unheardOf(c, i, asked.User, asked.Computation)
}

// unheardOf fails where nothing was found of a user or of a computation because nobody knows them: a name that
// was mistyped must not read as if nothing waited. What was not asked for is empty.
func (sh *shell) unheardOf(c *urfave.Context, i agent.Inspector, user, computation string) error {
	if user != "" {
		if _, err := i.User(c.Context, user); errors.Is(err, store.ErrNotFound) {
			return unknownUser(user)
		} else if err != nil {
			return err
		}
	}
	if computation == "" {
		return nil
	}
	list, err := i.Computations(c.Context)
	if err != nil || slices.ContainsFunc(list, func(l store.ComputationInfo) bool { return l.Key == computation || l.ID == computation }) {
		return err
	}
	return sh.unknownKey(c, store.ErrNotFound, computation)
}

// computationFlag is the KEY of --computation.
func computationFlag(c *urfave.Context) (string, error) {
	key := c.String("computation")
	if c.IsSet("computation") && strings.TrimSpace(key) == "" {
		return "", usage("--computation is empty, which names nothing: give a KEY or id, or leave --computation out")
	}
	return key, nil
}

// narrowed are the flags of `outbox list` that a filter came from, the state aside.
func narrowed(f store.OutboxFilter) (flags string) {
	if f.User != "" {
		flags += " --user " + argument(f.User)
	}
	if f.Computation != "" {
		flags += " --computation " + argument(f.Computation)
	}
	return flags
}

// listing prints up to n items, page by page, as a table or as JSON; fetch returns the next ones, and empty
// says more where there is none; it may be nil.
func (sh *shell) listing(c *urfave.Context, n int, columns []column, empty func() error, fetch func(want int) (page []any, more bool, err error)) error {
	t := sh.newTable(c.Bool("wide"), columns...)
	list := &jsonList{w: sh.out}
	for shown := 0; ; {
		page, more, err := fetch(min(n-shown, pageSize))
		if err != nil {
			return err
		}
		if err := sh.printPage(c, t, list, page); err != nil {
			return err
		}
		shown += len(page)
		if more && shown < n && len(page) > 0 {
			continue
		}
		if c.Bool("json") {
			err = list.end()
		} else if shown == 0 {
			sh.remark("none")
		}
		if err == nil && shown == 0 && empty != nil {
			err = empty()
		}
		if more {
			sh.remark("these are the first %d: --limit shows more", shown)
		}
		return err
	}
}

func (sh *shell) printPage(c *urfave.Context, t *table, list *jsonList, page []any) error {
	if !c.Bool("json") {
		rows := make([][]string, len(page))
		for i, item := range page {
			rows[i] = cells(item)
		}
		return t.print(rows)
	}
	for _, item := range page {
		if err := list.add(item); err != nil {
			return err
		}
	}
	return nil
}

func anys[T any](page []T) []any {
	list := make([]any, len(page))
	for i := range page {
		list[i] = page[i]
	}
	return list
}

var changeTable = []column{
	{title: "ID"}, {title: "USER"}, {title: "COMPUTATION"},
	{title: "KIND"}, {title: "CHANGE"}, {title: "EVENT TIME"}, {title: "WHY", flexible: true},
}

var memberTable = []column{{title: "USER"}, {title: "SINCE"}}

// cells is one item of a listing as a row of its table.
func cells(item any) []string {
	switch v := item.(type) {
	case store.ChangeInfo:
		return []string{v.ID, v.User, v.Computation, v.Kind, v.Transition, minute(v.EventTime), whyText(v)}
	case store.MemberInfo:
		return []string{v.User, v.Since}
	}
	return nil
}

// whyText says why a change is not at MoEngage, in few words.
func whyText(v store.ChangeInfo) string {
	if v.Reason == "" || v.Attempts == 0 {
		return v.Reason
	}
	return v.Reason + " after " + plural(v.Attempts, "attempt")
}

func (sh *shell) outboxShow(c *urfave.Context) error {
	if err := arguments(c, "the ID of a change"); err != nil {
		return err
	}
	id, err := store.ParseID(c.Args().First())
	if err != nil {
		return usage("%w", err)
	}
	return sh.inspect(c, func(i agent.Inspector) error {
		page, err := i.Change(c.Context, id)
		if errors.Is(err, store.ErrNotFound) {
			return nothing("there is no change %s: what is over is forgotten after retention.delivered; `personasync outbox list` shows what is there", id)
		}
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(sh.out, page)
		}
		return sh.printChange(page)
	})
}

func (sh *shell) printChange(p *agent.ChangePage) error {
	var b bytes.Buffer
	line := func(title, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-14s%s\n", title, plain(text))
		}
	}
	line("change", p.ID)
	fmt.Fprintf(&b, "%-14s%s\n", "state", sh.stateText(p.State))
	line("superseded by", p.SupersededBy)
	line("closed", p.Closed)
	line("user", p.User)
	line("computation", strings.TrimSpace(p.Computation+" "+inBrackets(p.ComputationID)))
	line("transition", p.Transition)
	line("kind", strings.TrimSpace(p.Kind+" "+p.Name))
	line("value", string(p.Value))
	line("event time", strings.TrimSpace(p.EventTime+" "+inBrackets(p.TimeSentence)))
	line("left out", strings.Join(p.LeftOut, ", "))
	line("received", p.ReceivedAt)
	line("message id", p.MessageID)
	line("attempts", count(p.Attempts))
	line("next attempt", p.NextAttempt)
	line("reason", p.Reason)
	if p.Sentence != "" {
		fmt.Fprintf(&b, "%-14s%s\n", "", sh.beside(plain(p.Sentence), 14))
	}
	sh.writeAnswer(&b, p.Answer)
	fmt.Fprintf(&b, "\n%s\n%s\n", sh.paint.bold("Event, as received"), eventText(p))
	fmt.Fprintf(&b, "\n%s\n%s\n", sh.paint.bold("Request to MoEngage"), requestText(p.Request, p.NoRequest))
	_, err := sh.out.Write(b.Bytes())
	return err
}

func (sh *shell) writeAnswer(b *bytes.Buffer, a *store.Answer) {
	if a == nil {
		return
	}
	fmt.Fprintf(b, "%-14s%s\n", "last answer", answerText(a))
	if a.Body != "" {
		fmt.Fprintf(b, "%-14s%s\n", "", plain(a.Body))
	}
}

// answerText says how MoEngage answered, and when.
func answerText(a *store.Answer) string {
	what := "none"
	if a.Status != 0 {
		what = fmt.Sprintf("HTTP %d", a.Status)
	}
	return strings.TrimSpace(what + " at " + a.At.Format("2006-01-02T15:04:05Z07:00") + " " + plain(inBrackets(a.RequestID)))
}

func (sh *shell) stateText(state string) string {
	switch state {
	case "delivered":
		return sh.paint.green(state)
	case "parked", "held":
		return sh.paint.yellow(state)
	}
	return state
}

func inBrackets(s string) string {
	if s == "" {
		return ""
	}
	return "(" + s + ")"
}

func eventText(p *agent.ChangePage) string {
	if p.OrderedBy != "" {
		return fmt.Sprintf("  none: it was made by `personasync %s` at %s", p.OrderedBy, p.ReceivedAt)
	}
	if len(p.Event) == 0 || string(p.Event) == "null" {
		return "  no longer kept: received events stay for retention.received"
	}
	return indented(p.Event, "  ")
}

// requestText writes a request as it goes over the wire, its body laid out.
func requestText(r *syncer.Preview, why string) string {
	if r == nil {
		return "  none: " + plain(why)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  %s %s\n", r.Method, plain(r.URL))
	for _, name := range sortedKeys(r.Header) {
		fmt.Fprintf(&b, "  %s: %s\n", name, plain(strings.Join(r.Header[name], ", ")))
	}
	fmt.Fprintf(&b, "\n%s", indented(r.Body, "  "))
	return b.String()
}

// first is the first of a list, if it has one.
func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func (sh *shell) outboxStats(c *urfave.Context) error {
	if err := arguments(c); err != nil {
		return err
	}
	return sh.inspect(c, func(i agent.Inspector) error {
		lines, err := i.Stats(c.Context)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(sh.out, lines)
		}
		if len(lines) == 0 {
			sh.remark("nothing waits, is held or is parked")
		}
		t := sh.newTable(c.Bool("wide"), column{title: "STATE"}, column{title: "KIND"},
			column{title: "COMPUTATION"}, column{title: "CAUSE", flexible: true}, column{title: "COUNT", right: true}, column{title: "FOR EXAMPLE"})
		var rows [][]string
		for _, l := range lines {
			rows = append(rows, []string{l.State, l.Kind, l.Computation, l.Cause, count(l.Count), first(l.Samples)})
		}
		return t.print(rows)
	})
}
