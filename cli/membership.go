package cli

import (
	"cmp"
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
)

func eventsFlag() *urfave.BoolFlag {
	return &urfave.BoolFlag{Name: "events", Usage: "queue enter and exit events, too: they may start campaigns", DisableDefaultText: true}
}

// membershipCommands are the orders on the memberships of one audience.
func membershipCommands(env *command.Env) []*urfave.Command {
	return []*urfave.Command{
		importCommand(env),
		baselineCommand(env),
		reconcileCommand(env),
		closeCommand(env),
		releaseCommand(env),
		discardCommand(env),
		adoptCommand(env),
		forgetComputationCommand(env),
	}
}

func importCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "import",
		Usage:     "compare a full member list with what is known, and queue the difference",
		ArgsUsage: "KEY FILE",
		Description: "FILE names every member: one id a line, or CSV with a line of titles, Segment's own download included, whose\n" +
			"user_id or external_ids are read. Members it does not name leave.\n" +
			"What is known of a later time than the list's is left alone. Interrupted, give it again: what is\n" +
			"done is not done twice. Events are not queued unless --events asks for them.\n\n" +
			"Example: personasync audience import high_value_shoppers members.csv --dry-run",
		Flags:  []urfave.Flag{asOfFlag(), eventsFlag(), columnFlag(), command.YesFlag(), command.DryRunFlag(), command.JSONFlag()},
		Action: audienceImport(env, "import"),
	}
}

func baselineCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "baseline",
		Usage:     "record a full member list that MoEngage knows already: nothing is sent",
		ArgsUsage: "KEY FILE",
		Description: "For the day of a switch-over: exits of members that the list names are sent from then on. KEY may\n" +
			"be one that no event has named yet, if agent.toml has a [[computation]] of that key.\n\n" +
			"Example: personasync audience baseline high_value_shoppers members.csv",
		Flags:  []urfave.Flag{asOfFlag(), columnFlag(), command.DryRunFlag(), command.JSONFlag()},
		Action: audienceImport(env, "baseline"),
	}
}

func reconcileCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "reconcile",
		Usage:     "send again what MoEngage should know of an audience or a trait",
		ArgsUsage: "KEY",
		Description: "Members and ex-members alike, whatever MoEngage was told before: after a restore, a change of\n" +
			"agent.toml, or a mishap at MoEngage.\n\n" +
			"Example: personasync audience reconcile high_value_shoppers --dry-run",
		Flags:  []urfave.Flag{eventsFlag(), command.YesFlag(), command.DryRunFlag(), command.JSONFlag()},
		Action: audienceOrder(env, "reconcile"),
	}
}

func closeCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "close",
		Usage:     "queue an exit for every member",
		ArgsUsage: "KEY",
		Description: "Segment sends no exits when an audience is deleted there.\n\n" +
			"Example: personasync audience close high_value_shoppers",
		Flags:  []urfave.Flag{eventsFlag(), command.YesFlag(), command.DryRunFlag(), command.JSONFlag()},
		Action: audienceOrder(env, "close"),
	}
}

func releaseCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "release",
		Usage:     "send the exits that the guard holds",
		ArgsUsage: "KEY",
		Description: "When more members leave an audience at once than [guard] allows, its exits are held until you\n" +
			"release or discard them.\n\n" +
			"Example: personasync audience release high_value_shoppers",
		Flags:  []urfave.Flag{command.YesFlag(), command.DryRunFlag(), command.JSONFlag()},
		Action: audienceOrder(env, "release"),
	}
}

func discardCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "discard",
		Usage:     "drop the exits that the guard holds: who left is a member again",
		ArgsUsage: "KEY",
		Description: "For an audience that was broken upstream. Everybody who left in the guard's window is a member again,\n" +
			"also those of whom MoEngage was told before the guard held anything: it is told the difference, and no\n" +
			"event. Later events of Segment decide anew. Interrupted, give it again.\n\n" +
			"Example: personasync audience discard high_value_shoppers",
		Flags:  []urfave.Flag{command.YesFlag(), command.DryRunFlag(), command.JSONFlag()},
		Action: audienceOrder(env, "discard"),
	}
}

func adoptCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "adopt",
		Usage:     "have an audience that was made again in Segment continue the old one",
		ArgsUsage: "KEY ID",
		Description: "ID is that of the new computation of the same key; until now its changes are held as key_conflict.\n" +
			"MoEngage is told the difference. Who was a member, and was not named since, stays one: `audience\n" +
			"import` with a full list settles that.\n\n" +
			"Example: personasync audience adopt high_value_shoppers aud_2bIXzfWru4zCBz3N14fvoj3cSEED",
		Flags:  []urfave.Flag{command.YesFlag(), command.DryRunFlag(), command.JSONFlag()},
		Action: audienceOrder(env, "adopt"),
	}
}

func forgetComputationCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "forget",
		Usage:     "remove a computation that nothing refers to any more, so that its names are free again",
		ArgsUsage: "KEY",
		Description: "For names that were used by mistake, or made up by somebody: there may be 32,768. It must have no\n" +
			"members, and nothing that is pending, held or parked. KEY may be the name of a forwarded trait. An\n" +
			"event that names it again begins a new computation. That one does not know when users left: an enter\n" +
			"from before an exit that arrives late makes a member.\n\n" +
			"Example: personasync audience forget made_up",
		Flags:  []urfave.Flag{command.YesFlag(), command.DryRunFlag(), command.JSONFlag()},
		Action: audienceOrder(env, "forget"),
	}
}

func people(n int64) string { return term.Count(n) + " users" }

// carryOut has an order carried out. It shows first what the order comes to, and asks, unless --yes; where
// nobody can be asked it refuses then. shown is called before it asks; rewind makes the order ready for a second
// time.
func carryOut(w *term.Terminal, c *urfave.Context, o api.Orders, order api.Order, bar *term.Bar, shown func(), rewind func() error) (r store.MembershipReport, err error) {
	if order.DryRun || order.Verb == "baseline" || c.Bool("yes") {
		return o.Order(c.Context, order, bar.Tell)
	}
	preview := order
	preview.DryRun = true
	r, err = o.Order(c.Context, preview, bar.Tell)
	bar.End()
	if err != nil {
		return r, err
	}
	if changesAnything(r) || order.Verb == "adopt" && !r.Already { // the audience has another ID afterwards, also without members
		shown()
		remarkExits(w, order.Key, r)
		if err := command.Confirm(w, membershipText(order.Verb, r)); err != nil {
			return r, err
		}
	}
	if err := rewind(); err != nil {
		return r, err
	}
	return o.Order(c.Context, order, bar.Tell)
}

// remarkExits says what a forgotten audience does not remember any more; named is what the operator called it.
func remarkExits(w *term.Terminal, named string, r store.MembershipReport) {
	if r.Exited > 0 {
		w.Remark("%s forgotten with %s: an enter from before one that arrives late makes a member again; %s",
			term.Plural(r.Exited, "exit"), term.Plain(r.Key), "`personasync audience close "+store.Arguments(named)+"` ends such memberships")
	}
}

func changesAnything(r store.MembershipReport) bool {
	return r.Enters+r.Exits+r.Again+r.Decided+r.Created+r.Held+r.Removed > 0
}

func audienceOrder(env *command.Env, verb string) urfave.ActionFunc {
	return func(c *urfave.Context) error {
		names := []string{"the KEY of a computation"}
		if verb == "adopt" {
			names = append(names, "the ID of the one that continues it")
		}
		if err := command.Arguments(c, names...); err != nil {
			return err
		}
		order := api.Order{Verb: verb, Key: c.Args().First(), ID: c.Args().Get(1), Events: c.Bool("events"), DryRun: c.Bool("dry-run")}
		return env.Order(c, func(o api.Orders, bar *term.Bar) error {
			bar.Next(people)
			r, err := carryOut(env.Terminal, c, o, order, bar, func() {}, func() error { return nil })
			bar.End()
			if err != nil {
				return command.UnknownKey(env, c, err, order.Key)
			}
			return printMembership(env.Terminal, c, verb, r)
		})
	}
}

// idle is the error of an order that found nothing to act on; nil where it did.
func idle(verb string, r store.MembershipReport) error {
	key := term.Plain(r.Key)
	switch {
	case r.Already:
		return exit.Nothing("%s has the id %s already: `personasync audience list --wide` shows the ids", key, term.Plain(r.ID))
	case changesAnything(r):
	case verb == "close":
		return exit.Nothing("%s has no members, so nobody leaves", key)
	case verb == "reconcile":
		return exit.Nothing("nothing is known of %s that MoEngage should be told", key)
	case (verb == "release" || verb == "discard") && !r.Tripped:
		return exit.Nothing("no exits of %s are held: `personasync audience list` shows where there are some", key)
	}
	return nil
}

func printMembership(w *term.Terminal, c *urfave.Context, verb string, r store.MembershipReport) error {
	if c.Bool("json") {
		return cmp.Or(term.PrintJSON(w.Out, r), idle(verb, r))
	}
	if err := idle(verb, r); err != nil {
		return err
	}
	if r.DryRun || c.Bool("yes") { // else it was said with the question
		remarkExits(w, c.Args().First(), r)
	}
	text := membershipText(verb, r)
	end := term.Plural(r.Created, "change") + " made"
	switch {
	case r.DryRun:
		end = "a dry run: nothing was changed"
	case verb == "forget":
		end = term.Plural(r.Removed, "name") + " free again"
	case r.Decided > 0 && r.Created == 0:
		end = "a new window begins"
	}
	if r.Held > 0 {
		end += "; " + w.Paint.Yellow(term.Plural(r.Held, "change")+" held") + " (`personasync outbox list --state held`)"
	}
	_, err := fmt.Fprintf(w.Out, "%s; %s\n", text, end)
	return err
}

// membershipText counts the users concerned: what became of them, or in a dry run what would.
func membershipText(verb string, r store.MembershipReport) string {
	var parts []string
	words := func(done, would string) string {
		if r.DryRun {
			return would
		}
		return done
	}
	part := func(n uint64, what string) {
		if n > 0 {
			parts = append(parts, term.Count(n)+" "+what)
		}
	}
	if verb == "import" || verb == "baseline" {
		parts = append(parts, term.Plural(r.Listed, "user")+" listed")
		part(r.Repeated, "listed again")
		part(r.Skipped, "left out")
	}
	part(r.Enters, words("entered", "would enter"))
	part(r.Exits, words("left", "would leave"))
	part(r.Unchanged, words("stayed as they were", "would stay as they are"))
	part(r.Newer, words("left alone", "would be left alone")+": what is known of them is newer")
	part(r.Again, words("told again", "would be told again"))
	if verb == "adopt" {
		part(r.Listed, words("taken over", "would be taken over"))
	}
	switch verb {
	case "forget":
		parts = []string{words("removed", "would be removed")}
	case "release":
		parts = []string{term.Plural(r.Decided, "held exit") + words(" released", " would be released")}
	case "discard":
		parts = []string{term.Plural(r.Enters, "user") + words(" readmitted", " would be readmitted"),
			term.Plural(r.Decided, "held exit") + words(" discarded", " would be discarded")}
	}
	if len(parts) == 0 {
		parts = []string{"nobody"}
	}
	return term.Plain(r.Key) + ": " + strings.Join(parts, ", ")
}
