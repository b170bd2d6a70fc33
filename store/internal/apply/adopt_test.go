package apply

import (
	"strings"
	"testing"

	"personasync/store/domain"
)

// TestAnAdoptionLeavesHeldChangesOfOthers: those of the same users about another computation.
func TestAnAdoptionLeavesHeldChangesOfOthers(t *testing.T) {
	r := sending(t, domain.SendEvent)
	r.events(enter("zoe", "vip", 1), enter("zoe", "top", 1))
	r.events(enter("ann", "top", 2, in("spa_2", "aud_top2")), enter("ann", "vip", 2, in("spa_1", "aud_new")))
	r.adopt("ann")
	var held []string
	for _, ch := range r.changes() {
		if ch.State == domain.StateHeld {
			held = append(held, ch.Computation)
		}
	}
	if strings.Join(held, " ") != "top" {
		t.Errorf("held are %v: %s", held, r.told())
	}
	r.Balance()
}

// TestAnAdoptedAudienceKeepsWhatEachCallSaid: where events are passed on as received, an exit by track ends no membership by identify.
func TestAnAdoptedAudienceKeepsWhatEachCallSaid(t *testing.T) {
	r := sending(t, domain.SendAsReceived)
	again := in("spa_1", "aud_new")
	r.event(exit("zoe", "vip", 1))
	r.events(enter("ann", "vip", 5, again), enter("ann", "vip", 5, again, track("Joined")), exit("ann", "vip", 6, again, track("Left")))
	r.adopt("ann")
	r.deliver()
	if told := r.told(); !strings.Contains(told, "ann.vip=true(delivered)") || strings.Contains(told, "ann.vip=false") {
		t.Errorf("after the adoption: %s", told)
	}
}
