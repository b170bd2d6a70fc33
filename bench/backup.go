//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"personasync/bench/internal/child"
	"personasync/bench/internal/seed"
)

// backupLoads is how many times as long as another load this one takes, so that it meets every part of a backup: its
// writing, the restore that proves it, and the check of what was restored.
const backupLoads = 6

// measureBackup compares the latency of posts while one scheduled backup after another is written and proven with the
// latency without. Two copies of a store take turns, under the released program: it proves a backup in a process of its own.
func measureBackup(ctx context.Context, b *bench) error {
	program, err := b.product(ctx)
	if err != nil {
		return err
	}
	kept, err := keptSeed(ctx, b, "users", backupUsers(b))
	if err != nil {
		return err
	}
	for rep := range b.reps {
		for _, with := range []bool{false, true} {
			if err := besideBackups(ctx, b, program, kept, with); err != nil {
				return err
			}
		}
		b.say("backup %d/%d  p99 %6.2f ms without, %6.2f ms beside %.0f backups", rep+1, b.reps,
			b.book.Last("backup/without/p99"), b.book.Last("backup/with/p99"), b.book.Last("backup/made"))
	}
	return nil
}

// backupUsers is how many users are in the store that is backed up.
func backupUsers(b *bench) int { return b.sizes.Users[1] }

func besideBackups(ctx context.Context, b *bench, program, kept string, with bool) (err error) {
	dir, err := b.folder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := seed.CopyFiles(ctx, kept, dir); err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	backups, name, text := dir+"-backups", "backup/without", productConfig(dir, address)
	defer os.RemoveAll(backups)
	if with {
		name = "backup/with"
		text = fmt.Appendf(text, "[backup]\nschedule = \"@every 1s\"\ndir = %q\nkeep = 1000\n", backups)
		if err := os.Mkdir(backups, 0o700); err != nil {
			return err
		}
	}
	settings := filepath.Join(b.work, "agent.toml")
	if err := os.WriteFile(settings, text, 0o600); err != nil {
		return err
	}
	c := &child.Child{Command: exec.Command(program, "run", "--config", settings)}
	c.End = func() error { return c.Command.Process.Signal(syscall.SIGTERM) }
	c.Command.Env = []string{} // our environment must not affect it
	if err := c.Launch(ctx, func() error { return firstEvent(ctx, address, 0) }); err != nil {
		return err
	}
	c.PID, c.Address = c.Command.Process.Pid, address
	defer func() { err = errors.Join(err, c.Stop()) }()
	r, err := press(ctx, b, c, b.eventsOver(backupUsers(b)), 1, steady, backupLoads*b.during)
	if err != nil {
		return err
	}
	record(b, name, r)
	if !with {
		return nil
	}
	made, err := filepath.Glob(filepath.Join(backups, "*.tar"))
	if err != nil {
		return err
	}
	if len(made) == 0 {
		b.notice("no backup was written and proven within %v: its figures are of a part of one", backupLoads*b.during)
	}
	b.book.Add("backup/made", float64(len(made)))
	return nil
}
