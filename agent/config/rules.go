package config

import "personasync/store"

// Rules returns the part of the configuration that decides the effect of an event, as the store's type.
func (c *Config) Rules() store.Rules {
	r := store.Rules{
		Defaults:   c.Defaults.rules(),
		OnDelete:   c.Ingest.OnDelete,
		Guard:      store.Guard{Share: c.Guard.ExitShare, Count: uint64(c.Guard.ExitCount), Window: c.Guard.Window.Duration},
		MessageIDs: c.Retention.MessageIDs.Duration,
	}
	for i := range c.Computations {
		r.Sections = append(r.Sections, c.Computations[i].section())
	}
	return r
}

func (c *Computation) section() store.Section {
	p := c.Policy.rules()
	p.Attribute = c.Attribute
	p.CohortName = c.CohortName
	p.Unguarded = !c.Guard
	if c.Schedule != "" {
		p.Job = c.Name()
	}
	return store.Section{Key: c.Key, ID: c.ID, Policy: p}
}

func (p *Policy) rules() store.Policy {
	return store.Policy{
		Send:          p.Send,
		Anonymous:     identity(p.Anonymous),
		EmailOnly:     identity(p.EmailOnly),
		UnknownExit:   p.UnknownExit == "send",
		OnNull:        store.NullPolicy(p.OnNull),
		ForwardTraits: p.ForwardTraits,
		ListAttribute: p.ListAttribute,
		MaxEventAge:   p.MaxEventAge.Duration,
		EnterEvent:    p.EnterEvent,
		ExitEvent:     p.ExitEvent,
		TraitEvent:    p.TraitEvent,
		Collapse:      p.Collapse,
	}
}

// identity drops the kind of identifier from the word, because the key already states it.
func identity(word string) store.IdentityPolicy {
	switch word {
	case "use_anonymous_id", "use_email":
		return store.IdentityUse
	case "ignore":
		return store.IdentityIgnore
	}
	return store.IdentityPark
}
