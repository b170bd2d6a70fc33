package outbox

import (
	"bytes"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/turn"
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

// expects reports whether what is told, once what waits has left, is what is wanted.
func expects(e *state.Entry, t domain.Transition, want []byte, unknownExit bool) bool {
	if e.Waiting.Pending() {
		return bytes.Equal(e.Waiting.Value, want)
	}
	return e.Waiting.ID.IsZero() && e.InFlight.ID.IsZero() && needless(e, t, want, unknownExit)
}

// promote moves the users whose wait is over into the lanes of their cohorts. An operator's flush ends
// the wait for a retry, and not the one for being known.
func (d *leaser) promote() {
	for _, lane := range [...]uint32{state.LaneRetry, state.LaneRetryBulk} {
		for _, at := range d.due(lane, turn.ClassRetry) {
			d.promoteOne(at)
		}
	}
}

func (d *leaser) promoteOne(at dueEntry) {
	u := d.b.User(at.user)
	if d.strays(u, at.DuePlace) {
		return
	}
	u.Index.Endpoint(domain.EndpointCohort).Retry = 0
	if d.isDue(state.LaneRetry, u.Index.Deferred) && !d.o.Force || int64(u.Index.Deferred) <= d.o.Now.Unix() {
		u.Index.Deferred = 0
	}
	u.Dirty = true
	d.b.Reindex(u)
	u.WasDue = u.Index.DuePlaces(u.WasDue[:0])
}
