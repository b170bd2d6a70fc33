package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/cli/internal/upkeep"
	"personasync/store"
	"personasync/store/domain"
)

func dbCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "db",
		Usage: "check, compact, back up, restore or move the data",
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
				Action: env.Action(dbBackup, "FILE"),
			},
			dbRestoreCommand(env),
			dbMoveCommand(env),
		},
	}
}

// onFiles refuses a command that works on files where PostgreSQL keeps the data, and says what does its work there.
func onFiles(env *command.Env, c *urfave.Context, work string) error {
	places, err := env.LoadPlaces(c)
	if err != nil || !places.Store.OnPostgres() {
		return err
	}
	return exit.Usage("%s", upkeep.ByPostgres(work, places.Store.Address(), places.Store.Schema))
}

func dbCheck(env *command.Env, c *urfave.Context) error {
	return env.Upkeep(c, func(u api.Upkeep, _ string, bar *term.Bar) error {
		r, err := u.Check(c.Context, bar.Tell)
		if bar.End(); err != nil {
			return err
		}
		if err := upkeep.PrintCheck(env.Terminal, r, c.Bool("json")); err != nil || r.OK() {
			return err
		}
		if r.OnlyCopies() {
			return errors.New("no data is damaged, and a file among those of the inbox does not belong there: start the agent, which sets a copy aside, or says what to do")
		}
		if r.Engine != "" {
			return fmt.Errorf("the data in PostgreSQL is damaged (%s): keep a copy (pg_dump), stop the agents, and restore the last good backup of PostgreSQL", term.Plural(r.Faults, "fault"))
		}
		places, err := env.LoadPlaces(c)
		if err != nil {
			return err
		}
		return fmt.Errorf("the data is damaged (%s): keep a copy of the directory, stop the agent if it runs, `rm -f %s`, and start it: "+
			"it then salvages all readable data, keeps the damaged files aside, and `personasync status` lists the losses. If these are worse than those of all events "+
			"since the last good backup, restore that with `personasync db restore FILE`",
			term.Plural(r.Faults, "fault"), domain.ShellWord(filepath.Join(places.DataDir, "running")))
	})
}

func dbCompact(env *command.Env, c *urfave.Context) error {
	if err := onFiles(env, c, "compact"); err != nil {
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
			domain.Bytes(r.Before), domain.Bytes(r.After), upkeep.Roughly(r.Took), upkeep.Roughly(r.Pause))
		return err
	})
}

func dbBackup(env *command.Env, c *urfave.Context) error {
	if err := onFiles(env, c, "backup"); err != nil {
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
