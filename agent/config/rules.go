package config

import (
	"slices"

	"personasync/store/domain"
)

// Rules returns the part of the configuration that decides the effect of an event, as the store's type.
func (c *Config) Rules() domain.Rules {
	r := domain.Rules{
		Defaults:   c.Defaults.rules(),
		OnDelete:   c.Ingest.OnDelete,
		Deletes:    c.MoEngage.rules(),
		Guard:      domain.Guard{Share: c.Guard.ExitShare, Count: uint64(c.Guard.ExitCount), Window: c.Guard.Window.Duration},
		MessageIDs: c.Retention.MessageIDs.Duration,
		Journal:    c.History.Keep.Duration > 0,
		Lists:      c.lists,
	}
	for i := range c.Computations {
		r.Sections = append(r.Sections, c.Computations[i].section())
	}
	return r
}

func (c *Computation) section() domain.Section {
	p := c.Policy.rules()
	p.Attribute = c.Attribute
	p.CohortName = c.CohortName
	p.Unguarded = !c.Guard
	if c.Schedule != "" {
		p.Job = c.Name()
	}
	return domain.Section{Key: c.Key, ID: c.ID, Policy: p}
}

func (p *Policy) rules() domain.Policy {
	return domain.Policy{
		Send:          p.Send,
		Anonymous:     identity(p.Anonymous),
		EmailOnly:     identity(p.EmailOnly),
		UnknownExit:   p.UnknownExit == "send",
		OnNull:        domain.NullPolicy(p.OnNull),
		ForwardTraits: p.ForwardTraits,
		ListAttribute: p.ListAttribute,
		MaxEventAge:   p.MaxEventAge.Duration,
		EnterEvent:    p.EnterEvent,
		ExitEvent:     p.ExitEvent,
		TraitEvent:    p.TraitEvent,
		Collapse:      p.Collapse,
		Consent:       sortedSet(p.Consent),
		Rollout:       p.rollout(),
	}
}

// sortedSet returns the texts in order, each once, and nil for none, so that equal policies compare as equal.
func sortedSet(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

// identity drops the kind of identifier from the word, because the key already states it.
func identity(word string) domain.IdentityPolicy {
	switch word {
	case "use_anonymous_id", "use_email":
		return domain.IdentityUse
	case "ignore":
		return domain.IdentityIgnore
	}
	return domain.IdentityPark
}

// rules are zero where nobody is deleted, so that a bound that is not used changes no rules.
func (d Deletes) rules() domain.Deletes {
	if !d.DeleteUsers {
		return domain.Deletes{}
	}
	return domain.Deletes{Send: true, PerDay: uint64(d.MaxDeletesPerDay)}
}
