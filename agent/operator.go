package agent

import (
	"context"
	"fmt"
	"time"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/agent/inspect"
	"personasync/agent/notify"
	"personasync/agent/sending"
	"personasync/agent/verify"
	"personasync/store"
)

// operator carries out what operators ask of the running agent alone.
type operator struct {
	config   func() *config.Config
	store    *store.Store
	inspect  api.Inspector
	senders  *sending.Senders
	verifier *verify.Verifier
	version  string
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

// Flush implements Running.
func (o *operator) Flush(_ context.Context, computation string) (r api.FlushReceipt, err error) {
	if err := o.store.Writes(); err != nil {
		return r, err
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
	return retries(o.store, o.inspect).carryOut(ctx, order)
}

// Drop implements Running.
func (o *operator) Drop(ctx context.Context, order api.ActionOrder) (*api.ActionReceipt, error) {
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
