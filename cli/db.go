package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
	"personasync/store/domain"
)

func dbCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "db",
		Usage: "check, compact, back up or restore the data",
		Subcommands: []*urfave.Command{
			{
				Name:  "check",
				Usage: "check every record and every count",
				Description: "Checks the checksum of every record and every row, adds up the ledgers, and compares every index\n" +
					"with the rows. While the agent is stopped, it also checks the pages of the files. It changes\n" +
					"nothing, and exits with 1 if anything is wrong.\n\n" +
					"Example: personasync db check --json",
				Flags:  []urfave.Flag{command.JSONFlag()},
				Action: env.Action(dbCheck),
			},
			{
				Name:  "compact",
				Usage: "return the free space inside state.db to the file system",
				Description: "The agent accepts and sends events meanwhile. It compacts by itself when more than half of a large\n" +
					"file is free. Needs 1.2 times the size of the live data as free disk space.\n\n" +
					"Example: personasync db compact",
				Flags:  []urfave.Flag{command.JSONFlag()},
				Action: env.Action(dbCompact),
			},
			{
				Name:      "backup",
				Usage:     "write a backup to FILE; the agent may be running",
				ArgsUsage: "FILE",
				Description: "FILE is a tar archive of the state at one moment, the events that were received and not yet applied,\n" +
					"and checksums. FILE appears when it is complete. An existing FILE is replaced only if it is a\n" +
					"backup. It contains user ids, also of users who are forgotten later.\n\n" +
					"Example: personasync db backup /var/backups/personasync-$(date +%F).tar",
				Flags:  []urfave.Flag{command.JSONFlag()},
				Action: env.Action(dbBackup),
			},
			{
				Name:      "restore",
				Usage:     "replace the data by the backup FILE",
				ArgsUsage: "FILE",
				Description: "The agent must be stopped. The backup is read, checked and opened before anything is replaced.\n" +
					"What was received after it was made is not in it: let Segment replay that time, or run\n" +
					"`personasync audience reconcile`. What left after it was made is sent again, under the same change ids.\n\n" +
					"As a service, stop the socket as well, or the next delivery starts the agent; and restore as the user\n" +
					"that owns the data: `runuser -u personasync -- personasync db restore FILE`.\n\n" +
					"Example: personasync db restore /var/backups/personasync-2026-03-14.tar --dry-run",
				Flags:  []urfave.Flag{command.YesFlag(), command.DryRunFlag(), command.JSONFlag()},
				Action: env.Action(dbRestore),
			},
		},
	}
}

func dbCheck(env *command.Env, c *urfave.Context) error {
	if err := command.Arguments(c); err != nil {
		return err
	}
	return env.Upkeep(c, func(u api.Upkeep, _ string, bar *term.Bar) error {
		r, err := u.Check(c.Context, bar.Tell)
		if bar.End(); err != nil {
			return err
		}
		if err := printCheck(env.Terminal, r, c.Bool("json")); err != nil || r.OK() {
			return err
		}
		if r.OnlyCopies() {
			return errors.New("no data is damaged, and a file among those of the inbox does not belong there: start the agent, which sets a copy aside, or says what to do")
		}
		return fmt.Errorf("the data is damaged (%s): keep a copy of the directory and restore the last good backup with `personasync db restore FILE`; "+
			"or start the agent after removing the file \"running\" beside it: it then salvages all readable data, keeps the damaged files aside, and lists the losses",
			term.Plural(r.Faults, "fault"))
	})
}

func printCheck(w *term.Terminal, r *store.CheckReport, json bool) error {
	if json {
		return term.PrintJSON(w.Out, struct {
			OK bool `json:"ok"`
			*store.CheckReport
		}{r.OK(), r})
	}
	verdict := w.Paint.Green("everything is as it should be")
	if !r.OK() {
		verdict = w.Paint.Red(term.Plural(r.Faults, "fault"))
	}
	fmt.Fprintf(w.Out, "%s: %s in %s, %s pending, %s held, %s parked, %s closed, %s in the inbox; %s\n",
		domain.Bytes(r.Bytes), term.Plural(r.Users, "user"), term.Plural(r.Rows, "row"), term.Count(r.Pending), term.Count(r.Held), term.Count(r.Parked), term.Count(r.History),
		term.Plural(r.Records, "record"), verdict)
	for _, f := range r.Findings {
		fmt.Fprintf(w.Out, "  %-8s %s\n", f.Code, term.Plain(f.Message))
	}
	if more := r.Faults - uint64(len(r.Findings)); more > 0 {
		fmt.Fprintf(w.Out, "  and %s more\n", term.Count(more))
	}
	if r.Damaged > 0 {
		fmt.Fprintf(w.Out, "%s set aside earlier\n", term.Plural(r.Damaged, "damaged row"))
	}
	if !r.Pages {
		w.Remark("the pages of the files are followed only while the agent is stopped; state.db grew by %s meanwhile", domain.Bytes(r.Grew))
	}
	return nil
}

func dbCompact(env *command.Env, c *urfave.Context) error {
	if err := command.Arguments(c); err != nil {
		return err
	}
	return env.Upkeep(c, func(u api.Upkeep, _ string, bar *term.Bar) error {
		r, err := u.Compact(c.Context, bar.Tell)
		if bar.End(); err != nil {
			return err
		}
		if c.Bool("json") {
			return term.PrintJSON(env.Out, r)
		}
		_, err = fmt.Fprintf(env.Out, "state.db had %s and has %s; it took %s, of which delivery stood still for %s\n",
			domain.Bytes(r.Before), domain.Bytes(r.After), roughly(r.Took), roughly(r.Pause))
		return err
	})
}

// roughly rounds a duration for people.
func roughly(d time.Duration) time.Duration {
	switch {
	case d > time.Minute:
		return d.Round(time.Second)
	case d > time.Second:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}

func dbBackup(env *command.Env, c *urfave.Context) error {
	if err := command.Arguments(c, "FILE"); err != nil {
		return err
	}
	path, err := filepath.Abs(c.Args().First())
	if err != nil {
		return err
	}
	return env.Upkeep(c, func(u api.Upkeep, dir string, bar *term.Bar) error {
		var r store.BackupReport
		err := store.CreateBackup(dir, path, func(w io.Writer) (err error) {
			r, err = u.Backup(c.Context, w, bar.Tell)
			return err
		})
		if bar.End(); err != nil {
			return err
		}
		if c.Bool("json") {
			return term.PrintJSON(env.Out, struct {
				File string `json:"file"`
				store.BackupReport
			}{path, r})
		}
		_, err = fmt.Fprintf(env.Out, "%s: %s with %s, %s pending and %s up to record %d; state.db grew by %s meanwhile\n",
			term.Plain(path), domain.Bytes(r.Bytes), term.Plural(r.Users, "user"), term.Plural(r.Pending, "change"), term.Plural(r.Received, "received event"), r.Last, domain.Bytes(r.Grew))
		return err
	})
}

func dbRestore(env *command.Env, c *urfave.Context) error {
	if err := command.Arguments(c, "FILE"); err != nil {
		return err
	}
	places, err := env.Load(c, config.LoadWithoutSecrets)
	if err != nil {
		return err
	}
	if _, err := os.Stat(c.Args().First()); errors.Is(err, fs.ErrNotExist) {
		return exit.With(exit.NotFound, err)
	}
	if c.Bool("dry-run") {
		return previewRestore(env.Terminal, c, places.DataDir)
	}
	if !c.Bool("yes") {
		if err := command.Confirm(env.Terminal, "everything in "+term.Plain(places.DataDir)+" will be replaced by the backup "+term.Plain(c.Args().First())); err != nil {
			return err
		}
	}
	bar := env.Progress()
	r, err := agent.Restore(c.Context, places, c.Args().First(), env.Version, bar.Tell)
	bar.End()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return exit.With(exit.NotFound, err)
	case err != nil:
		return command.InUse(err)
	case c.Bool("json"):
		return term.PrintJSON(env.Out, r)
	}
	fmt.Fprintf(env.Out, "restored to %s: %s and %s as of %s\n", term.Plain(places.DataDir), term.Plural(r.Users, "user"), term.Plural(r.Received, "received event"),
		r.Made.Format(time.RFC3339))
	if r.Pending > 0 {
		fmt.Fprintf(env.Out, "%s waited then: what of them left since is sent again, under the same change ids\n", term.Plural(r.Pending, "change"))
	}
	if r.Faults > 0 {
		fmt.Fprintf(env.Out, "%s came with the backup:\n", env.Paint.Yellow(term.Plural(r.Faults, "fault")))
		for _, f := range r.Findings {
			fmt.Fprintf(env.Out, "  %-8s %s\n", f.Code, term.Plain(f.Message))
		}
	}
	for i := range r.Salvages {
		if s := &r.Salvages[i]; s.Whole() {
			fmt.Fprintf(env.Out, "%s was rebuilt from its readable parts; nothing was lost\n", term.Plain(s.File))
		} else {
			fmt.Fprintf(env.Out, "%s was rebuilt from its readable parts; %s\n", term.Plain(s.File), env.Paint.Red("lost: "+lossText(s)))
		}
	}
	env.Remark("events received after %s are not in it: let Segment replay them, or reconcile the audiences", r.Made.Format(time.RFC3339))
	return nil
}

// previewRestore reads a whole backup, checks its sums, and prints the data that would replace the present data.
func previewRestore(w *term.Terminal, c *urfave.Context, dataDir string) error {
	bar := w.Progress()
	info, err := store.VerifyBackup(c.Args().First(), bar.Tell)
	bar.End()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return term.PrintJSON(w.Out, info)
	}
	_, err = fmt.Fprintf(w.Out, "%s would be put in place of everything in %s: %s and %s as of %s; a dry run: nothing was changed\n",
		term.Plain(c.Args().First()), term.Plain(dataDir), term.Plural(info.Users, "user"), term.Plural(info.Received, "received event"), info.Made.Format(time.RFC3339))
	return err
}
