package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/scheduler"
	"personasync/store"
)

// Prover restores the backup at path into the folder scratch, checks it, and removes the folder: see store.ProveBackup.
type Prover func(ctx context.Context, path, scratch string) (*store.CheckReport, error)

// Keeper makes backups, one at a time: the scheduler does not begin a run of its job before the last one has ended.
type Keeper struct {
	store *store.Store
	prove Prover
	log   *slog.Logger
}

// New returns a Keeper of backups of s. A nil prove proves them in this process, which a damaged file may end.
func New(s *store.Store, prove Prover, log *slog.Logger) *Keeper {
	if prove == nil {
		prove = store.ProveBackup
	}
	return &Keeper{store: s, prove: prove, log: log}
}

// Jobs returns the job that makes the backups of c; none if no schedule is set.
func (k *Keeper) Jobs(c *config.Config) ([]scheduler.Job, error) {
	if c.Backup.Schedule == "" {
		return nil, nil
	}
	schedule, err := scheduler.Parse(c.Backup.Schedule, c.Location())
	if err != nil {
		return nil, fmt.Errorf("schedule of %s: %w", condition.BackupJob, err)
	}
	return []scheduler.Job{{
		Name: condition.BackupJob, Schedule: schedule, CatchUp: c.Schedule.CatchUp == "once",
		Do: func(ctx context.Context, _ time.Time) error {
			return k.run(ctx, c.DataDir, c.Backup.Dir, c.Backup.Keep)
		},
	}}, nil
}

// run makes one backup. What fails leaves the earlier ones as they are.
func (k *Keeper) run(ctx context.Context, dataDir, dir string, keep int) error {
	epoch, err := k.store.Epoch()
	if err != nil {
		return err
	}
	p := placeOf(dir, epoch)
	if err := p.clear(); err != nil {
		return err
	}
	defer func() {
		if err := p.clear(); err != nil {
			k.log.Error("what a backup leaves could not be removed", "error", err)
		}
	}()
	if err := p.hasRoom(k.store.Space(), dataDir); err != nil {
		return err
	}
	good, err := k.write(ctx, p)
	if err != nil {
		return p.explain(err)
	}
	if _, err := k.prove(ctx, p.unproven, p.scratch); err != nil {
		return fmt.Errorf("the backup was written, and does not restore; the earlier ones are kept: %w", p.explain(err))
	}
	good.Proven = time.Now().UTC().Round(0)
	if good.File, err = p.name(good.Made); err != nil {
		return p.explain(err)
	}
	if err := k.store.SetGoodBackup(ctx, good); err != nil {
		return err
	}
	removed, err := p.prune(good.File, keep)
	k.log.Info("a backup was written, restored and checked", "file", good.File, "bytes", good.Bytes, "users", good.Users,
		"took", good.Proven.Sub(good.Made).Round(time.Millisecond), "state_grew", good.Grew, "removed", removed)
	return err
}

// retryBusy is the pause before another attempt while the store is compacted, checked or backed up by hand.
const retryBusy = time.Second

// write writes the backup to the hidden file.
func (k *Keeper) write(ctx context.Context, p place) (good store.GoodBackup, err error) {
	f, err := os.OpenFile(p.unproven, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return good, err
	}
	r, err := k.store.Backup(ctx, &paced{file: f}, nil)
	for errors.Is(err, store.ErrUnderway) {
		select {
		case <-ctx.Done():
			return good, errors.Join(context.Cause(ctx), f.Close())
		case <-time.After(retryBusy):
		}
		r, err = k.store.Backup(ctx, &paced{file: f}, nil)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return good, err
	}
	return store.GoodBackup{Made: r.Made, Bytes: r.Bytes, Users: r.Users, Grew: r.Grew, Took: r.Took}, nil
}

// paceBytes is how much is written between two syncs. Without them, the sync at the end would write all of it at once, and
// an acknowledgement on the same disk would wait for that.
const paceBytes = 8 << 20

// paced syncs a file as it grows.
type paced struct {
	file  *os.File
	since int
}

func (p *paced) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	if p.since += n; err == nil && p.since >= paceBytes {
		p.since, err = 0, p.file.Sync()
	}
	return n, err
}
