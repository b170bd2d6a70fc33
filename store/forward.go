package store

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
)

// forwardTraits sends along the other traits of an identify that the policy names.
func (b *batch) forwardTraits(u *user, f *field, p *Policy, c *cause) (result fate) {
	traits := p.forwardedTraits(f.key, c.event)
	for _, name := range sortedNames(traits) {
		if b.st.registry.spoken(name) {
			continue // a computation of its own says this better
		}
		forwarded := *p
		forwarded.Send = SendAttribute
		if b.value(u, b.forward(name), &forwarded, c, traits[name], false) == fateTransition {
			result = fateTransition
		}
	}
	return result
}

// forwardedTraits are the traits of an event of the computation key that the policy sends along.
func (p *Policy) forwardedTraits(key string, e *Event) map[string]json.RawMessage {
	if len(p.ForwardTraits) == 0 || e.Call != CallIdentify || p.Send == SendNone || e.Object.Len == 0 {
		return nil
	}
	var traits map[string]json.RawMessage
	if json.Unmarshal(e.Bytes(e.Object), &traits) != nil {
		return nil
	}
	all := slices.Contains(p.ForwardTraits, "*")
	maps.DeleteFunc(traits, func(name string, _ json.RawMessage) bool {
		own := name == key || slices.ContainsFunc(e.Columns, func(c Column) bool { return c.Name == name })
		return own || !all && !slices.Contains(p.ForwardTraits, name)
	})
	return traits
}

// spoken reports whether a computation, or a column of one, is called like a trait and speaks under its
// name. It says the trait better. Another's name that the trait would only be renamed to is a conflict.
func (r *registry) spoken(name string) bool {
	owner := r.owners[claim{KindAttribute, AttributeName(name)}]
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
