package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/agent/host"
	"personasync/agent/internal/place"
	"personasync/store"
)

// Data is what changes memberships and looks after the files.
type Data interface {
	api.Orders
	api.Pauser
	api.Upkeep
}

// OpenData finds what can change the data of the agent of c: the agent itself when it runs, else its files. where says
// which in a sentence. The caller closes done.
func OpenData(ctx context.Context, c *config.Config, version string) (d Data, done io.Closer, where string, err error) {
	client, err := api.Dial(ctx, c.Socket(os.Getenv), version)
	if err == nil {
		return client, client, client.Where(), nil
	}
	if !errors.Is(err, api.ErrNotRunning) {
		return nil, nil, "", err
	}
	if err := place.OrElsewhere(ctx, c, nil); err != nil {
		return nil, nil, "", err
	}
	return files{c}, io.NopCloser(nil), absent(c.DataDir) + ": working on " + dataOf(c), nil
}

// Restore puts a backup in place of the data of the agent of c, which must not be running.
func Restore(ctx context.Context, c *config.Config, path, version string, progress func(done, total int64)) (store.RestoreReport, error) {
	client, err := api.Dial(ctx, c.Socket(os.Getenv), version)
	if err == nil {
		_ = client.Close()
		return store.RestoreReport{}, fmt.Errorf("%w: %s: stop it first; as root, `personasync db restore` stops and starts a unit of systemd itself", store.ErrInUse, client.Where())
	}
	if err := place.MovedFrom(ctx, c); err != nil {
		return store.RestoreReport{}, err
	}
	if err := place.CheckOwner(c.DataDir); err != nil {
		return store.RestoreReport{}, err
	}
	var r store.RestoreReport
	err = waitForCommand(ctx, c.DataDir, func(store.Holding, time.Duration) {}, func() error {
		r, err = store.Restore(ctx, path, c.DataDir, progress)
		return err
	})
	return r, err
}

// ErrForeignData says that the data directory belongs to another user.
var ErrForeignData = place.ErrForeignData

// files is the data of a stopped agent.
type files struct{ config *config.Config }

// Check implements Upkeep. A damaged page can end the process, which is a command's here and no agent's.
func (f files) Check(ctx context.Context, progress func(done, total int64)) (*store.CheckReport, error) {
	if f.config.Store.OnPostgres() {
		var r *store.CheckReport
		err := f.open(ctx, "db check", func(s *store.Store) (err error) {
			r, err = s.Check(ctx, progress)
			return err
		})
		return r, err
	}
	r, err := store.Check(ctx, f.config.DataDir, progress)
	return r, f.explain(err)
}

// Compact implements Upkeep. It first applies the events that the agent left in its inbox, as a start would.
func (f files) Compact(ctx context.Context, progress func(done, total int64)) (r store.CompactReport, err error) {
	err = f.open(ctx, "db compact", func(s *store.Store) error {
		r, err = s.Compact(ctx, progress)
		return err
	})
	return r, err
}

// Backup implements Upkeep.
func (f files) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (r store.BackupReport, err error) {
	v, err := store.OpenReadOnly(f.config.DataDir)
	if err != nil {
		return r, f.explain(err)
	}
	r, err = v.Backup(ctx, w, progress)
	return r, errors.Join(err, v.Close())
}

// explain adds to err why the files could not be opened.
func (f files) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return host.Denied("the agent's data", f.config.DataDir, err)
	case errors.Is(err, store.ErrNoData):
		return place.OrElsewhere(context.Background(), f.config, place.NoDataError(f.config.DataDir, err))
	}
	return err
}

// Forget implements Orders. A delete at MoEngage is counted by the rules of the configuration, as a start would have it.
func (f files) Forget(ctx context.Context, o api.ForgetOrder) (r store.ForgetReport, err error) {
	err = f.open(ctx, "user forget", func(s *store.Store) error {
		if o.MoEngage {
			if err := s.SetRules(ctx, f.config.Rules()); err != nil {
				return fmt.Errorf("record the rules: %w", err)
			}
		}
		r, err = orders{s, f.config.Rules}.Forget(ctx, o)
		return err
	})
	return r, err
}

// Order implements Orders. It first applies the events that the agent left in its inbox, as a start would.
func (f files) Order(ctx context.Context, o api.Order, progress func(done, total int64)) (r store.MembershipReport, err error) {
	err = f.open(ctx, "audience "+o.Verb, func(s *store.Store) error {
		if err := s.SetRules(ctx, f.config.Rules()); err != nil {
			return fmt.Errorf("record the rules: %w", err)
		}
		r, err = orders{s, f.config.Rules}.Order(ctx, o, progress)
		return err
	})
	return r, err
}

// open opens the store of a stopped agent, applies every received event and runs do. The lock names command to other
// processes. open waits for a command that holds the files.
func (f files) open(ctx context.Context, command string, do func(*store.Store) error) error {
	if err := f.config.Refused(); err != nil {
		return fmt.Errorf("the agent is not running, and its files are only changed with a configuration without faults: %w", err)
	}
	if err := place.CheckOwner(f.config.DataDir); err != nil {
		return err
	}
	options := storeOptions(f.config, slog.New(slog.DiscardHandler))
	options.Command, options.Start = command, ctx
	if f.config.Store.OnPostgres() {
		return f.write(ctx, command, options, do)
	}
	var s *store.Store
	err := waitForCommand(ctx, f.config.DataDir, func(store.Holding, time.Duration) {}, func() (err error) {
		v, err := store.OpenReadOnly(f.config.DataDir) // store.Open would create missing files
		if err != nil {
			return err
		}
		if err := v.Close(); err != nil {
			return err
		}
		s, err = store.Open(f.config.DataDir, options)
		return err
	})
	if err != nil {
		return f.explain(err)
	}
	return carryOut(ctx, s, do)
}

// write is open for a store that several agents share. The command is its writer meanwhile.
func (f files) write(ctx context.Context, command string, options store.Options, do func(*store.Store) error) error {
	shared, err := store.Connect(ctx, sharedConfig(f.config, "personasync "+command, "", options.Log))
	if err != nil {
		return fmt.Errorf("store.url: %w", err)
	}
	defer shared.Close()
	s, err := shared.Open(ctx, f.config.DataDir, options)
	if err != nil {
		return err
	}
	if err := s.Writes(); err != nil {
		return errors.Join(err, s.Close())
	}
	return carryOut(ctx, s, do)
}

// carryOut runs do once every received event is applied, and closes s.
func carryOut(ctx context.Context, s *store.Store, do func(*store.Store) error) error {
	err := s.CaughtUp(ctx)
	if err == nil {
		err = do(s)
	}
	return errors.Join(store.ExplainDamage(err), s.Close())
}
