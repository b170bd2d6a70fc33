package agent

import (
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"

	"personasync/agent/config"
	"personasync/store"
)

// reloads reads the configuration again whenever it is asked to. A bad file changes nothing.
func (p *process) reloads(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.o.Reload:
		}
		next, err := p.o.Load()
		if err == nil {
			err = p.reload(ctx, next)
		}
		if err != nil && ctx.Err() == nil {
			p.log.Error("the configuration was not reloaded, the old one goes on", "error", err)
		}
	}
}

// reload puts next in force, all but what needs a restart. What can be refused is tried first.
func (p *process) reload(ctx context.Context, next *config.Config) error {
	old := p.config.Load()
	for _, key := range p.keepFixed(old, next) {
		p.log.Warn("a changed setting takes effect at the next start only", "key", key)
	}
	list, err := jobs(next, p.sender)
	if err != nil {
		return err
	}
	if p.certs != nil {
		if err := p.certs.read(); err != nil {
			return err
		}
	}
	if err := p.store.SetRules(ctx, next.Rules()); err != nil {
		return err
	}
	p.store.SetRetention(storeOptions(next, p.log))
	p.config.Store(next)
	p.door.Reconfigure(doorConfig(next))
	p.sender.Reconfigure(senderConfig(next))
	p.scheduler.Replace(list...)
	if p.o.Level != nil {
		_ = p.o.Level.UnmarshalText([]byte(next.Log.Level)) // Load has checked it
	}
	p.log.Info("configuration reloaded")
	if changed := changedRules(old.Rules(), next.Rules()); len(changed) > 0 {
		p.log.Warn("rules changed: they hold for events from now on, nothing is sent back in time; `personasync audience reconcile KEY` does that",
			"computations", changed)
	}
	return nil
}

// keepFixed undoes in next what only a restart can change, and names it.
func (p *process) keepFixed(old, next *config.Config) (changed []string) {
	fixed := func(key string, was string, is *string) {
		if was != *is {
			changed = append(changed, key)
			*is = was
		}
	}
	fixed("data_dir", old.DataDir, &next.DataDir)
	fixed("ingest.listen", old.Ingest.Listen, &next.Ingest.Listen)
	fixed("ingest.tls_cert", old.Ingest.TLSCert, &next.Ingest.TLSCert)
	fixed("ingest.tls_key", old.Ingest.TLSKey, &next.Ingest.TLSKey)
	fixed("admin.listen", old.Admin.Listen, &next.Admin.Listen)
	fixed("admin.socket", old.Admin.Socket, &next.Admin.Socket)
	fixed("log.format", old.Log.Format, &next.Log.Format)
	return changed
}

// changedRules names the computations that are treated differently from now on; "(defaults)" stands
// for all that have no section.
func changedRules(old, next store.Rules) []string {
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

func sections(r store.Rules) map[string]store.Policy {
	m := map[string]store.Policy{"(defaults)": r.Defaults}
	for _, s := range r.Sections {
		name := s.Key
		if s.ID != "" {
			name = s.ID
		}
		m[name] = s.Policy
	}
	return m
}

// LogLevel is the level of a configuration's word; info for one that is none.
func LogLevel(word string) slog.Level {
	var l slog.Level
	if l.UnmarshalText([]byte(word)) != nil {
		return slog.LevelInfo
	}
	return l
}
