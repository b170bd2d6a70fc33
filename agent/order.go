package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/store"
	"personasync/store/domain"
)

// OpenOrders finds whoever can carry out an order: the agent of c when it runs, else its files. where
// says which in a sentence.
func OpenOrders(ctx context.Context, c *config.Config, version string) (o api.Orders, done io.Closer, where string, err error) {
	client, err := api.Dial(ctx, c.Socket(os.Getenv), version)
	if err == nil {
		return client, client, client.Where(), nil
	}
	if !errors.Is(err, api.ErrNotRunning) {
		return nil, nil, "", err
	}
	if err := orElsewhere(ctx, c, nil); err != nil {
		return nil, nil, "", err
	}
	return files{c}, io.NopCloser(nil), absent(c.DataDir) + ": working on its files in " + c.DataDir, nil
}

// orders carries them out on an open store.
type orders struct {
	store *store.Store
	rules func() domain.Rules
}

// Order implements Orders.
func (d orders) Order(ctx context.Context, o api.Order, progress func(done, total int64)) (store.MembershipReport, error) {
	switch o.Verb {
	case "import", "baseline":
		return d.store.Import(ctx, store.Import{
			Key: o.Key, AsOf: o.AsOf, Events: o.Events, DryRun: o.DryRun, Baseline: o.Verb == "baseline",
			Create: isConfigured(d.rules(), o.Key), Users: o.Users, Progress: progress,
		})
	case "reconcile":
		return d.store.Reconcile(ctx, o.Key, o.Events, o.DryRun, progress)
	case "close":
		return d.store.CloseAudience(ctx, o.Key, o.Events, o.DryRun, progress)
	case "adopt":
		return d.store.Adopt(ctx, o.Key, o.ID, o.DryRun, progress)
	case "forget":
		return d.store.Remove(ctx, o.Key, o.DryRun)
	case "release", "discard":
		return d.store.Decide(ctx, o.Key, o.Verb == "discard", o.DryRun, progress)
	}
	return store.MembershipReport{}, fmt.Errorf("%w: there is no order %q", api.ErrUsage, o.Verb)
}

// Forget implements Orders.
func (d orders) Forget(ctx context.Context, user string) (store.ForgetReport, error) {
	return d.store.Forget(ctx, user)
}

// Forget implements Orders.
func (f files) Forget(ctx context.Context, user string) (r store.ForgetReport, err error) {
	err = f.open(ctx, "user forget", func(s *store.Store) error {
		r, err = s.Forget(ctx, user)
		return err
	})
	return r, err
}

// isConfigured reports whether a section of the configuration speaks of a key: then it may have
// members before its first event. An id says nothing of the key that belongs to it.
func isConfigured(rules domain.Rules, key string) bool {
	return slices.ContainsFunc(rules.Sections, func(s domain.Section) bool { return s.Key == key && s.ID == "" })
}

// Order implements Orders. It applies what the agent left in its inbox first, as its start would.
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

// open opens the store of a stopped agent, with what was received applied, for a command that the lock
// names to others. A command that has the files is waited for.
func (f files) open(ctx context.Context, command string, do func(*store.Store) error) error {
	if err := f.config.Refused(); err != nil {
		return fmt.Errorf("the agent is not running, and its files are worked on with a faultless configuration alone: %w", err)
	}
	if err := checkOwner(f.config.DataDir); err != nil {
		return err
	}
	options := storeOptions(f.config, slog.New(slog.DiscardHandler))
	options.Command, options.Start = command, ctx
	var s *store.Store
	err := waitForCommand(ctx, f.config.DataDir, func(store.Holding, time.Duration) {}, func() (err error) {
		v, err := store.OpenReadOnly(f.config.DataDir) // Open would make what is missing
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
	if err = s.CaughtUp(ctx); err == nil {
		err = do(s)
	}
	return errors.Join(err, s.Close())
}
