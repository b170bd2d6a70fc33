//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"personasync/bench/internal/seed"
)

// mostLoads bounds the loads beside a backup that is never proven.
const mostLoads = 40

// measureBackup compares the latency of posts while a scheduled backup is written, restored and checked with the latency
// without one. Two copies of a store take turns, under the released program: it proves a backup in a process of its own.
// The load is repeated until a backup is proven, and as often without one. Of each series the worst load counts, because a
// backup has parts that the median would hide.
func measureBackup(ctx context.Context, b *bench) error {
	program, err := b.product(ctx)
	if err != nil {
		return err
	}
	kept, err := keptSeed(ctx, b, "users", backupUsers(b))
	if err != nil {
		return err
	}
	for rep := range b.long {
		loads, err := besideBackups(ctx, b, program, kept, mostLoads, true)
		if err != nil {
			return err
		}
		b.book.Add("backup/loads", float64(loads))
		if _, err := besideBackups(ctx, b, program, kept, loads, false); err != nil {
			return err
		}
		b.say("backup %d/%d  p99 of the worst of %d loads %6.2f ms beside a backup, %6.2f ms without", rep+1, b.long, loads,
			b.book.Last("backup/with/p99"), b.book.Last("backup/without/p99"))
	}
	return nil
}

// backupUsers is how many users are in the store that is backed up.
func backupUsers(b *bench) int { return b.sizes.Users[1] }

// besideBackups loads an agent until it has proven a backup, at most so often, and returns how often.
func besideBackups(ctx context.Context, b *bench, program, kept string, most int, with bool) (loads int, err error) {
	dir, err := b.folder()
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := seed.CopyFiles(ctx, kept, dir); err != nil {
		return 0, err
	}
	address, err := freeAddress()
	if err != nil {
		return 0, err
	}
	backups, name, text := dir+"-backups", "backup/without", quietConfig(dir, address)
	if with {
		name = "backup/with"
		text = fmt.Appendf(text, "[backup]\nschedule = \"@every 1s\"\ndir = %q\nkeep = 1\n", backups)
		if err := os.Mkdir(backups, 0o700); err != nil {
			return 0, err
		}
		defer os.RemoveAll(backups)
	}
	c, err := b.launch(ctx, program, text, address, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	worst, sent, proven := pressed{}, uint64(1), []string(nil)
	for loads = 0; loads < most && len(proven) == 0; loads++ {
		r, err := press(ctx, b, c, b.eventsOver(backupUsers(b)), sent, steady, b.during)
		if err != nil {
			return 0, err
		}
		if sent += r.Sent; loads == 0 || r.Quantile(0.99) > worst.Quantile(0.99) {
			worst = r
		}
		if proven, err = filepath.Glob(filepath.Join(backups, "*.tar")); err != nil {
			return 0, err
		}
	}
	if with && len(proven) == 0 {
		b.notice("no backup was written and proven during %d loads: the figures are of a part of one", loads)
	}
	record(b, name, worst)
	return loads, nil
}
