package condition

import (
	"slices"
	"testing"
	"time"
)

// TestAConditionWithoutABeginningHoldsSinceItWasSeen: disk, ledger, behind and clock had no since.
func TestAConditionWithoutABeginningHoldsSinceItWasSeen(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 3, 1, 2, minute, 0, 500, time.UTC) }
	var s Sightings
	look := func(minute int, names ...string) (since []string) {
		var list []Condition
		for _, name := range names {
			list = append(list, Condition{Name: name})
		}
		s.Date(list, at(minute))
		for _, c := range list {
			since = append(since, c.Since)
		}
		return since
	}
	one, two, five := "2026-03-01T02:01:00Z", "2026-03-01T02:02:00Z", "2026-03-01T02:05:00Z"
	for _, c := range []struct{ got, want []string }{
		{look(1, "disk", "parked"), []string{one, ""}},
		{look(2, "ledger", "behind", "clock", "disk"), []string{two, two, two, one}},
		{look(3, "behind"), []string{two}},
		{look(5, "disk", "behind"), []string{five, two}}, // it was over meanwhile
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("since %q, want %q", c.got, c.want)
		}
	}
	list := []Condition{{Name: "disk", Since: one}}
	if s.Date(list, at(6)); list[0].Since != one {
		t.Errorf("a known beginning became %s", list[0].Since)
	}
}

// TestSightedConditionsAreKnown by their names.
func TestSightedConditionsAreKnown(t *testing.T) {
	for _, name := range sighted {
		if !slices.ContainsFunc(Kinds, func(k Kind) bool { return k.Name == name }) {
			t.Errorf("there is no condition %s", name)
		}
	}
}
