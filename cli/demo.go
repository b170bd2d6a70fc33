package cli

import (
	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/command"
	"personasync/cli/internal/demo"
)

func demoCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "demo",
		Usage: "see the agent work in a few seconds; needs no configuration and no network",
		Description: "Runs an agent in a temporary folder and a stand-in for MoEngage, posts signed deliveries as Segment\n" +
			"does, makes MoEngage unavailable for a moment, restarts the agent, and checks that both agree in the\n" +
			"end.\n\n" +
			"Example: personasync demo --keep",
		Flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "keep", Usage: "keep the agent running afterwards, to look around", DisableDefaultText: true},
		},
		Action: env.Action(func(env *command.Env, c *urfave.Context) error {
			return demo.Run(c.Context, env.Terminal, env.Version, c.Bool("keep"))
		}),
	}
}
