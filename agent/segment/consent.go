package segment

import (
	"slices"

	"personasync/store/domain"
)

// preferences reads context.consent.categoryPreferences (consent-in-segment-connections). Only a category whose value is
// the JSON true is given. "conflict", which Segment writes on merged profiles, is not, and neither is any other value: a
// text "true" is no yes that Segment documents. An empty object refuses every category. Without the object, or with
// another value in its place, the event says nothing: only an object is a statement, and to take a mapping's mistake for
// a refusal would remove the user everywhere.
//
// A category beyond the limits of [domain.Preferences] is left out and so counts as refused. One whose name has half a
// surrogate pair looks like others, and is refused too.
func (r *reader) preferences() *domain.Preferences {
	if r.top.consent.Len == 0 {
		return nil
	}
	object, _ := r.member(r.top.consent, "categoryPreferences")
	if r.first(object) != '{' {
		return nil
	}
	given := make(map[string]bool)
	for m := r.walk(object); m.next(); {
		if len(m.name) == 0 || len(m.name) > domain.MaxCategory || r.halfName && m.halved() {
			continue
		}
		given[string(m.name)] = r.first(m.value) == 't' // of duplicates the last counts
	}
	p := &domain.Preferences{}
	for category, yes := range given {
		if yes {
			p.Given = append(p.Given, category)
		}
	}
	slices.Sort(p.Given)
	p.Given = p.Given[:min(len(p.Given), domain.MaxCategories)]
	return p
}
