package cli

import (
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/cases"
	"personasync/cli/internal/command"
	"personasync/cli/internal/term"
)

func configTestCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "test",
		Usage:     "try a folder of deliveries, and compare the requests with the expected ones",
		ArgsUsage: "DIR",
		Description: "Each NAME.json in DIR is a delivery as Segment posts it, or NAME.http a whole request. NAME.want.json has\n" +
			"what is expected of it: the outcome and the requests, or the reason for which it is parked. Each is\n" +
			"tried as `preview --as-if` does, with the configuration of this command. Differences are printed, and\n" +
			"make it fail.\n\n" +
			"--update writes what comes out as expected. It keeps the path, as_if (in, out or never) and received\n" +
			"of a NAME.want.json, which say how its delivery is tried.\n\n" +
			"Example: personasync config test cases --config agent.toml",
		Flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "update", Usage: "write the expectations, and do not compare", DisableDefaultText: true},
			command.JSONFlag(),
		},
		Action: env.Action(configTest, "a DIR with cases"),
	}
}

func configTest(env *command.Env, c *urfave.Context) error {
	dir := c.Args().First()
	names, err := cases.List(dir)
	if err != nil {
		return err
	}
	conf, err := previewConfig(env, c)
	if err != nil {
		return err
	}
	results, failed := make([]cases.Result, 0, len(names)), 0
	for _, name := range names {
		if err := c.Context.Err(); err != nil {
			return err
		}
		r := cases.Try(c.Context, conf, dir, name, c.Bool("update"))
		results = append(results, r)
		if !r.OK {
			failed++
		}
		if !c.Bool("json") {
			if err := printCase(env.Terminal, &r); err != nil {
				return err
			}
		}
	}
	if c.Bool("json") {
		if err := term.PrintJSON(env.Out, results); err != nil {
			return err
		}
	}
	switch {
	case failed > 0:
		return fmt.Errorf("%d of %s failed", failed, term.Plural(len(names), "case"))
	case c.Bool("update"):
		env.Remark("%s written", term.Plural(len(names), "expectation"))
	default:
		env.Remark("%s as expected", term.Plural(len(names), "case"))
	}
	return nil
}

func printCase(w *term.Terminal, r *cases.Result) (err error) {
	switch {
	case r.OK:
		_, err = fmt.Fprintln(w.Out, w.Paint.Green("ok"), "  ", term.Plain(r.Case))
	case r.Error != "":
		_, err = fmt.Fprintf(w.Out, "%s %s\n     %s\n", w.Paint.Red("fail"), term.Plain(r.Case), w.Beside(term.Plain(r.Error), 5))
	default:
		_, err = fmt.Fprintf(w.Out, "%s %s (- expected, + came)\n", w.Paint.Red("fail"), term.Plain(r.Case))
		for line := range strings.Lines(r.Diff) {
			line = term.Plain(strings.TrimSuffix(line, "\n"))
			switch line[0] {
			case '-':
				line = w.Paint.Red(line)
			case '+':
				line = w.Paint.Green(line)
			}
			if _, err := fmt.Fprintln(w.Out, "    ", line); err != nil {
				return err
			}
		}
	}
	return err
}
