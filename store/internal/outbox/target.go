package outbox

import (
	"personasync/store/domain"
	"personasync/store/internal/state"
)

// UpdateTargets sends the membership, as it is now, to the cohort and the list. They have one membership, where a
// computation may keep identify and track apart. So a transition of one of the two may change nothing here, and a
// repeat of the older one may.
func UpdateTargets(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, en *state.Entry, c *Cause) {
	t, want := en.Membership()
	for _, target := range state.Targets(tx, f, p) {
		e := tx.Entry(u, target.Number)
		if expects(tx, u, target, e, t, want, p.UnknownExit) {
			continue
		}
		WantAttribute(tx, u, target, p, e, c, t, want)
	}
}
