package cli

import (
	"errors"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/config"
	"personasync/cli/internal/bundle"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/cli/internal/upkeep"
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
		s := &bundle.Subject{Env: env, Config: conf, Unread: unread, Check: env.Checker()}
		return s.Write(c.Context, c.String("bundle"), c.Bool("json"))
	}
	findings := agent.Diagnose(c.Context, conf, unread, env.Version)
	if c.Bool("json") {
		err = term.PrintJSON(env.Out, findings)
	} else {
		err = upkeep.PrintFindings(env.Terminal, findings)
	}
	if err != nil || agent.Healthy(findings) {
		return err
	}
	return errors.New("something is wrong: each line above says what to do")
}
