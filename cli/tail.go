package cli

import (
	"errors"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
)

// followEvery is how often --follow asks for new lines.
const followEvery = 500 * time.Millisecond

func tailCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "tail",
		Usage: "show recent events and changes, one line each",
		Description: "An accepted event is shown with its outcome: transition, unchanged, duplicate, stale, ignored or\n" +
			"parked. A change is shown when it was sent, superseded or parked, with the reason. Refused requests\n" +
			"are shown as one line for each kind. With --follow there is one line for each request, but at most\n" +
			"one each ten seconds of a kind.\n\n" +
			"The newest line is the last. --follow continues while the agent stops and starts. Lines that come\n" +
			"faster than they can be printed are left out and counted. With --json each line is an object.\n\n" +
			"Example: personasync tail --follow --computation high_value_shoppers",
		Flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "continue with new lines, until interrupted", DisableDefaultText: true},
			&urfave.StringFlag{Name: "user", Usage: "only of `USER`"},
			&urfave.StringFlag{Name: "computation", Usage: "only of the computation with this `KEY` or id"},
			command.LimitFlag("lines"), command.WideFlag(), command.JSONFlag(),
		},
		Action: env.Action(runTail),
	}
}

func runTail(env *command.Env, c *urfave.Context) error {
	n, err := command.Limit(c)
	if err != nil {
		return err
	}
	user, err := command.User(c)
	if err != nil {
		return err
	}
	computation, err := command.Computation(c)
	if err != nil {
		return err
	}
	t := &tailing{env: env, c: c, filter: store.ActivityFilter{User: user, Computation: computation, Limit: min(n, api.MaxDryRun)}}
	t.table = env.NewTable(c.Bool("wide"), tailColumns...)
	if n > api.MaxDryRun {
		env.Remark("the newest %d lines are shown at most", api.MaxDryRun)
	}
	var unheard error
	err = env.Inspect(c, func(i api.Inspector) error {
		if err := t.look(i); err != nil || t.shown > 0 {
			return err
		}
		env.Remark("nothing has happened yet")
		unheard = command.EnsureKnown(env, c, i, user, computation)
		return nil
	})
	switch {
	case err != nil:
		return err
	case !c.Bool("follow"):
		return unheard
	case unheard != nil:
		env.Remark("%v", unheard) // events of it may still come
	}
	return t.follow()
}

var tailColumns = []term.Column{
	{Title: "TIME", Least: len("2006-01-02 15:04:05")}, {Title: "WHAT", Least: len("superseded")}, {Title: "USER", Least: 8},
	{Title: "COMPUTATION"}, {Title: "CHANGE", Least: len("value")}, {Title: "WHY", Flexible: true, Least: len("2 changes made")},
}

// tailing is the state of a running `tail`.
type tailing struct {
	env    *command.Env
	c      *urfave.Context
	filter store.ActivityFilter
	table  *term.Table
	shown  int
	away   bool // neither the agent nor its files answered the last time
}

// look prints the new lines.
func (t *tailing) look(i api.Inspector) error {
	for more := true; more; {
		if err := t.c.Context.Err(); err != nil {
			return err
		}
		page, err := i.Activity(t.c.Context, t.filter)
		if err != nil {
			return err
		}
		if page.Skipped > 0 && t.filter.Cursor != "" {
			t.env.Remark("%s left out: they happened faster than they can be shown", term.Plural(page.Skipped, "line"))
		}
		if err := t.show(page.Items); err != nil {
			return err
		}
		t.filter.Cursor, more = page.Next, page.More && t.c.Bool("follow")
	}
	return nil
}

func (t *tailing) show(list []store.ActivityEntry) error {
	t.shown += len(list)
	if !t.c.Bool("json") {
		rows := make([][]string, len(list))
		for i := range list {
			h := &list[i]
			rows[i] = []string{term.Second(h.At), h.What, h.User, h.Computation, h.Transition, happenedText(h)}
		}
		return t.table.Print(rows)
	}
	for i := range list {
		line, err := term.JSONLine(list[i])
		if err != nil {
			return err
		}
		if _, err := t.env.Out.Write(line); err != nil {
			return err
		}
	}
	return nil
}

// follow continues until it is interrupted. While the agent is stopped, it reads the files.
func (t *tailing) follow() error {
	for {
		select {
		case <-t.c.Context.Done():
			return nil
		case <-time.After(followEvery):
		}
		if term.ReaderGone(t.env.Out) { // without a write, no EPIPE would be returned
			return nil
		}
		err := t.env.Quietly(t.c, t.look)
		switch {
		case t.c.Context.Err() != nil:
			return nil
		case err == nil:
			t.away = false
		case exit.BrokenPipe(err) || exit.Code(err) == exit.BadUsage && !errors.Is(err, store.ErrInUse):
			return err
		case !t.away:
			t.env.Remark("cannot be asked, and asked again until it can: %v", err)
			t.away = true
		}
	}
}

// happenedText returns the outcome of an event or of a change in few words.
func happenedText(h *store.ActivityEntry) string {
	switch {
	case h.What == "accepted" && len(h.Changes) > 0:
		return term.Plural(len(h.Changes), "change") + " made" + oddities(h)
	case h.What == "accepted":
		return strings.TrimSpace(h.Kind+" "+h.Reason) + oddities(h)
	case h.What == "refused" && h.Count > 1:
		return term.Count(h.Count) + " times " + h.Reason
	}
	text := strings.TrimSpace(h.Kind + " " + h.Reason)
	if h.Kind == "received" {
		text = h.Reason
	}
	if h.Attempts > 1 {
		text += " after " + term.Plural(h.Attempts, "attempt")
	}
	return text
}

// oddities lists the parts of an event that were not used as they came.
func oddities(h *store.ActivityEntry) string {
	if len(h.LeftOut) == 0 {
		return unreadTime(h.TimeSource)
	}
	return unreadTime(h.TimeSource) + ", left out " + strings.Join(h.LeftOut, ", ")
}

// unreadTime returns a note about a time in an event that could not be read.
func unreadTime(source string) string {
	if source == "" {
		return ""
	}
	return ", event time " + source
}
