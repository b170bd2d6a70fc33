package cli

import (
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
)

func explainCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "explain-code",
		Usage:     "explain an answer of MoEngage or a reason, and what to do",
		ArgsUsage: "[CODE]",
		Description: "CODE is the reason of a change or of a parked event, an HTTP status, or the type of a 400 as\n" +
			"MoEngage names it. Without CODE, all of them are listed. Needs no configuration.\n\n" +
			"Example: personasync outbox explain-code 413",
		Flags:  []urfave.Flag{command.WideFlag(), command.JSONFlag()},
		Action: func(c *urfave.Context) error { return explainCode(env, c) },
	}
}

func explainCode(env *command.Env, c *urfave.Context) error {
	if c.NArg() == 0 {
		return explainAll(env, c)
	}
	e, ok := agent.ExplainCode(strings.Join(c.Args().Slice(), " ")) // as MoEngage writes it: IP Validation Required
	if err := command.Arguments(c, "a CODE"); err != nil && !ok {
		return err
	}
	if !ok {
		return exit.Nothing("neither an answer of MoEngage nor a reason has the code %q: `personasync outbox explain-code` lists those there are. The codes of refused deliveries are in docs/troubleshooting.md", c.Args().First())
	}
	if c.Bool("json") {
		return term.PrintJSON(env.Out, e)
	}
	for _, line := range [...][2]string{{"code", e.Code}, {"means", e.Means}, {"agent", e.Agent}, {"data", e.Data}, {"lane", e.Lane}, {"attempts", e.Attempts}, {"to do", e.Do}} {
		if _, err := fmt.Fprintf(env.Out, "%-10s%s\n", line[0], env.Beside(line[1], 10)); err != nil {
			return err
		}
	}
	return nil
}

func explainAll(env *command.Env, c *urfave.Context) error {
	all := agent.ExplainCodes()
	if c.Bool("json") {
		return term.PrintJSON(env.Out, all)
	}
	t := env.NewTable(c.Bool("wide"), term.Column{Title: "CODE"}, term.Column{Title: "MEANS", Flexible: true}, term.Column{Title: "DATA", Flexible: true})
	var rows [][]string
	for _, e := range all {
		rows = append(rows, []string{e.Code, e.Means, e.Data})
	}
	return t.Print(rows)
}
