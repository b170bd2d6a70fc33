package agent

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/store/domain"
)

// reloads reads the configuration again whenever it is asked to. A bad file changes nothing.
func (p *process) reloads(ctx context.Context) error {
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-p.o.Reload:
		}
		p.tellManager(daemon.SdNotifyReloading)
		next, err := p.o.Load()
		if err == nil {
			err = p.reload(ctx, next)
		}
		p.refused.Store(refusedReload(err))
		p.tellManager(daemon.SdNotifyReady, p.statusLine())
		if err != nil && ctx.Err() == nil {
			p.log.Error("the configuration was not reloaded, the old one goes on", "reload", n, "error", err)
		}
	}
}

func refusedReload(err error) *condition.RefusedReload {
	if err == nil {
		return nil
	}
	return &condition.RefusedReload{At: time.Now(), Error: strings.Join(strings.Fields(err.Error()), " ")}
}

// reload puts next in force, all but what needs a restart. Whatever can be refused comes first, so
// that a refusal leaves everything as it was.
func (p *process) reload(ctx context.Context, next *config.Config) error {
	old := p.config.Load()
	if p.o.Ingest != nil {
		next.Ingest.Listen = old.Ingest.Listen // of the socket unit, whatever the file says
	}
	kept, err := next.Succeed(old)
	if err != nil {
		return fmt.Errorf("beside the settings that need a restart, and so stay as they are: %w", err)
	}
	list, err := p.jobs(next)
	if err != nil {
		return err
	}
	pair, err := p.certs.Read(&next.Ingest)
	if err != nil {
		return err
	}
	if err := p.store.SetRules(ctx, next.Rules()); err != nil {
		return fmt.Errorf("record the rules: %w", err)
	}

	p.config.Store(next)
	p.certs.Use(pair)
	p.door.Reconfigure(ingestConfig(next))
	p.senders.Reconfigure(next, p.senderConfig)
	p.verifier.reader.Reconfigure(senderConfig(next, domain.EndpointTransition))
	p.store.SetRetention(storeOptions(next, p.log))
	p.scheduler.Replace(list...)
	if p.o.Relog != nil {
		p.o.Relog(next.Log)
	}
	p.sayReloaded(old, next, kept)
	return nil
}

// sayReloaded tells what of the new configuration holds, from when on, and what does not.
func (p *process) sayReloaded(old, next *config.Config, kept []string) {
	p.log.Info("configuration reloaded")
	for _, key := range kept {
		p.log.Warn("a changed setting takes effect at the next start only", "key", key)
	}
	if changed := changedRules(old.Rules(), next.Rules()); len(changed) > 0 {
		p.log.Warn("rules changed: they hold for events from now on, nothing is sent back in time; `personasync audience reconcile KEY` does that",
			"computations", changed)
	}
}

// changedRules names the computations that are treated differently from now on; "(defaults)" stands
// for all that have no section.
func changedRules(old, next domain.Rules) []string {
	before, after := sections(old), sections(next)
	changed := make(map[string]bool)
	for name, policy := range after {
		if was, ok := before[name]; !ok || !reflect.DeepEqual(was, policy) {
			changed[name] = true
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			changed[name] = true
		}
	}
	return slices.Sorted(maps.Keys(changed))
}

func sections(r domain.Rules) map[string]domain.Policy {
	m := map[string]domain.Policy{"(defaults)": r.Defaults}
	for _, s := range r.Sections {
		name := s.Key
		if s.ID != "" {
			name = s.ID
		}
		m[name] = s.Policy
	}
	return m
}
