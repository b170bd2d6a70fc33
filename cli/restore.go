package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/config"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/service"
	"personasync/cli/internal/term"
	"personasync/cli/internal/upkeep"
	"personasync/store"
)

func dbRestoreCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "restore",
		Usage:     "replace the data by the backup FILE",
		ArgsUsage: "FILE",
		Description: "The backup is read, checked and opened before anything is replaced. The replaced data is kept in a\n" +
			"folder previous-TIME beside it. What was received after the backup was made is not in it: let Segment\n" +
			"replay that time, or run `personasync audience reconcile --all`. What left after it was made is sent again,\n" +
			"under the same change ids. FILE may be - for the standard input.\n\n" +
			"As root, with the agent in a unit of systemd, it stops the unit and its socket, restores as the unit's\n" +
			"user, starts both again and waits until events are accepted. If the restore fails, or the agent does\n" +
			"not start with the restored data, the agent runs on the previous data. A unit is found by the\n" +
			"configuration that it runs with. Otherwise the agent must be stopped.\n\n" +
			"Example: sudo personasync db restore /var/backups/personasync-2026-03-14.tar --dry-run",
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "unit", Usage: "stop and start this `UNIT` of systemd (default: the one that runs with this configuration)"},
			command.YesFlag(), command.DryRunFlag(), command.JSONFlag(),
		},
		Action: env.Action(dbRestore, "FILE"),
	}
}

func dbRestore(env *command.Env, c *urfave.Context) error {
	places, err := env.Load(c, config.LoadWithoutSecrets)
	if err != nil {
		return err
	}
	if err := onFiles(env, c, "restore"); err != nil {
		return err
	}
	path := c.Args().First()
	if _, err := os.Stat(path); path != store.Stdin && errors.Is(err, fs.ErrNotExist) {
		return exit.With(exit.NotFound, err)
	}
	unit, err := service.UnitOf(c.Context, places, c.String("unit"))
	if err != nil {
		return err
	}
	switch {
	case c.Bool("dry-run"):
		return previewRestore(env.Terminal, c, places.DataDir, unit)
	case path == store.Stdin && !c.Bool("yes"):
		return exit.Usage("the standard input has the backup, so nobody can be asked: --yes does it unasked")
	case unit != nil:
		result, err := service.RestoreUnder(c.Context, env, places, unit, path, func(what string) error { return confirmRestore(env, c, what) })
		switch {
		case err != nil:
			return err
		case c.Bool("json"):
			return term.PrintJSON(env.Out, result)
		}
		return upkeep.PrintRestored(env.Terminal, places.DataDir, &result.RestoreReport)
	}
	if err := confirmRestore(env, c, "everything in "+term.Plain(places.DataDir)+" will be replaced by the backup "+term.Plain(path)); err != nil {
		return err
	}
	bar := env.Progress()
	r, err := agent.Restore(c.Context, places, path, env.Version, bar.Tell)
	bar.End()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return exit.With(exit.NotFound, err)
	case err != nil:
		return command.InUse(err)
	case c.Bool("json"):
		return term.PrintJSON(env.Out, r)
	}
	return upkeep.PrintRestored(env.Terminal, places.DataDir, &r)
}

func confirmRestore(env *command.Env, c *urfave.Context, what string) error {
	if c.Bool("yes") {
		return nil
	}
	return command.Confirm(c.Context, env.Terminal, what)
}

// previewRestore reads a whole backup, checks its sums, and prints what would be done.
func previewRestore(w *term.Terminal, c *urfave.Context, dataDir string, unit *service.Unit) error {
	bar := w.Progress()
	info, err := store.VerifyBackup(c.Args().First(), bar.Tell)
	bar.End()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return term.PrintJSON(w.Out, info)
	}
	_, err = fmt.Fprintf(w.Out, "%s; a dry run: nothing was changed\n", service.RestoreText(dataDir, c.Args().First(), &info, unit, "would"))
	return err
}

// putBack is a hidden command. A restore under a unit starts this program with it, as the unit's user, to undo itself.
const putBack = "put-back"

func putBackCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:   putBack,
		Hidden: true,
		Usage:  "make the data that a restore set aside the data again",
		Action: env.Action(func(env *command.Env, c *urfave.Context) error {
			places, err := env.Load(c, config.LoadWithoutSecrets)
			if err != nil {
				return err
			}
			aside, err := store.PutBack(places.DataDir, c.Args().First())
			if err != nil {
				return command.InUse(err)
			}
			return term.PrintJSON(env.Out, aside)
		}, "the folder previous-TIME"),
	}
}
