package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/command"
	"personasync/cli/internal/term"
	"personasync/store"
)

// version is set when a release is linked: -ldflags "-X personasync/cli.version=1.2.3".
var version string

// Version returns the release, or the commit that the program was built from.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "dev-" + s.Value[:12]
			}
		}
	}
	return "dev"
}

func versionCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:        "version",
		Usage:       "print the version",
		Description: "Example: personasync version --json",
		Flags:       []urfave.Flag{command.JSONFlag()},
		Action: env.Action(func(env *command.Env, c *urfave.Context) error {
			if c.Bool("json") {
				return term.PrintJSON(env.Out, map[string]any{
					"version": Version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
					"data_format": store.Format, // package scripts read it before a downgrade
				})
			}
			_, err := fmt.Fprintf(env.Out, "personasync %s (%s, %s/%s)\n", Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		}),
	}
}
