package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/config"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
	"personasync/store/domain"
)

func configCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "config",
		Usage: "check, show or write the configuration",
		Subcommands: []*urfave.Command{
			{
				Name:  "check",
				Usage: "list every fault in the configuration",
				Description: "Reads the file, the environment and the secrets as `run` does. Warnings do not make it fail.\n\n" +
					"Example: personasync config check --config agent.toml",
				Flags:  []urfave.Flag{command.JSONFlag()},
				Action: env.Action(configCheck),
			},
			{
				Name:        "show",
				Usage:       "show every value and where it comes from",
				Description: "Secrets are masked.\n\nExample: personasync config show --json",
				Flags:       []urfave.Flag{command.WideFlag(), command.JSONFlag()},
				Action:      env.Action(configShow),
			},
			{
				Name:      "init",
				Usage:     "write a commented example configuration",
				ArgsUsage: "[FILE]",
				Description: "FILE is agent.toml by default; - is standard output. An existing file is not changed.\n\n" +
					"Example: personasync config init /etc/personasync/agent.toml",
				Action: env.Action(configInit, "[FILE]"),
			},
			configTestCommand(env),
		},
	}
}

// checked is the JSON of `config check --json`.
type checked struct {
	OK       bool     `json:"ok"`
	File     string   `json:"file"` // "" if there is none
	Errors   string   `json:"errors"`
	Warnings []string `json:"warnings"`
}

func configCheck(env *command.Env, c *urfave.Context) error {
	path, err := env.FindConfig(c)
	if err != nil {
		return err
	}
	result := checked{File: path, Warnings: []string{}}
	conf, note, err := loadAsAgent(env, c, path)
	if note != "" {
		env.Remark("%s", note)
	}
	if err == nil {
		result.Warnings = append(append(result.Warnings, conf.Warnings()...), agent.DataWarnings(c.Context, conf, env.Version)...)
		err = conf.Complete()
	}
	result.OK = err == nil
	if err != nil {
		result.Errors = err.Error()
		err = exit.Incurable(err)
	}
	if c.Bool("json") {
		return errors.Join(term.PrintJSON(env.Out, result), err)
	}
	for _, w := range result.Warnings {
		env.Remark("%s %s", env.ErrPaint.Yellow("warning:"), w)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(env.Out, env.Paint.Green("ok:"), fileText(path))
	return printTold(env.Out, conf)
}

// printTold says whom MoEngage will be told of: a share that was left out tells everybody.
func printTold(out io.Writer, conf *config.Config) error {
	rules := conf.Rules()
	all := toldBy(&rules.Defaults)
	_, err := fmt.Fprintf(out, "told in workspace %s: %s\n", conf.Workspace().ID, all)
	for _, s := range rules.Sections {
		if told := toldBy(&s.Policy); told != all && err == nil {
			_, err = fmt.Fprintf(out, "told of %s: %s\n", cmp.Or(s.Key, s.ID), told)
		}
	}
	return err
}

func toldBy(p *domain.Policy) string {
	if p.Send == domain.SendNone {
		return `nobody (send = "none")`
	}
	return p.Rollout.Told()
}

// loadAsAgent reads the configuration as `run` would. If this shell cannot read a secret, it asks the running agent
// for it, and note says so.
func loadAsAgent(env *command.Env, c *urfave.Context, path string) (conf *config.Config, note string, err error) {
	conf, unread := config.Load(path, env.Environ)
	if faults := (*config.Faults)(nil); unread != nil && errors.As(unread, &faults) && faults.OnlyUnread() {
		conf, err = config.LoadWithoutSecrets(path, env.Environ)
	} else {
		err = agent.DeniedConfig(unread)
	}
	if err != nil {
		return nil, "", err
	}
	note, asked := agent.BorrowSecrets(c.Context, conf, env.Version)
	switch {
	case asked == nil && conf.Unread() == nil:
		return conf, note, nil
	case unread == nil && asked != nil && conf.Complete() != nil:
		note = "what follows does not count what only a running agent sees, such as credentials of systemd: " + asked.Error()
	}
	return conf, note, unread
}

func fileText(path string) string {
	if path == "" {
		return "no file; defaults and environment"
	}
	return term.Plain(path)
}

func configShow(env *command.Env, c *urfave.Context) error {
	conf, err := env.Load(c, config.LoadWithoutSecrets)
	if err != nil {
		return agent.DeniedConfig(err)
	}
	if note, _ := agent.BorrowSecrets(c.Context, conf, env.Version); note != "" { // without an agent, there is nothing to add
		env.Remark("%s", note)
	}
	settings := conf.Effective()
	if c.Bool("json") {
		return term.PrintJSON(env.Out, settings)
	}
	t := env.NewTable(c.Bool("wide"), term.Column{Title: "KEY"}, term.Column{Title: "VALUE", Flexible: true}, term.Column{Title: "FROM", Flexible: true})
	var rows [][]string
	for _, s := range settings {
		rows = append(rows, []string{s.Key, s.Value, s.Origin})
	}
	return t.Print(rows)
}

func configInit(env *command.Env, c *urfave.Context) error {
	path := "agent.toml"
	if c.NArg() > 0 {
		path = c.Args().First()
	}
	if path == "-" {
		_, err := env.Out.Write(config.Example())
		return err
	}
	if name := store.OwnName(path); name != "" {
		return exit.Usage("%s: the agent keeps files of its own under %s in its data directory, and would take this one for one of them: give another name, such as agent.toml", path, name)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // a secret may be added to it
	if errors.Is(err, fs.ErrExist) {
		return exit.Usage("%s exists already and is left alone: give another name, or - for the standard output", path)
	}
	if err != nil {
		return err
	}
	if _, err := f.Write(config.Example()); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Out, "wrote %s: fill in [ingest] and [moengage], then `personasync config check`\n", term.Plain(path))
	return err
}
