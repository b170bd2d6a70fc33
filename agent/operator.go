package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/agent/inspect"
	"personasync/agent/notify"
	"personasync/agent/sending"
	"personasync/agent/verify"
	"personasync/store"
	"personasync/store/domain"
)

// operator carries out what operators ask of the running agent alone.
type operator struct {
	config   func() *config.Config
	store    *store.Store
	inspect  api.Inspector
	senders  *sending.Senders
	verifier *verify.Verifier
	version  string

	elsewhere error // see parts
}

var _ api.Running = (*operator)(nil)

// Configuration implements Running.
func (o *operator) Configuration(context.Context) (*api.Configuration, error) {
	c := o.config()
	return &api.Configuration{File: c.Path, Settings: c.Effective()}, nil
}

// Authenticate implements Running.
func (o *operator) Authenticate(ctx context.Context) (api.Authentication, error) {
	return authenticate(ctx, o.config()), nil
}

// TestNotify implements Running.
func (o *operator) TestNotify(ctx context.Context) ([]api.NotifyTest, error) {
	return notify.Test(ctx, notifyConfig(o.config(), o.version)), nil
}

// TestNotify sends a test message to every receiver of c. It has the running agent send it, which has all secrets and the
// agent's network, and sends it itself only if none runs. load reads c with its secrets.
func TestNotify(ctx context.Context, c *config.Config, load func() (*config.Config, error), version string) (list []api.NotifyTest, where string, err error) {
	client, err := api.Dial(ctx, c.Socket(os.Getenv), version)
	if errors.Is(err, api.ErrNotRunning) {
		if c, err = load(); err != nil {
			return nil, "", err
		}
		return notify.Test(ctx, notifyConfig(c, version)), "the agent is not running: this command sends the message itself", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer client.Close()
	list, err = client.TestNotify(ctx)
	return list, client.Where(), err
}

// Flush implements Running.
func (o *operator) Flush(_ context.Context, computation string) (r api.FlushReceipt, err error) {
	if err := o.store.Writes(); err != nil {
		return r, err
	}
	if o.elsewhere != nil {
		return r, fmt.Errorf("%w, so nothing was flushed: `personasync status` says what to do", o.elsewhere)
	}
	job, err := inspect.JobOf(&o.store.View, o.config().Rules(), computation)
	if err != nil {
		return r, err
	}
	counts, err := o.store.Counts()
	if err != nil {
		return r, err
	}
	if err := o.unlessPaused(computation); err != nil {
		return r, err
	}
	pause, err := o.store.Pause()
	if err != nil {
		return r, err
	}
	if pause.Holds(time.Now()) {
		return r, fmt.Errorf("%w (%s), so nothing was flushed: `personasync outbox resume` first", api.ErrPaused, pause.Why)
	}
	o.senders.Flush(job)
	if job != nil {
		r.Job = sending.JobTitle(*job)
	}
	r.Pending = counts.Changes.Pending
	return r, nil
}

// unlessPaused returns an error if the computation of a key or an id is paused.
func (o *operator) unlessPaused(computation string) error {
	list, err := o.store.Computations()
	for _, c := range list {
		if c.Pause != nil && (c.Key == computation || c.ID == computation) {
			return fmt.Errorf("%w for %s (%s), so nothing was flushed: `personasync outbox resume --computation %s` first", api.ErrPaused, computation, c.Pause.Why, store.Arguments(c.Pause.Name()))
		}
	}
	return err
}

// Retry implements Running.
func (o *operator) Retry(ctx context.Context, order api.ActionOrder) (*api.ActionReceipt, error) {
	if err := o.store.Writes(); err != nil { // also where there is nothing to act on
		return nil, err
	}
	return retries(o.store, o.inspect).carryOut(ctx, order)
}

// Drop implements Running.
func (o *operator) Drop(ctx context.Context, order api.ActionOrder) (*api.ActionReceipt, error) {
	if err := o.store.Writes(); err != nil {
		return nil, err
	}
	return drops(o.store, o.inspect).carryOut(ctx, order)
}

// VerifyUser implements Running.
func (o *operator) VerifyUser(ctx context.Context, user string, settle time.Duration) (*api.UserVerification, error) {
	return o.verifier.User(ctx, user, settle)
}

// Verify implements Running.
func (o *operator) Verify(ctx context.Context, order api.VerifyOrder, progress func(done, total int64)) (*api.VerifyReport, error) {
	if err := o.store.Writes(); err != nil {
		return nil, err
	}
	return o.verifier.Verify(ctx, order, progress)
}

// orders carries out orders on an open store.
type orders struct {
	store *store.Store
	rules func() domain.Rules
}

// Order implements Orders.
func (d orders) Order(ctx context.Context, o api.Order, progress func(done, total int64)) (store.MembershipReport, error) {
	ctx = store.WithOperator(ctx, o.By)
	switch o.Verb {
	case "import", "baseline":
		return d.store.Import(ctx, store.Import{
			Key: o.Key, AsOf: o.AsOf, Events: o.Events, DryRun: o.DryRun, Baseline: o.Verb == "baseline",
			Create: isConfigured(d.rules(), o.Key), Users: o.Users, Progress: progress,
		})
	case "reconcile":
		return d.store.Reconcile(ctx, o.Key, o.Events, o.DryRun, progress)
	case "reconcile_told":
		return d.store.ReconcileTold(ctx, o.Key, o.Since, o.Until, o.Events, o.DryRun, progress)
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
func (d orders) Forget(ctx context.Context, o api.ForgetOrder) (store.ForgetReport, error) {
	switch {
	case !o.MoEngage:
		return d.store.Forget(ctx, o.User)
	case !d.rules().Deletes.Send:
		return store.ForgetReport{}, api.ErrDeletesOff
	}
	return d.store.ForgetEverywhere(ctx, o.User, cmp.Or(o.By, "operator"))
}

// isConfigured reports whether a section of the configuration names a key. Such a computation may have members before its
// first event. A section that names an id as well does not tell its key.
func isConfigured(rules domain.Rules, key string) bool {
	return slices.ContainsFunc(rules.Sections, func(s domain.Section) bool { return s.Key == key && s.ID == "" })
}
