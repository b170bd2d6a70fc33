package agent

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/coreos/go-systemd/v22/daemon"

	"personasync/agent/config"
	"personasync/agent/host"
	"personasync/agent/internal/servicemanager"
	"personasync/agent/sending"
	"personasync/store/domain"
)

// At SIGHUP, which the caller of Run passes on by RunOptions.Reload, the agent reads its configuration and its secrets
// again, and reload puts them in force: the TLS certificate, credentials and limits of ingest, both senders, the verifier,
// notify, retention, schedules and the log. The rules are recorded in the inbox, so that they hold for the events after them.
// Config.Succeed in package config names what keeps its value until a restart. A configuration with a fault changes nothing.

// reloader puts a new configuration in force.
type reloader struct {
	*parts
	certs     *host.Certificates // nil without TLS
	notifier  *servicemanager.Notifier
	outside   *outside // nil in files
	load      func() (*config.Config, error)
	relog     func(config.Log) // may be nil
	recorded  func()           // is called once new rules are on disk
	version   string
	inherited bool // ingest listens where the service manager says
}

// run reloads at each signal until ctx is done.
func (r *reloader) run(ctx context.Context, signals <-chan os.Signal) error {
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-signals:
		}
		r.notifier.Tell(daemon.SdNotifyReloading)
		next, err := r.load()
		if err == nil {
			err = r.reload(ctx, next)
		}
		r.refused.Store(refusedReload(err))
		if r.outside != nil {
			r.outside.refused.Store(r.refused.Load())
		}
		r.notifier.Tell(daemon.SdNotifyReady, r.notifier.Status())
		if err != nil && ctx.Err() == nil {
			r.log.Error("the configuration was not reloaded, the old one goes on", "reload", n, "error", err)
		}
	}
}

// reload puts next in force, except for what needs a restart. What can be refused comes first, so that a refusal
// leaves everything as it was.
func (r *reloader) reload(ctx context.Context, next *config.Config) error {
	old := r.config.Load()
	if r.inherited {
		next.Ingest.Listen = old.Ingest.Listen
	}
	kept, err := next.Succeed(old)
	if err != nil {
		return fmt.Errorf("beside the settings that need a restart, and so stay as they are: %w", err)
	}
	if err := errors.Join(next.LosesCredentials(old), next.MovesWorkspace(old)); err != nil {
		return err
	}
	if _, err := r.store.SendTo(ctx, next.Workspace()); err != nil && r.elsewhere == nil {
		return err
	}
	list, err := r.jobs(next)
	if err != nil {
		return err
	}
	pair, err := r.certs.Read(&next.Ingest)
	if err != nil {
		return err
	}
	if err := r.store.SetRules(ctx, next.Rules()); err != nil {
		return fmt.Errorf("record the rules: %w", err)
	}

	r.recorded()
	r.config.Store(next)
	r.certs.Use(pair)
	r.ingest.Reconfigure(ingestConfig(next))
	r.senders.Reconfigure(next)
	r.notify.Reconfigure(notifyConfig(next, r.version))
	if r.outside != nil {
		r.outside.Reconfigure(outsideConfig(next, r.version))
	}
	r.verifier.Reconfigure(sending.Config(next, domain.EndpointTransition))
	r.store.SetRetention(storeOptions(next, r.log))
	r.scheduler.Replace(list...)
	if r.relog != nil {
		r.relog(next.Log)
	}
	r.report(old, next, kept)
	return nil
}

// report logs which settings and rules changed, and which keep their values until a restart.
func (r *reloader) report(old, next *config.Config, kept []string) {
	r.log.Info("configuration reloaded")
	for _, key := range kept {
		r.log.Warn("a changed setting takes effect at the next start only", "key", key)
	}
	if changed := domain.ChangedRules(old.Rules(), next.Rules()); len(changed) > 0 && r.store.Role().Writer {
		r.log.Warn("rules changed: they hold for events from now on. A changed consent, share, holdout or only_users_file is compared with every known user now; of any other change nothing is sent for them until `personasync audience reconcile KEY`",
			"computations", changed)
	}
}
