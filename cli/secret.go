package cli

import (
	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/config"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/secret"
)

func secretCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "secret",
		Usage: "store a secret where the agent takes it from",
		Subcommands: []*urfave.Command{{
			Name:      "set",
			Usage:     "ask for a secret without showing it, and store it",
			ArgsUsage: "NAME",
			Description: "NAME is that of a credential, such as moengage_api_key, or of the setting, such as moengage.api_key.\n" +
				"The secret is asked for at the terminal, or read from the standard input: one value a line, the first\n" +
				"is current and the others are still accepted. It goes to the file that the configuration names\n" +
				"(KEY_file), or as root to a credential of the unit that runs with this configuration: encrypted for\n" +
				"this host if it has systemd-creds, else a file that only root can read. It says what to reload. The\n" +
				"secret is in no argument, no log and no output.\n\n" +
				"Example: sudo personasync secret set moengage_api_key",
			Flags: []urfave.Flag{
				&urfave.BoolFlag{Name: "keep", Usage: "accept the present values too, behind the new one, as during a rotation", DisableDefaultText: true},
				&urfave.BoolFlag{Name: "plain", Usage: "do not encrypt a credential, so that it can be copied to another host", DisableDefaultText: true},
				command.JSONFlag(),
			},
			Action: func(c *urfave.Context) error { return setSecret(env, c) },
		}},
	}
}

func setSecret(env *command.Env, c *urfave.Context) error {
	if c.NArg() > 1 { // the argument is not repeated: it may be the secret
		return exit.Usage("secret set takes the NAME alone: the secret is asked for, or read from the standard input. One that was typed here is in the history of the shell, and other users could see it: replace it at its source")
	}
	if err := command.Arguments(c, "the NAME of a secret"); err != nil {
		return err
	}
	conf, err := env.Load(c, config.LoadWithoutSecrets)
	if err != nil {
		return agent.DeniedConfig(err)
	}
	place, err := conf.SecretPlace(c.Args().First())
	if err != nil {
		return exit.Incurable(err)
	}
	return secret.Set(c.Context, env, secret.Order{Config: conf, Place: place, Keep: c.Bool("keep"), Plain: c.Bool("plain")}, c.Bool("json"))
}
