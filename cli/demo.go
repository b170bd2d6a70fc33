package cli

import (
	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/command"
	"personasync/cli/internal/demo"
)

func demoCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "demo",
		Usage: "show the main job in a few seconds; needs no configuration and no network",
		Description: "Runs an agent on a temporary folder and a stand-in for MoEngage, posts signed deliveries\n" +
			"as Segment does, takes MoEngage offline for a moment and back, restarts the agent meanwhile,\n" +
			"and checks that both agree in the end.\n\n" +
			"Example: personasync demo --keep",
		Flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "keep", Usage: "leave it running afterwards, to look around", DisableDefaultText: true},
		},
		Action: func(c *urfave.Context) error {
			if err := command.Arguments(c); err != nil {
				return err
			}
			return demo.Run(c.Context, env.Terminal, env.Version, c.Bool("keep"))
		},
	}
}
