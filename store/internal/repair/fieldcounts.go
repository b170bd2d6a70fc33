package repair

import (
	"personasync/store/domain"
	"personasync/store/internal/state"
)

// fieldCounts are the counters that fields keep of their changes that are not sent, and those of deletes, counted again from
// the changes and the rows.
type fieldCounts struct {
	held, rollout, paused, withheld map[uint32]uint64 // by field

	deletes state.Deletes // changes that delete users, by state
}

func newFieldCounts() fieldCounts {
	return fieldCounts{held: make(map[uint32]uint64), rollout: make(map[uint32]uint64), paused: make(map[uint32]uint64), withheld: make(map[uint32]uint64)}
}

// kept counts a change that stands among the parked or the held ones.
func (n *fieldCounts) kept(ch *state.Stored, place domain.State) {
	if place == domain.StateHeld {
		n.held[ch.Field]++
		switch ch.Reason {
		case domain.ReasonRollout:
			n.rollout[ch.Field]++
		case domain.ReasonPaused:
			n.paused[ch.Field]++
		}
	}
	if ch.Kind == domain.KindDelete {
		n.deletes.Count(place, 1)
	}
}
