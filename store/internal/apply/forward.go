package apply

import (
	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// forwardTraits sends the other traits of an identify that the policy names.
func forwardTraits(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *outbox.Cause) (result domain.Outcome) {
	traits := p.ForwardedTraits(f.Key, c.Event)
	for _, name := range state.SortedNames(traits) {
		if tx.State.Registry.CoversTrait(name) {
			continue // a computation of that name describes it better
		}
		forwarded := *p
		forwarded.Send = domain.SendAttribute
		if value(tx, u, forward(tx, name), &forwarded, c, traits[name], false) == domain.OutcomeTransition {
			result = domain.OutcomeTransition
		}
	}
	return result
}
