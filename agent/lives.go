package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"personasync/agent/config"
	"personasync/agent/host"
	"personasync/agent/ingest"
	"personasync/store"
	syncer "personasync/sync"
)

// Where several agents share a store in PostgreSQL, one of them is its writer, and the others are doors. When the role of an
// agent ends, the process ends all its parts in order and makes them anew for the other role, as a restart would. So a
// take-over is nothing but a start: it settles what the last writer left under way, and cron catches up. The sockets of
// ingest and admin stay open meanwhile, and deliveries wait in the queue.

// errRoleEnded ends one life of the process. It is syncer.ErrTakenOver, so that no request goes on beside those of the next
// writer.
var errRoleEnded error = roleEnded{}

type roleEnded struct{}

func (roleEnded) Error() string { return "the role of this agent ended" }
func (roleEnded) Unwrap() error { return syncer.ErrTakenOver }

// lifeRetry is the pause before a life that could not begin is tried again, as while a standby is promoted.
const lifeRetry = time.Second

// runShared runs an agent whose store several agents share, until ctx is done or it cannot go on.
func runShared(ctx context.Context, c *config.Config, o RunOptions) (err error) {
	if o.shared, err = connectStore(ctx, c, o); err != nil {
		return err
	}
	defer o.shared.Close()
	kept, err := host.Keep(ctx, "ingest.listen", c.Ingest.Listen, o.Ingest)
	if err != nil {
		return err
	}
	defer kept.Close()
	o.kept = o.Ingest == nil
	admin := &host.Kept{}
	if c.Admin.Listen != "" {
		if admin, err = host.Keep(ctx, "admin.listen", c.Admin.Listen, nil); err != nil {
			return err
		}
	}
	defer admin.Close()
	if announce := o.Ready; announce != nil {
		var once sync.Once
		o.Ready = func(at Addresses) { once.Do(func() { announce(at) }) }
	}
	for begun := false; ; begun = true {
		if o.Ingest, err = kept.Again(); err != nil {
			return err
		}
		if o.admin, err = admin.Again(); err != nil {
			return err
		}
		c, err = live(ctx, c, o)
		switch {
		case errors.Is(err, errRoleEnded) && ctx.Err() != nil:
			return nil
		case ctx.Err() != nil || !begun && !errors.Is(err, errRoleEnded):
			return err
		case errors.Is(err, errRoleEnded):
			o.Log.Info("the role of this agent has ended, and the next begins", "error", err)
		default:
			o.Log.Error("the agent cannot go on; it begins again in a second", "error", err)
			refuse(ctx, c, o, kept, err)
		}
	}
}

// refuse answers deliveries with 503 and the reason for as long as a life that could not begin waits to be tried again.
func refuse(ctx context.Context, c *config.Config, o RunOptions, kept *host.Kept, why error) {
	if l, err := kept.Again(); err == nil && l != nil {
		h := ingest.New(ingestConfig(c), nil, o.Log)
		h.SetUnready(why.Error())
		most, _ := host.ConnectionLimits()
		server := host.NewServer(o.Log, "ingest", l, most, h)
		if c.Ingest.TLSCert != "" {
			if certs, err := host.NewCertificates(&c.Ingest); err == nil {
				server.HTTP.TLSConfig = certs.Config()
			}
		}
		go server.Run()
		defer server.Stop(adminPatience)
	}
	_ = pause(ctx, lifeRetry)
}

// connectStore connects to the store that several agents share.
func connectStore(ctx context.Context, c *config.Config, o RunOptions) (*store.Shared, error) {
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("ask for the name of this host: %w", err)
	}
	if c.Admin.Listen != "" {
		name += " (admin.listen = " + c.Admin.Listen + ")"
	}
	shared, err := store.Connect(ctx, sharedConfig(c, name, o.Version, o.Log))
	if err != nil {
		return nil, fmt.Errorf("store.url: %w", err)
	}
	return shared, nil
}

// storeRetry is the pause before a store that another agent is making is opened again.
const storeRetry = 250 * time.Millisecond

// openShared opens the shared store in the role that this agent has now.
func openShared(ctx context.Context, c *config.Config, o RunOptions, options store.Options) (*store.Store, error) {
	for {
		s, err := o.shared.Open(ctx, c.DataDir, options)
		if !errors.Is(err, store.ErrBusy) {
			return s, err
		}
		if pause(ctx, storeRetry) != nil {
			return nil, cmp.Or(context.Cause(ctx), err)
		}
	}
}

// endWithRole ends the life of the process with its role.
func (p *process) endWithRole(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-p.store.RoleEnded():
		p.unready("the agent changes its role")
		if why := p.store.RoleEndedBy(); why != nil {
			return fmt.Errorf("%w: %w", errRoleEnded, why)
		}
		return errRoleEnded
	}
}

// knowEvery is the pause between two looks at the computations.
const knowEvery = time.Minute

// knowComputations has the ingest of a door know the computations, as the housekeeper of a writer does.
func (p *process) knowComputations(ctx context.Context) error {
	for {
		if seen, err := p.store.Computations(); err == nil {
			p.ingest.Know(seen)
		}
		if pause(ctx, knowEvery) != nil {
			return nil
		}
	}
}
