package cli

import (
	"io"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/service"
	"personasync/cli/internal/term"
)

func serviceCommand(env *command.Env) *urfave.Command {
	root := &urfave.StringFlag{Name: "root", Usage: "install into the tree at `DIR`, as for an image: write files and run nothing"}
	return &urfave.Command{
		Name:  "service",
		Usage: "install this program as a systemd service, without a package",
		Subcommands: []*urfave.Command{
			{
				Name:  "install",
				Usage: "install this program, its units, its user and a first configuration",
				Description: "Needs root. An existing configuration is kept, and nothing is started. To upgrade, run it again with\n" +
					"the newer program.\n\n" +
					"Example: sudo ./personasync service install",
				Flags:  []urfave.Flag{root},
				Action: env.Action(serviceInstall),
			},
			{
				Name:        "uninstall",
				Usage:       "stop the service and remove the installed files; configuration and data stay",
				Description: "Example: sudo personasync service uninstall",
				Flags:       []urfave.Flag{root},
				Action:      env.Action(serviceUninstall),
			},
			{
				Name:      "print",
				Usage:     "print the unit, or another file of the service",
				ArgsUsage: "[FILE]",
				Description: "FILE is personasync.service unless given, or one of\n   " + strings.Join(service.Files()[1:], "\n   ") + "\n\n" +
					"Example: personasync service print personasync.socket",
				Flags:  []urfave.Flag{command.JSONFlag()},
				Action: env.Action(servicePrint, "[FILE]"),
			},
		},
	}
}

func servicePrint(env *command.Env, c *urfave.Context) error {
	name := service.Files()[0]
	if c.NArg() > 0 {
		name = c.Args().First()
	}
	text := service.File(name, "/usr/bin/personasync")
	if text == "" {
		return exit.Usage("there is no file %q of the service: there are %s", name, strings.Join(service.Files(), ", "))
	}
	if c.Bool("json") {
		return term.PrintJSON(env.Out, map[string]string{"name": name, "text": text})
	}
	_, err := io.WriteString(env.Out, text)
	return err
}

func serviceInstall(env *command.Env, c *urfave.Context) error {
	return service.Install(c.Context, c.String("root"), env.Out)
}

func serviceUninstall(env *command.Env, c *urfave.Context) error {
	return service.Uninstall(c.Context, c.String("root"), env.Out, env.Remark)
}
