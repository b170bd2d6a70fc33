package store

import (
	"fmt"
	"slices"
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// TestAnAmbiguousKeyIsSaidToBeOneThoughNoNameFits: what helps is the whole of context.personas, and not fewer names.
func TestAnAmbiguousKeyIsSaidToBeOneThoughNoNameFits(t *testing.T) {
	defer func(n int) { state.MaxFields = n }(state.MaxFields)
	state.MaxFields = 2
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1), event("ann", "vip", true, 2, func(e *domain.Event) { e.Space, e.ComputationID = "spa_2", "aud_2" }))
	b.receive(event("ann", "vip", false, 3, func(e *domain.Event) { e.Space, e.ComputationID = "", "" }))
	if got := b.parkedReasons(); !slices.Equal(got, []string{"ambiguous_key"}) {
		t.Errorf("parked for %q", got)
	}
}

// TestNamesFromOutsideAreBounded: a client with a write key could make a computation of every event, and
// every look at the state reads all of them.
func TestNamesFromOutsideAreBounded(t *testing.T) {
	defer func(n int) { state.MaxFields = n }(state.MaxFields)
	state.MaxFields = 4
	r := rules(domain.SendAttribute)
	r.Defaults.ForwardTraits = []string{"*"}
	b := open(t, r)
	wide := event("ann", "vip", true, 1)
	wide.Raw = []byte(`{"traits":{"vip":true,"a":1,"b":2,"c":3,"d":4}}`)
	wide.Object = spanOf(wide.Raw, `{"vip":true,"a":1,"b":2,"c":3,"d":4}`)
	b.receive(wide) // a computation and four traits
	b.receive(trait("ann", "row", 1, "x", "1", "y", "2", "z", "3", "w", "4"))
	b.drain()
	b.wantSaid("")

	b.receive(event("ann", "vip", true, 2))
	b.receive(trait("ann", "row", 3, "x", "1", "y", "2"))
	for i := range 5 {
		b.receive(event("ann", fmt.Sprint("made-up-", i), true, 4))
	}
	b.receive(event("ann", "", true, 4, func(e *domain.Event) { e.Key, e.Space, e.ComputationID = "made-up", "", "" }))
	b.drain()
	b.wantSaid("ann.vip=true ann.x=1 ann.y=2")

	b.receive(event("ann", "vip", false, 5), trait("ann", "row", 6, "x", "7", "y", "8"), event("bea", "vip", true, 7))
	b.drain()
	b.wantSaid("ann.vip=false ann.x=7 ann.y=8 bea.vip=true") // what is known is known to the last

	page, _, err := b.Changes(domain.OutboxFilter{State: domain.StateParked})
	must(t, err)
	reasons := map[string]int{}
	for _, c := range page {
		reasons[c.Reason]++
	}
	list, err := b.Computations()
	must(t, err)
	if len(reasons) != 1 || reasons["too_many_names"] != 8 || len(list) != 2 {
		t.Errorf("parked for %v, %d computations are known", reasons, len(list))
	}
	b.balance()
}
