package domain

import (
	"reflect"
	"testing"
)

// TestEveryColumnOfALedgerCounts: a column that the sum forgets would let events vanish.
func TestEveryColumnOfALedgerCounts(t *testing.T) {
	for _, l := range []interface{ Balances() bool }{new(EventLedger), new(ChangeLedger)} {
		v := reflect.ValueOf(l).Elem()
		for i := 1; i < v.NumField(); i++ {
			v.Field(0).SetUint(1)
			v.Field(i).SetUint(1)
			if name := v.Type().Field(i).Name; !l.Balances() {
				t.Errorf("%T does not balance with one in %s", l, name)
			}
			v.Field(0).SetUint(2)
			if l.Balances() {
				t.Errorf("%T balances though one is missing", l)
			}
			v.Field(i).SetUint(0)
		}
	}
}

func TestEveryOutcomeAndStateHasItsColumn(t *testing.T) {
	var events EventLedger
	for o := OutcomeIgnored; o <= OutcomeParked; o++ {
		events.Count(o)
		if events.Accepted = uint64(o) + 1; !events.Balances() {
			t.Errorf("an event that is %q is counted nowhere", o)
		}
	}
	var changes ChangeLedger
	seen := map[*uint64]State{}
	for s := StatePending; s <= StateExpired; s++ {
		c := changes.Column(s)
		if other, twice := seen[c]; twice {
			t.Errorf("%s and %s share a column", s, other)
		}
		seen[c] = s
	}
}

func TestABacklogNeverGoesBelowZero(t *testing.T) {
	b := Backlog{Users: 1, Events: 2}
	b.Move(Backlog{Users: 1, Events: 5}, Backlog{Members: 3})
	if want := (Backlog{Members: 3}); b != want {
		t.Errorf("%+v, want %+v", b, want)
	}
}
