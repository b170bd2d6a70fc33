package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/config"
	"personasync/cli/internal/bundle"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
	"personasync/store/domain"
)

func doctorCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "doctor",
		Usage: "check configuration, host, agent and MoEngage, and say what to do",
		Description: "Checks the configuration, permissions, disk, lock and socket, the agent and its ledgers, changes\n" +
			"that are pending for too long, MoEngage's credentials and the clock. It changes nothing, and sends\n" +
			"MoEngage one request, to test the credentials. Exits with 1 if a check failed; warnings do not make\n" +
			"it fail.\n\n" +
			"--bundle writes an archive for support instead, within 3 s, and prints what is in it: configuration\n" +
			"with masked secrets, status, metrics, the end of the log, these checks and facts of the host. It has\n" +
			"no user ids and no secrets. A part that does not come in time, as from an agent that hangs, is named.\n\n" +
			"Example: sudo personasync doctor --bundle support.tar.gz",
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "bundle", Usage: "write an archive for support to the new file `FILE`; - is the standard output"},
			command.JSONFlag(),
		},
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
	if c.IsSet("bundle") {
		return writeBundle(env, c, &bundle.Subject{Env: env, Config: conf, Unread: unread, Check: checker(env)})
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

// bundleLimit is how long the parts of an archive may take. With the start of the program and the writing, it is done
// within 3 s.
const bundleLimit = 2200 * time.Millisecond

func writeBundle(env *command.Env, c *urfave.Context, s *bundle.Subject) (err error) {
	path, to := c.String("bundle"), env.Out
	switch path {
	case "":
		return exit.Usage("--bundle needs the name of a new file, such as support.tar.gz")
	case "-":
	default:
		if name := store.OwnName(path); name != "" {
			return exit.Usage("%s: the agent keeps files of its own under %s in its data directory: choose another name", path, name)
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return exit.Usage("%s exists already and is left alone: give another name", path)
		}
		if err != nil {
			return err
		}
		defer func() {
			if err = errors.Join(err, f.Close()); err != nil {
				_ = os.Remove(path) // half an archive
			}
		}()
		to = f
	}
	about, err := bundle.Write(c.Context, to, env.Version, s.Parts(), s.Secrets(), bundleLimit)
	if err != nil || path == "-" {
		return err
	}
	if c.Bool("json") {
		return term.PrintJSON(env.Out, about)
	}
	for _, p := range about.Parts {
		size, why := domain.Bytes(int64(p.Bytes)), ""
		if p.Error != "" {
			why = "  " + env.Paint.Yellow(term.Plain(p.Error))
		}
		fmt.Fprintf(env.Out, "%-14s %9s%s\n", p.Name, size, env.Beside(why, 25))
	}
	_, err = fmt.Fprintf(env.Out, "%s has these parts, without user ids and secrets: look through it before you send it\n", term.Plain(path))
	return err
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
