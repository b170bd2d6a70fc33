package cli

import (
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
)

func notifyCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "notify",
		Usage: "try who is told when something is wrong",
		Subcommands: []*urfave.Command{{
			Name:  "test",
			Usage: "send a test message to every receiver of [notify], and show the answer",
			Description: "The running agent sends it, with its own secrets and from its own network. If no agent runs, this\n" +
				"command sends it. With PagerDuty, an alert is triggered and resolved at once. The heartbeat is not\n" +
				"tested, because a test would count as a sign of life. Exits with 1 if a receiver did not take it,\n" +
				"and with 2 if none is configured.\n\n" +
				"Example: personasync notify test",
			Flags:  []urfave.Flag{command.JSONFlag()},
			Action: env.Action(testNotify),
		}},
	}
}

func testNotify(env *command.Env, c *urfave.Context) error {
	places, err := env.LoadPlaces(c)
	if err != nil {
		return err
	}
	list, where, err := agent.TestNotify(c.Context, places, func() (*config.Config, error) { return env.LoadConfig(c) }, env.Version)
	if err != nil {
		return err
	}
	env.Remark("%s", where)
	if len(list) == 0 {
		return exit.Usage("nobody is told: neither notify.url nor notify.command is set; set one in the configuration, then `systemctl reload personasync` and `personasync notify test`")
	}
	failed := 0
	for i := range list {
		if !list[i].OK {
			failed++
		}
	}
	if c.Bool("json") {
		err = term.PrintJSON(env.Out, list)
	} else {
		err = printNotifyTests(env.Terminal, list)
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d receivers did not take the test message: each line above says what to do", failed, len(list))
	}
	return err
}

func printNotifyTests(w *term.Terminal, list []api.NotifyTest) error {
	const margin = 16
	for i := range list {
		r := &list[i]
		state, text := w.Paint.Green("ok  "), term.Plain(r.Target)+" took it"
		if r.Answer != "" {
			text += ": " + term.Plain(r.Answer)
		}
		if !r.OK {
			state, text = w.Paint.Red("fail"), term.Plain(r.Target)+": "+term.Plain(r.Error)
			if r.Do != "" {
				text += "; " + term.Plain(r.Do)
			}
		}
		if _, err := fmt.Fprintf(w.Out, "%s  %-9s %s\n", state, term.Plain(r.Receiver), w.Beside(w.Typed(text), margin)); err != nil {
			return err
		}
	}
	return nil
}

// receiverText says what a receiver was told last, and how it takes messages.
func receiverText(w *term.Terminal, r *condition.Receiver) string {
	text := term.Plain(r.Name) + ": "
	switch {
	case r.Name == "heartbeat" && r.ToldAt != "":
		text += "last made at " + term.Plain(r.ToldAt)
	case r.Told != "":
		text += "last told that " + term.Plain(r.Told) + " " + term.Plain(r.State) + ", at " + term.Plain(r.ToldAt)
	case r.Name == "heartbeat":
		text += "none made yet"
	default:
		text += "nothing told yet"
	}
	if r.Withheld != "" {
		text += "; " + w.Paint.Yellow("withheld") + ": " + term.Plain(r.Withheld)
	}
	if r.Failures == 0 {
		return text
	}
	text += "; " + w.Paint.Red("failing") + " since " + term.Plain(r.FailingSince)
	if r.Waiting > 0 {
		text += ", " + term.Plural(uint64(r.Waiting), "message") + " not told"
	}
	return text + ": " + term.Plain(r.LastError)
}
