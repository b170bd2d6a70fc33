package outbox

import (
	"fmt"
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// keepEvent makes the event of an enter or an exit, and holds it for a reason.
func (b *box) keepEvent(user string, in bool, m int, why string) domain.ID {
	b.Helper()
	return b.makeEvent(user, in, m, func(tx *state.Tx, u *state.User, f *state.Field, ch *state.Stored) {
		HoldEvent(tx, u, f, policy(tx, f), ch, why, tx.Now)
	})
}

// TestEventsThatARolloutHoldsCollapse: an enter and an exit cancel each other, whichever is first, and a repeat takes the
// place of the one before.
func TestEventsThatARolloutHoldsCollapse(t *testing.T) {
	for _, c := range []struct {
		in     []bool
		states []domain.State
	}{
		{[]bool{true, false}, []domain.State{domain.StateCancelled, domain.StateCancelled}},
		{[]bool{false, true}, []domain.State{domain.StateCancelled, domain.StateCancelled}},
		{[]bool{true, true}, []domain.State{domain.StateSuperseded, domain.StateHeld}},
		{[]bool{false, false}, []domain.State{domain.StateSuperseded, domain.StateHeld}},
	} {
		t.Run(fmt.Sprint(c.in), func(t *testing.T) {
			b := newAudience(t, guarded(), 2)
			var ids []domain.ID
			for i, in := range c.in {
				ids = append(ids, b.keepEvent("user0", in, i+1, domain.ReasonRollout))
			}
			for i, want := range c.states {
				b.wantState(ids[i], want)
			}
		})
	}
}

// TestAReturnLeavesTheExitThatAPauseHolds: both events are sent when the pause ends. What a rollout holds is void.
func TestAReturnLeavesTheExitThatAPauseHolds(t *testing.T) {
	b := newAudience(t, guarded(), 8)
	paused, unreached := b.keepEvent("user0", false, 1, domain.ReasonPaused), b.keepEvent("user1", false, 1, domain.ReasonRollout)
	b.observe("user0", true, 2)
	b.observe("user1", true, 2)
	b.wantState(paused, domain.StateHeld)
	b.wantState(unreached, domain.StateCancelled)
}
