package store

import (
	"cmp"
	"encoding/json"
	"slices"

	"personasync/store/domain"
)

// forwardTraits sends along the other traits of an identify that the policy names.
func (b *batch) forwardTraits(u *user, f *field, p *domain.Policy, c *cause) (result domain.Outcome) {
	traits := p.ForwardedTraits(f.key, c.event)
	for _, name := range sortedNames(traits) {
		if b.st.registry.spoken(name) {
			continue // a computation of its own says this better
		}
		forwarded := *p
		forwarded.Send = domain.SendAttribute
		if b.value(u, b.forward(name), &forwarded, c, traits[name], false) == domain.OutcomeTransition {
			result = domain.OutcomeTransition
		}
	}
	return result
}

// spoken reports whether a computation, or a column of one, is called like a trait and speaks under its
// name. It says the trait better. Another's name that the trait would only be renamed to is a conflict.
func (r *registry) spoken(name string) bool {
	owner := r.owners[claim{domain.KindAttribute, domain.AttributeName(name)}]
	return owner != nil && !owner.forwarded() && cmp.Or(owner.sqlColumn(), owner.key) == name
}

func sortedNames(m map[string]json.RawMessage) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
