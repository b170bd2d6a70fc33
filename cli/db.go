package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"personasync/cli/internal/exit"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/config"
	"personasync/store"
)

func dbCommand(env *shell) *urfave.Command {
	return &urfave.Command{
		Name:  "db",
		Usage: "look after the data: check, compact, back up, restore",
		Subcommands: []*urfave.Command{
			{
				Name:  "check",
				Usage: "read everything and count it again",
				Description: "Checks the checksum of every record and every row, adds the ledger up, and holds every index\n" +
					"against what it points at. While the agent is stopped the pages of the files are followed, too.\n" +
					"Nothing is changed. Ends with 1 when something is wrong.\n\n" +
					"Example: personasync db check --json",
				Flags:  []urfave.Flag{jsonFlag()},
				Action: env.action(dbCheck),
			},
			{
				Name:  "compact",
				Usage: "give back the room that deleted data leaves in state.db",
				Description: "The agent goes on taking events and delivering meanwhile. It does this unasked when more than\n" +
					"half of a large file is free. It needs 1.2 times what is live as free disk.\n\n" +
					"Example: personasync db compact",
				Flags:  []urfave.Flag{jsonFlag()},
				Action: env.action(dbCompact),
			},
			{
				Name:      "backup",
				Usage:     "write a backup to FILE, while the agent runs or not",
				ArgsUsage: "FILE",
				Description: "FILE is a tar with the state at one moment, the events received and not applied by then, and\n" +
					"checksums. It appears when it is whole, and replaces an older backup of that name only.\n" +
					"It holds user ids, and everybody who was not yet forgotten.\n\n" +
					"Example: personasync db backup /var/backups/personasync-$(date +%F).tar",
				Flags:  []urfave.Flag{jsonFlag()},
				Action: env.action(dbBackup),
			},
			{
				Name:      "restore",
				Usage:     "put the backup FILE in place of the data",
				ArgsUsage: "FILE",
				Description: "The agent must be stopped. The backup is read, checked and opened before anything is replaced.\n" +
					"What was received after it was made is not in it: let Segment replay that time, or run\n" +
					"`personasync audience reconcile`. What left after it was made is sent again, under the same change ids.\n\n" +
					"As a service, stop the socket as well, or the next delivery starts the agent; and restore as the user\n" +
					"that owns the data: `runuser -u personasync -- personasync db restore FILE`.\n\n" +
					"Example: personasync db restore /var/backups/personasync-2026-03-14.tar --dry-run",
				Flags:  []urfave.Flag{yesFlag(), dryRunFlag(), jsonFlag()},
				Action: env.action(dbRestore),
			},
		},
	}
}

func dbCheck(env *shell, c *urfave.Context) error {
	if err := arguments(c); err != nil {
		return err
	}
	return env.upkeep(c, func(u agent.Upkeep, _ string, bar *progressBar) error {
		r, err := u.Check(c.Context, bar.tell)
		if bar.end(); err != nil {
			return err
		}
		if err := printCheck(env.terminal, r, c.Bool("json")); err != nil || r.OK() {
			return err
		}
		if r.OnlyCopies() {
			return errors.New("no data is damaged, and a file among those of the inbox does not belong there: start the agent, which sets a copy aside, or says what to do")
		}
		return fmt.Errorf("the data is damaged (%s): keep a copy of the directory and restore the last good backup with `personasync db restore FILE`; "+
			"or start the agent after removing the file \"running\" beside it: it then saves what can be read, keeps the damaged files aside, and says what was lost",
			plural(r.Faults, "fault"))
	})
}

func printCheck(w *terminal, r *store.CheckReport, json bool) error {
	if json {
		return printJSON(w.out, struct {
			OK bool `json:"ok"`
			*store.CheckReport
		}{r.OK(), r})
	}
	verdict := w.paint.green("everything is as it should be")
	if !r.OK() {
		verdict = w.paint.red(plural(r.Faults, "fault"))
	}
	fmt.Fprintf(w.out, "%s: %s in %s, %s pending, %s held, %s parked, %s closed, %s in the inbox; %s\n",
		store.Bytes(r.Bytes), plural(r.Users, "user"), plural(r.Rows, "row"), count(r.Pending), count(r.Held), count(r.Parked), count(r.History),
		plural(r.Records, "record"), verdict)
	for _, f := range r.Findings {
		fmt.Fprintf(w.out, "  %-8s %s\n", f.Code, plain(f.Message))
	}
	if more := r.Faults - uint64(len(r.Findings)); more > 0 {
		fmt.Fprintf(w.out, "  and %s more\n", count(more))
	}
	if r.Damaged > 0 {
		fmt.Fprintf(w.out, "%s set aside earlier\n", plural(r.Damaged, "damaged row"))
	}
	if !r.Pages {
		w.remark("the pages of the files are followed only while the agent is stopped; state.db grew by %s meanwhile", store.Bytes(r.Grew))
	}
	return nil
}

func dbCompact(env *shell, c *urfave.Context) error {
	if err := arguments(c); err != nil {
		return err
	}
	return env.upkeep(c, func(u agent.Upkeep, _ string, bar *progressBar) error {
		r, err := u.Compact(c.Context, bar.tell)
		if bar.end(); err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(env.out, r)
		}
		_, err = fmt.Fprintf(env.out, "state.db had %s and has %s; it took %s, of which delivery stood still for %s\n",
			store.Bytes(r.Before), store.Bytes(r.After), roughly(r.Took), roughly(r.Pause))
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

func dbBackup(env *shell, c *urfave.Context) error {
	if err := arguments(c, "FILE"); err != nil {
		return err
	}
	path, err := filepath.Abs(c.Args().First())
	if err != nil {
		return err
	}
	return env.upkeep(c, func(u agent.Upkeep, dir string, bar *progressBar) error {
		var r store.BackupReport
		err := store.CreateBackup(dir, path, func(w io.Writer) (err error) {
			r, err = u.Backup(c.Context, w, bar.tell)
			return err
		})
		if bar.end(); err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(env.out, struct {
				File string `json:"file"`
				store.BackupReport
			}{path, r})
		}
		_, err = fmt.Fprintf(env.out, "%s: %s with %s, %s pending and %s up to record %d; state.db grew by %s meanwhile\n",
			plain(path), store.Bytes(r.Bytes), plural(r.Users, "user"), plural(r.Pending, "change"), plural(r.Received, "received event"), r.Last, store.Bytes(r.Grew))
		return err
	})
}

func dbRestore(env *shell, c *urfave.Context) error {
	if err := arguments(c, "FILE"); err != nil {
		return err
	}
	places, err := env.load(c, config.LoadWithoutSecrets)
	if err != nil {
		return err
	}
	if _, err := os.Stat(c.Args().First()); errors.Is(err, fs.ErrNotExist) {
		return exit.With(exit.NotFound, err)
	}
	if c.Bool("dry-run") {
		return previewRestore(env.terminal, c, places.DataDir)
	}
	if !c.Bool("yes") {
		if err := confirm(env.terminal, "everything in "+plain(places.DataDir)+" will be replaced by the backup "+plain(c.Args().First())); err != nil {
			return err
		}
	}
	bar := env.progress()
	r, err := agent.Restore(c.Context, places, c.Args().First(), Version(), bar.tell)
	bar.end()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return exit.With(exit.NotFound, err)
	case err != nil:
		return inUse(err)
	case c.Bool("json"):
		return printJSON(env.out, r)
	}
	fmt.Fprintf(env.out, "restored to %s: %s and %s as of %s\n", plain(places.DataDir), plural(r.Users, "user"), plural(r.Received, "received event"),
		r.Made.Format(time.RFC3339))
	if r.Pending > 0 {
		fmt.Fprintf(env.out, "%s waited then: what of them left since is sent again, under the same change ids\n", plural(r.Pending, "change"))
	}
	if r.Faults > 0 {
		fmt.Fprintf(env.out, "%s came with the backup:\n", env.paint.yellow(plural(r.Faults, "fault")))
		for _, f := range r.Findings {
			fmt.Fprintf(env.out, "  %-8s %s\n", f.Code, plain(f.Message))
		}
	}
	for i := range r.Salvages {
		if s := &r.Salvages[i]; s.Whole() {
			fmt.Fprintf(env.out, "%s was made anew from what could be read of it; nothing was lost\n", plain(s.File))
		} else {
			fmt.Fprintf(env.out, "%s was made anew from what could be read of it; %s\n", plain(s.File), env.paint.red("lost: "+lossText(s)))
		}
	}
	env.remark("events received after %s are not in it: let Segment replay them, or reconcile the audiences", r.Made.Format(time.RFC3339))
	return nil
}

// previewRestore reads a whole backup, checks its sums, and says what it would put in place of the data.
func previewRestore(w *terminal, c *urfave.Context, dataDir string) error {
	bar := w.progress()
	info, err := store.VerifyBackup(c.Args().First(), bar.tell)
	bar.end()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(w.out, info)
	}
	_, err = fmt.Fprintf(w.out, "%s would be put in place of everything in %s: %s and %s as of %s; a dry run: nothing was changed\n",
		plain(c.Args().First()), plain(dataDir), plural(info.Users, "user"), plural(info.Received, "received event"), info.Made.Format(time.RFC3339))
	return err
}
