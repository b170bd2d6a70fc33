package cli

import (
	"errors"
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
)

func audienceVerifyCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "verify",
		Usage:     "read users back from MoEngage and compare them with the sent values",
		ArgsUsage: "KEY",
		Description: "MoEngage's 200 means that it queued a change, not that it applied it. This command reads a random\n" +
			"sample of users back, and prints the share whose values equal the sent ones. It reads 20 users a\n" +
			"request and 1,000 a minute, MoEngage's limit for the workspace, so --all takes 17 hours for a\n" +
			"million users. Users with pending changes are left out. KEY may be a trait or an id. --repair queues\n" +
			"the differences again. Only attributes can be read back.\n\n" +
			"Example: personasync audience verify high_value_shoppers --sample 2000 --repair",
		Flags: []urfave.Flag{
			&urfave.IntFlag{Name: "sample", Usage: "read back `N` users (default: verify.sample of the configuration)", DefaultText: "1000"},
			&urfave.BoolFlag{Name: "all", Usage: "read back every user that was sent", DisableDefaultText: true},
			&urfave.BoolFlag{Name: "repair", Usage: "queue the differences again", DisableDefaultText: true},
			&urfave.DurationFlag{Name: "settle", Value: api.DefaultSettle, Usage: "leave out users with a change sent less than `D` ago"},
			command.LimitFlag("differences"), command.WideFlag(), command.JSONFlag(),
		},
		Action: env.Action(audienceVerify),
	}
}

func audienceVerify(env *command.Env, c *urfave.Context) (err error) {
	if err := command.Arguments(c, "the KEY of an audience or trait"); err != nil {
		return err
	}
	shown, err := command.Limit(c)
	if err != nil {
		return err
	}
	places, err := env.LoadPlaces(c)
	if err != nil {
		return err
	}
	o, err := verifyOrder(c, places.Verify.Sample)
	if err != nil {
		return err
	}
	client, err := agent.DialAgent(c.Context, places, env.Version)
	if errors.Is(err, api.ErrNotRunning) {
		return fmt.Errorf("%w: it is the agent that asks MoEngage, within limits that all verifications share; start it with `personasync run`", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	env.Remark("%s", client.Where())
	bar := env.Progress()
	bar.Unit = users
	r, err := client.Verify(c.Context, o, bar.Tell)
	if bar.End(); err != nil {
		return command.UnknownKey(env, c, err, o.Key)
	}
	if c.Bool("json") {
		return term.PrintJSON(env.Out, r)
	}
	return printVerification(env.Terminal, r, o, shown, c.Bool("wide"))
}

func users(n int64) string { return term.Plural(n, "user") }

func verifyOrder(c *urfave.Context, sample int) (o api.VerifyOrder, err error) {
	o = api.VerifyOrder{Key: c.Args().First(), Sample: sample, Repair: c.Bool("repair"), Settle: c.Duration("settle")}
	switch {
	case c.IsSet("sample") && c.Bool("all"):
		return o, exit.Usage("--sample and --all do not go together")
	case c.IsSet("sample") && c.Int("sample") < 1:
		return o, exit.Usage("--sample is at least 1, not %d", c.Int("sample"))
	case o.Settle < 0:
		return o, exit.Usage("--settle is a duration such as 1m, not %s", o.Settle)
	case c.IsSet("sample"):
		o.Sample = c.Int("sample")
	case c.Bool("all"):
		o.Sample = 0
	}
	return o, nil
}

func printVerification(w *term.Terminal, r *api.VerifyReport, o api.VerifyOrder, shown int, wide bool) error {
	if r.Told == 0 {
		_, err := fmt.Fprintf(w.Out, "MoEngage was told nothing of %s yet, so there is nothing to compare\n", term.Plain(r.Key))
		return err
	}
	fmt.Fprintf(w.Out, "%s: MoEngage was told of %s; %s taken, %s compared, %s left out because more was on the way, or left less than --settle ago\n",
		term.Plain(r.Key), users(int64(r.Told)), term.Count(r.Asked), term.Count(r.Compared), term.Count(r.Moving))
	if r.Agreement == nil {
		_, err := fmt.Fprintln(w.Out, "no user can be compared: wait until pending changes have arrived, or lower --settle")
		return err
	}
	fmt.Fprintln(w.Out, agreementText(w, r))
	t := w.NewTable(wide, term.Column{Title: "USER"}, term.Column{Title: "ATTRIBUTE"},
		term.Column{Title: "TOLD", Flexible: true}, term.Column{Title: "HOLDS", Flexible: true})
	var rows [][]string
	for _, d := range r.Differences[:min(shown, len(r.Differences))] {
		holds := string(d.Got)
		switch d.Why {
		case "unknown_user":
			holds = "no such user"
		case "missing":
			holds = "nothing"
		}
		rows = append(rows, []string{d.User, d.Attribute, string(d.Want), holds})
	}
	if err := t.Print(rows); err != nil {
		return err
	}
	switch {
	case r.Differ == 0:
	case o.Repair:
		fmt.Fprintf(w.Out, "%s queued again: `personasync outbox list` shows the pending changes; verify again when they are sent\n", users(int64(r.Repaired)))
	default:
		w.Remark("nothing was changed: --repair sends again what differs")
	}
	if len(rows) < len(r.Differences) {
		w.Remark("shown are %d of %s: --limit shows more", len(rows), term.Plural(len(r.Differences), "difference"))
	}
	return nil
}

func agreementText(w *term.Terminal, r *api.VerifyReport) string {
	a := r.Agreement
	paint := w.Paint.Green
	if r.Differ > 0 {
		paint = w.Paint.Yellow
	}
	text := paint(fmt.Sprintf("%s agree", percent(a.Share)))
	if a.Level == 1 {
		return text + fmt.Sprintf(", %s; that is everyone", differText(r.Differ))
	}
	return text + fmt.Sprintf(", %s; of everyone it is %s to %s (95 %% confidence)", differText(r.Differ), percent(a.Low), percent(a.High))
}

func differText(n uint64) string {
	if n == 1 {
		return "1 user differs"
	}
	return term.Plural(n, "user") + " differ"
}

// percent never rounds a share below one up to 100 %.
func percent(share float64) string {
	p := share * 100
	if share < 1 && p > 99.99 {
		p = 99.99
	}
	return fmt.Sprintf("%.2f %%", p)
}

// verifiedText says how far the last verifications agreed. A user who was not read back does not count as agreeing.
func verifiedText(w *term.Terminal, v *condition.VerifyStatus) string {
	var parts []string
	if v.Failed > 0 {
		why := strings.TrimRight(term.Plain(v.Error), ".")
		if !strings.Contains(why, v.Code) {
			why = term.Plain(v.Code) + ": " + why
		}
		when := ""
		if !v.FailedAt.Equal(v.At) {
			when = " at " + v.FailedAt.Format("2006-01-02 15:04") + " UTC"
		}
		parts = append(parts, w.Paint.Red(term.Plural(v.Failed, "computation")+" could not be verified")+when+" ("+why+")")
	}
	if v.Compared > 0 || v.Failed == 0 {
		parts = append(parts, comparedText(w, v))
	}
	if v.Unproven > 0 && v.Compared > 0 {
		parts = append(parts, fmt.Sprintf("of %s no user was compared", term.Plural(v.Unproven, "computation")))
	}
	return v.At.Format("2006-01-02 15:04") + " UTC: " + strings.Join(parts, "; ")
}

func comparedText(w *term.Terminal, v *condition.VerifyStatus) string {
	if v.Compared == 0 {
		return w.Paint.Yellow("no user was compared, so nothing is proven")
	}
	text := fmt.Sprintf("%s of %s, ", term.Plural(v.Compared, "user"), term.Plural(v.Verified, "computation"))
	if v.Differ == 0 {
		return text + w.Paint.Green("all agree")
	}
	return text + w.Paint.Yellow(differText(v.Differ)) + ", most of them of " + term.Plain(v.Worst)
}
