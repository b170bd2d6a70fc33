package cli

import (
	"errors"
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/config"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
)

func doctorCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "doctor",
		Usage: "check configuration, host, agent and MoEngage, and say what to do",
		Description: "Checks the configuration, permissions, disk, lock and socket, the agent and its ledgers, changes\n" +
			"that are pending for too long, MoEngage's credentials and the clock. It changes nothing, and sends\n" +
			"MoEngage one request, to test the credentials. Exits with 1 if a check failed; warnings do not make\n" +
			"it fail.\n\n" +
			"Example: sudo -u personasync personasync doctor",
		Flags:  []urfave.Flag{command.JSONFlag()},
		Action: env.Action(diagnose),
	}
}

func diagnose(env *command.Env, c *urfave.Context) error {
	if err := command.Arguments(c); err != nil {
		return err
	}
	path, err := env.FindConfig(c)
	if err != nil {
		return err
	}
	conf, unread := config.Load(path, env.Environ)
	if unread != nil {
		if conf, err = config.LoadPlaces(path, env.Environ); err != nil {
			return exit.Incurable(agent.DeniedConfig(err))
		}
	}
	findings := agent.Diagnose(c.Context, conf, unread, env.Version)
	if c.Bool("json") {
		err = term.PrintJSON(env.Out, findings)
	} else {
		err = printFindings(env.Terminal, findings)
	}
	if err != nil || agent.Healthy(findings) {
		return err
	}
	return errors.New("something is wrong: each line above says what to do")
}

func printFindings(w *term.Terminal, findings []agent.Finding) error {
	paint := map[string]func(string) string{"ok": w.Paint.Green, "warn": w.Paint.Yellow, "fail": w.Paint.Red, "skip": w.Paint.Dim}
	const margin = 19
	hang := "\n" + strings.Repeat(" ", margin)
	for _, f := range findings {
		text := w.Beside(w.Typed(term.Plain(f.Message)), margin)
		if f.Do != "" {
			text += hang + w.Beside("→ "+w.Typed(term.Plain(f.Do)), margin)
		}
		if _, err := fmt.Fprintf(w.Out, "%s  %-12s %s\n", paint[f.State](fmt.Sprintf("%-4s", f.State)), f.Check, text); err != nil {
			return err
		}
	}
	return nil
}
