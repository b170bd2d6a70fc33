package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/cli/internal/command"
	"personasync/cli/internal/deletion"
	"personasync/cli/internal/term"
	"personasync/store"
	"personasync/store/domain"
)

func userCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "user",
		Usage: "show, verify or erase one user, and why they were in audiences",
		Subcommands: []*urfave.Command{{
			Name:      "show",
			Usage:     "show one user: audiences, traits, pending changes and last sent values",
			ArgsUsage: "ID",
			Description: "Put -- before an id that begins with a dash.\n\n" +
				"Example: personasync user show usr_48213",
			Flags:  []urfave.Flag{command.WideFlag(), command.JSONFlag()},
			Action: env.Action(userShow, "the ID of a user"),
		}, userHistoryCommand(env), userVerifyCommand(env), deletionsCommand(env), forgetCommand(env)},
	}
}

func userShow(env *command.Env, c *urfave.Context) error {
	id := c.Args().First()
	return env.Inspect(c, func(i api.Inspector) error {
		u, err := findUser(c.Context, i, id)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return term.PrintJSON(env.Out, u)
		}
		if err := printUser(env.Terminal, u, c.Bool("wide")); err != nil {
			return err
		}
		return remarkFailing(env.Terminal, c, i, len(u.Pending) > 0)
	})
}

// remarkFailing prints that nothing is being sent, if the user has pending changes. Only a running agent knows it.
func remarkFailing(w *term.Terminal, c *urfave.Context, i api.Inspector, waits bool) error {
	if !waits {
		return nil
	}
	s, err := i.Status(c.Context)
	if err == nil && s.MoEngage.State == "failing" {
		w.Remark("MoEngage takes nothing since %s: %s", s.MoEngage.Since, term.Plain(s.MoEngage.LastError))
	}
	return err
}

// findUser returns the user with this id, first unchanged, then as ids of events are read.
func findUser(ctx context.Context, i api.Inspector, id string) (*domain.UserInfo, error) {
	u, err := i.User(ctx, id)
	if clean := domain.CleanID(id); errors.Is(err, store.ErrNotFound) && clean != id && clean != "" {
		u, err = i.User(ctx, clean)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, command.UnknownUser(id)
	}
	return u, err
}

func printUser(w *term.Terminal, u *domain.UserInfo, wide bool) error {
	if _, err := fmt.Fprintf(w.Out, "user %s\n", term.Plain(u.User)); err != nil {
		return err
	}
	memberships := w.NewTable(wide, term.Column{Title: "COMPUTATION"}, term.Column{Title: "IN"},
		term.Column{Title: "SINCE"}, term.Column{Title: "MOENGAGE WAS TOLD"}, term.Column{Title: "SET BY", Flexible: true})
	var rows [][]string
	for _, m := range u.Memberships {
		rows = append(rows, []string{m.Computation, term.YesNo(m.In), term.Minute(m.Since) + unreadTime(m.TimeSource), toldText(&m), m.Event})
	}
	return cmp.Or(
		printConsent(w, u.Consent),
		printSection(w, "Memberships", memberships, rows),
		printTraits(w, u, wide),
		printNotTold(w, u),
		printWaiting(w, u.Pending, wide),
		printSection(w, "Deletions at MoEngage", w.NewTable(wide, deletion.Table...), deletion.Rows(u.Deletions)),
		printMore(w, u),
		printSection(w, "History", w.NewTable(wide, stateTable...), stateRows(u.History)),
		printMoreHistory(w, u),
	)
}

// printNotTold says which memberships and traits MoEngage is not told of, and why.
func printNotTold(w *term.Terminal, u *domain.UserInfo) error {
	var b bytes.Buffer
	for _, m := range u.Memberships {
		if m.NotTold != "" {
			fmt.Fprintf(&b, "%s\n", hangingText(w, "MoEngage is not told of "+term.Plain(m.Computation)+": "+m.NotTold))
		}
	}
	for _, name := range term.SortedKeys(u.NotTold) {
		fmt.Fprintf(&b, "%s\n", hangingText(w, "MoEngage is not told of the trait "+term.Plain(name)+": "+u.NotTold[name]))
	}
	_, err := w.Out.Write(b.Bytes())
	return err
}

// printConsent prints what the user has consented to, since when and why, and the withheld changes.
func printConsent(w *term.Terminal, c *domain.ConsentInfo) error {
	if c == nil {
		return nil
	}
	_, err := w.Out.Write(term.ConsentText(w, c))
	return err
}

// toldText returns the last sent state of a membership, and whether a change of it is pending.
func toldText(m *domain.MembershipInfo) string {
	text := map[string]string{"in": "in", "out": "out", "nothing": "nothing", "uncertain": "not certain"}[m.Told]
	switch {
	case m.Withheld:
		return cmp.Or(text, "nothing") + ", withheld"
	case m.Delivered:
		return cmp.Or(text, map[bool]string{true: "in", false: "out"}[m.In])
	case text == "":
		return "not yet"
	}
	return text + ", not this yet"
}

// printMoreHistory prints how many events and transitions are not shown.
func printMoreHistory(w *term.Terminal, u *domain.UserInfo) error {
	var b bytes.Buffer
	if u.HistoryMore {
		fmt.Fprintf(&b, "and more: `personasync outbox list --user %s --state delivered --limit N`, and likewise superseded, cancelled and dropped\n", term.Plain(u.User))
	}
	if u.EventsMore {
		fmt.Fprintln(&b, "the event is looked up for the first 200 memberships only")
	}
	_, err := w.Out.Write(b.Bytes())
	return err
}

// printMore prints the command that lists the remaining pending changes, if a user has more than a page of them.
func printMore(w *term.Terminal, u *domain.UserInfo) error {
	if !u.PendingMore {
		return nil
	}
	_, err := fmt.Fprintf(w.Out, "and more: `personasync outbox list --user %s --limit N` goes on\n", term.Plain(u.User))
	return err
}

// printWaiting lists the pending changes, each with its reason and with MoEngage's last answer.
func printWaiting(w *term.Terminal, list []domain.UserChange, wide bool) error {
	if err := printSection(w, "Waiting", w.NewTable(wide, waitingTable...), waitingRows(list)); err != nil || len(list) == 0 {
		return err
	}
	var b bytes.Buffer
	b.WriteByte('\n')
	for _, v := range list[:min(len(list), explained)] {
		fmt.Fprintf(&b, "%s\n", hangingText(w, term.Plain(v.ID+" ("+waitsAs(&v)+"): "+v.Waits)))
		if v.Answer != nil {
			fmt.Fprintf(&b, "%s\n", hangingText(w, "last answer: "+answerText(v.Answer)+" "+term.Plain(v.Answer.Body)))
		}
	}
	if more := len(list) - explained; more > 0 {
		fmt.Fprintf(&b, "and %s: `personasync outbox show ID` explains each\n", term.Plural(more, "more"))
	}
	_, err := w.Out.Write(b.Bytes())
	return err
}

// waitsAs returns the state of a waiting change, and the reason of a held one.
func waitsAs(v *domain.UserChange) string {
	if v.State == domain.StateHeld.String() && v.Reason != "" {
		return v.State + ": " + v.Reason
	}
	return v.State
}

// explained limits the changes of a user that are explained at length.
const explained = 20

// hanging indents a text, its first line less than the others.
func hangingText(w *term.Terminal, text string) string { return "  " + w.Beside(text, 4) }

var waitingTable = []term.Column{
	{Title: "ID"}, {Title: "STATE"}, {Title: "COMPUTATION"}, {Title: "KIND"},
	{Title: "CHANGE"}, {Title: "EVENT TIME"}, {Title: "TRIED", Right: true},
}

func waitingRows(changes []domain.UserChange) (rows [][]string) {
	for _, v := range changes {
		rows = append(rows, []string{v.ID, v.State, v.Computation, v.Kind, v.Transition, term.Minute(v.EventTime), term.Count(v.Attempts)})
	}
	return rows
}

func printTraits(w *term.Terminal, u *domain.UserInfo, wide bool) error {
	traits := w.NewTable(wide, term.Column{Title: "TRAIT"}, term.Column{Title: "VALUE", Flexible: true})
	var rows [][]string
	for _, name := range term.SortedKeys(u.Traits) {
		rows = append(rows, []string{name, string(u.Traits[name])})
	}
	return printSection(w, "Traits", traits, rows)
}

var stateTable = []term.Column{
	{Title: "ID"}, {Title: "STATE"}, {Title: "COMPUTATION"}, {Title: "KIND"},
	{Title: "CHANGE"}, {Title: "EVENT TIME"}, {Title: "WHY", Flexible: true},
}

func stateRows(changes []domain.UserChange) (rows [][]string) {
	for _, v := range changes {
		rows = append(rows, []string{v.ID, v.State, v.Computation, v.Kind, v.Transition, term.Minute(v.EventTime), whyText(v.ChangeInfo)})
	}
	return rows
}

// section prints a table with a title. It prints nothing if the table is empty.
func printSection(w *term.Terminal, title string, t *term.Table, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "\n%s\n", w.Paint.Bold(title))
	if _, err := w.Out.Write(b.Bytes()); err != nil {
		return err
	}
	return t.Print(rows)
}
