package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
)

func eventsFlag() *urfave.BoolFlag {
	return &urfave.BoolFlag{Name: "events", Usage: "also queue enter and exit events, which may start campaigns", DisableDefaultText: true}
}

// membershipCommands returns the commands that change the memberships of one audience.
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
		Usage:     "compare a full member list with the stored memberships, and queue the difference",
		ArgsUsage: "KEY FILE",
		Description: "FILE names every member, with one id a line, or as CSV with a header, such as Segment's own\n" +
			"download, whose user_id or external_ids are read. Members that FILE does not name leave. A\n" +
			"membership with a later event time than the list's stays. After an interruption, run the command\n" +
			"again: nothing is done twice. Without --events, no enter and exit events are queued.\n\n" +
			"Example: personasync audience import high_value_shoppers members.csv --dry-run",
		Flags:  []urfave.Flag{asOfFlag(), eventsFlag(), columnFlag(), command.YesFlag(), command.DryRunFlag(), command.JSONFlag()},
		Action: audienceImport(env, "import"),
	}
}

func baselineCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "baseline",
		Usage:     "record a full member list that MoEngage has already; send nothing",
		ArgsUsage: "KEY FILE",
		Description: "For the day on which this agent replaces another connection: exits of these members are sent from\n" +
			"then on. KEY may have had no event yet, if agent.toml has a [[computation]] with that key.\n\n" +
			"Example: personasync audience baseline high_value_shoppers members.csv",
		Flags:  []urfave.Flag{asOfFlag(), columnFlag(), command.DryRunFlag(), command.JSONFlag()},
		Action: audienceImport(env, "baseline"),
	}
}

func reconcileCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "reconcile",
		Usage:     "send MoEngage the current state of an audience or a trait again",
		ArgsUsage: "KEY | --all",
		Description: "Sends the state of members and former members, also where it equals the last sent value. Use it\n" +
			"after a restore, after a change of agent.toml, when data was lost at MoEngage, or for another\n" +
			"workspace. --told-since and --told-until limit it to users with a change that MoEngage accepted in\n" +
			"that time, as far back as retention.delivered keeps the history.\n\n" +
			"Example: personasync audience reconcile high_value_shoppers --told-since 2026-03-14T09:00:00Z --dry-run",
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "told-since", Usage: "only users with a change accepted at `TIME` or later: 2026-03-14T09:26:53Z, 2026-03-14, or an age such as 90m or 2d"},
			&urfave.StringFlag{Name: "told-until", Usage: "only users with a change accepted before `TIME` (default: now)"},
			&urfave.BoolFlag{Name: "all", Usage: "every audience and trait", DisableDefaultText: true},
			eventsFlag(), command.YesFlag(), command.DryRunFlag(), command.JSONFlag(),
		},
		Action: reconcile(env),
	}
}

func closeCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "close",
		Usage:     "queue an exit for every member",
		ArgsUsage: "KEY",
		Description: "Use it when an audience was deleted in Segment, which sends no exits then.\n\n" +
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
		Description: "When more members leave an audience at once than [guard] allows, its exits are held until they are\n" +
			"released or discarded.\n\n" +
			"Example: personasync audience release high_value_shoppers",
		Flags:  []urfave.Flag{command.YesFlag(), command.DryRunFlag(), command.JSONFlag()},
		Action: audienceOrder(env, "release"),
	}
}

func discardCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "discard",
		Usage:     "drop the exits that the guard holds, and make these users members again",
		ArgsUsage: "KEY",
		Description: "Use it when the audience was broken in Segment. Every user who left in the guard's window becomes a\n" +
			"member again, also users whose exit was sent before the guard tripped. MoEngage is sent the\n" +
			"difference, without events. Later events of Segment apply as usual. After an interruption, run the\n" +
			"command again.\n\n" +
			"Example: personasync audience discard high_value_shoppers",
		Flags:  []urfave.Flag{command.YesFlag(), command.DryRunFlag(), command.JSONFlag()},
		Action: audienceOrder(env, "discard"),
	}
}

func adoptCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "adopt",
		Usage:     "continue an audience that Segment created again under another id",
		ArgsUsage: "KEY ID",
		Description: "ID is the id of the new computation with the same key. Until it is adopted, its changes are held as\n" +
			"key_conflict. MoEngage is sent the difference. A former member without an event since stays a\n" +
			"member; `audience import` with a full list corrects that.\n\n" +
			"Example: personasync audience adopt high_value_shoppers aud_2bIXzfWru4zCBz3N14fvoj3cSEED",
		Flags:  []urfave.Flag{command.YesFlag(), command.DryRunFlag(), command.JSONFlag()},
		Action: audienceOrder(env, "adopt"),
	}
}

func forgetComputationCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "forget",
		Usage:     "remove a computation that is no longer used, and free its names",
		ArgsUsage: "KEY",
		Description: "Use it for names that were sent by mistake or by somebody else; at most 32,768 are stored. The\n" +
			"computation must have no members and no pending, held or parked changes. KEY may also be the name of\n" +
			"a forwarded trait. A later event with this name begins a new computation, which does not know\n" +
			"earlier exits: an enter that is older than a forgotten exit, and arrives late, makes the user a\n" +
			"member.\n\n" +
			"Example: personasync audience forget made_up",
		Flags:  []urfave.Flag{command.YesFlag(), command.DryRunFlag(), command.JSONFlag()},
		Action: audienceOrder(env, "forget"),
	}
}

func people(n int64) string { return term.Count(n) + " users" }

// carryOut gives an order to the agent. It first shows the effect and asks, unless --yes. Without a terminal it
// refuses instead of asking. shown is called before the question. rewind prepares the order for a second reading.
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
		if err := command.Confirm(c.Context, w, membershipText(strings.TrimSuffix(order.Verb, "_told"), r)); err != nil {
			return r, err
		}
	}
	if err := rewind(); err != nil {
		return r, err
	}
	return o.Order(c.Context, order, bar.Tell)
}

// remarkExits prints which knowledge is lost with a forgotten audience. named is the name that the operator typed.
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
		order := api.Order{Verb: verb, Key: c.Args().First(), ID: c.Args().Get(1), Events: c.Bool("events"), DryRun: c.Bool("dry-run"), By: operatorName()}
		if c.IsSet("told-since") || c.IsSet("told-until") {
			if err := toldBetween(c, &order); err != nil {
				return err
			}
		}
		return env.Order(c, func(o api.Orders, bar *term.Bar) error {
			bar.Next(people)
			r, err := carryOut(env.Terminal, c, o, order, bar, func() {}, func() error { return nil })
			bar.End()
			if err != nil {
				return command.UnknownKey(env, c, err, order.Key)
			}
			if from, err := time.Parse(time.RFC3339Nano, r.HistoryFrom); order.Verb == "reconcile_told" && (err != nil || order.Since.Before(from)) {
				remarkHistory(env.Terminal, r.HistoryFrom)
			}
			return printMembership(env.Terminal, c, order.Verb, r)
		})
	}
}

// toldBetween limits a reconcile to users with a change that MoEngage accepted between two times.
func toldBetween(c *urfave.Context, o *api.Order) (err error) {
	o.Verb = "reconcile_told"
	if o.Since, err = command.Time(c, "told-since"); err != nil {
		return err
	}
	if o.Until, err = command.Time(c, "told-until"); err != nil {
		return err
	}
	if o.Until.IsZero() {
		o.Until = time.Now()
	}
	if !o.Since.Before(o.Until) {
		return exit.Usage("--told-since is not before --told-until, so no user can match")
	}
	return nil
}

// remarkHistory prints that the history begins later than the time asked for.
func remarkHistory(w *term.Terminal, from string) {
	if from == "" {
		w.Remark("the history of sent changes is empty (retention.delivered), so no user is known to have been told")
		return
	}
	w.Remark("the history of sent changes begins at %s (retention.delivered), so users told before that are not among them", term.Second(from))
}

// idle returns the error of an order without effect, and nil if it had one.
func idle(verb string, r store.MembershipReport) error {
	key := term.Plain(r.Key)
	switch {
	case r.Already:
		return exit.Nothing("%s has the id %s already: `personasync audience list --wide` shows the ids", key, term.Plain(r.ID))
	case changesAnything(r):
	case verb == "close":
		return exit.Nothing("%s has no members, so nobody leaves", key)
	case verb == "reconcile_told":
		return exit.Nothing("no user of %s had a change accepted in that time: `personasync outbox list --state delivered` shows the history", key)
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
	if r.DryRun || c.Bool("yes") { // otherwise the question said it
		remarkExits(w, c.Args().First(), r)
	}
	text := membershipText(strings.TrimSuffix(verb, "_told"), r)
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

// membershipText counts the users by the effect of an order. In a dry run it says what the effect would be.
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
	part(r.Newer, words("left alone", "would be left alone")+": their stored membership is newer than the list")
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

// reconcile is `audience reconcile`: of one computation, or with --all of each.
func reconcile(env *command.Env) urfave.ActionFunc {
	one := audienceOrder(env, "reconcile")
	return func(c *urfave.Context) error {
		switch {
		case !c.Bool("all"):
			return one(c)
		case c.NArg() > 0:
			return exit.Usage("--all takes every audience and trait: leave out %s, or --all", term.Argument(c.Args().First()))
		case c.IsSet("told-since"), c.IsSet("told-until"):
			return exit.Usage("--all does not go with --told-since and --told-until: name the KEY of one audience")
		}
		names, err := computationNames(env, c)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return exit.Nothing("no event has named a computation, so there is nothing to send again")
		}
		return env.Order(c, func(o api.Orders, bar *term.Bar) error { return reconcileAll(env.Terminal, c, o, bar, names) })
	}
}

// computationNames lists what each computation can be called by: its key, or its id where several share the key.
func computationNames(env *command.Env, c *urfave.Context) (names []string, err error) {
	err = env.Quietly(c, func(i api.Inspector) error {
		list, err := i.Computations(c.Context)
		sharing := map[string]int{}
		for _, l := range list {
			sharing[l.Key]++
		}
		for _, l := range list {
			name := l.Key
			if sharing[name] > 1 && l.ID != "" {
				name = l.ID
			}
			names = append(names, name)
		}
		return err
	})
	return names, err
}

// reconcileAll orders each computation to be sent again, after it asked once for all of them.
func reconcileAll(w *term.Terminal, c *urfave.Context, o api.Orders, bar *term.Bar, names []string) error {
	each := func(dry bool) (list []store.MembershipReport, again uint64, err error) {
		for _, name := range names {
			bar.Next(people)
			r, err := o.Order(c.Context, api.Order{Verb: "reconcile", Key: name, Events: c.Bool("events"), DryRun: dry, By: operatorName()}, bar.Tell)
			if err != nil {
				bar.End()
				return list, again, fmt.Errorf("%s: %w", term.Plain(name), err)
			}
			list, again = append(list, r), again+r.Again
		}
		bar.End()
		return list, again, nil
	}
	if !c.Bool("dry-run") && !c.Bool("yes") {
		_, again, err := each(true)
		if err != nil {
			return err
		}
		if err := command.Confirm(c.Context, w, fmt.Sprintf("%s audiences and traits: %s memberships and values would be told again", term.Count(len(names)), term.Count(again))); err != nil {
			return err
		}
	}
	list, again, err := each(c.Bool("dry-run"))
	if c.Bool("json") {
		if err := term.PrintJSON(w.Out, list); err != nil {
			return err
		}
	} else {
		for _, r := range list {
			if _, err := fmt.Fprintln(w.Out, membershipText("reconcile", r)); err != nil {
				return err
			}
		}
	}
	if err == nil && again == 0 {
		err = exit.Nothing("nothing is known that MoEngage should be told")
	}
	return err
}
