package domain

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// apply is what a store does with a comparison.
func apply(previous *Assertion, next Assertion, membership bool) *Assertion {
	switch Compare(previous, next, membership) {
	case CompareChanged:
		next.Since = next.Time
		return &next
	case CompareUnchanged:
		next.Since = previous.Since
		return &next
	case CompareDuplicate:
		if !membership {
			previous.Agree(next)
		}
	}
	return previous
}

// TestEveryOrderOfArrivalEndsInTheSameState delivers the same assertions, some at equal times, in random orders.
func TestEveryOrderOfArrivalEndsInTheSameState(t *testing.T) {
	for _, membership := range []bool{true, false} {
		for seed := range uint64(200) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			var list []Assertion
			for i := range 2 + rnd.IntN(6) {
				a := Assertion{Value: JSONTrue, Time: int64(rnd.IntN(4)), Message: fmt.Sprint("m", i)}
				if rnd.IntN(2) == 0 {
					a.Value = JSONFalse
				}
				if membership {
					a.Message = ""
				}
				list = append(list, a)
			}
			want := ""
			for range 20 {
				rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
				var state *Assertion
				for _, a := range slices.Clone(list) {
					state = apply(state, a, membership)
				}
				got := fmt.Sprintf("%s at %d", state.Value, state.Time)
				if want == "" {
					want = got
				}
				if got != want {
					t.Fatalf("membership %t, seed %d: one order ends in %s, another in %s: %+v", membership, seed, want, got, list)
				}
			}
		}
	}
}

func TestAtEqualTimesAnExitWinsAndTheGreaterMessageID(t *testing.T) {
	at := func(value, message string, time int64) Assertion {
		return Assertion{Value: []byte(value), Message: message, Time: time}
	}
	for _, c := range []struct {
		name           string
		previous, next Assertion
		membership     bool
		want           Comparison
	}{
		{"exit after enter", at("true", "", 1), at("false", "", 1), true, CompareChanged},
		{"enter after exit", at("false", "", 1), at("true", "", 1), true, CompareStale},
		{"the same enter", at("true", "", 1), at("true", "", 1), true, CompareDuplicate},
		{"a newer enter", at("true", "", 1), at("true", "", 2), true, CompareUnchanged},
		{"an older exit", at("true", "", 2), at("false", "", 1), true, CompareStale},
		{"greater message id", at("1", "a", 1), at("2", "b", 1), false, CompareChanged},
		{"smaller message id", at("1", "b", 1), at("2", "a", 1), false, CompareStale},
		{"the same number in another spelling", at("450", "a", 1), at("450.0", "b", 1), false, CompareDuplicate},
	} {
		if got := Compare(&c.previous, c.next, c.membership); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if Compare(nil, at("false", "", 0), true) != CompareChanged {
		t.Error("a first assertion must always be a change")
	}
}

// TestAReadmittedMemberStaysOneWhenTheExitComesAgain: Segment delivers at least once.
func TestAReadmittedMemberStaysOneWhenTheExitComesAgain(t *testing.T) {
	exit := Assertion{Value: JSONFalse, Time: 5}
	member := exit
	member.Readmit(9)
	if !member.IsIn() || member.Seq != 9 {
		t.Fatalf("not readmitted: %+v", member)
	}
	if got := Compare(&member, exit, true); got != CompareStale {
		t.Errorf("the repeated exit is %d, want stale", got)
	}
	if got := Compare(&member, Assertion{Value: JSONFalse, Time: 7}, true); got != CompareChanged {
		t.Errorf("a newer exit is %d, want changed", got)
	}
}
