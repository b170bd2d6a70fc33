package outbox

import (
	"personasync/store/domain"
	"personasync/store/internal/state"
)

// UpdateTargets has the cohort and the list told of a membership as it is now. They know but one, where
// a computation may keep identify and track apart: what moved one of the two may move nothing here, and
// a repeat of the one may, being newer than the other.
func UpdateTargets(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, en *state.Entry, c *Cause) {
	t, want := en.Membership()
	for _, channel := range state.Targets(tx, f, p) {
		e := tx.Entry(u, channel.Number)
		if expects(e, t, want, p.UnknownExit) {
			continue
		}
		WantAttribute(tx, u, channel, p, e, c, t, want)
		tx.Write(u, channel.Number)
	}
}
