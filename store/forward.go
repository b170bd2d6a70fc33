package store

import (
	"encoding/json"
	"slices"
)

// forwardTraits sends along the other traits of an identify that the policy names.
func (b *batch) forwardTraits(u *user, f *field, p *Policy, c *cause) (result fate) {
	e := c.event
	if len(p.ForwardTraits) == 0 || e.Call != CallIdentify || p.Send == SendNone || e.Object.Len == 0 {
		return fateIgnored
	}
	var traits map[string]json.RawMessage
	if json.Unmarshal(e.Bytes(e.Object), &traits) != nil {
		return fateIgnored
	}
	all := slices.Contains(p.ForwardTraits, "*")
	for _, name := range sortedNames(traits) {
		own := name == f.key || slices.ContainsFunc(e.Columns, func(c Column) bool { return c.Name == name })
		if own || !all && !slices.Contains(p.ForwardTraits, name) {
			continue
		}
		if owner := b.st.registry.owners[claim{KindAttribute, name}]; owner != nil && !owner.forwarded() {
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

func sortedNames(m map[string]json.RawMessage) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
