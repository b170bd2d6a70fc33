package domain

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestEveryCategoryAskedForMustBeGiven(t *testing.T) {
	some := &Preferences{Given: []string{"Advertising", "Marketing"}}
	for _, tc := range []struct {
		p     *Preferences
		asked []string
		want  bool
	}{
		{nil, nil, true}, {some, nil, true}, {&Preferences{}, nil, true},
		{nil, []string{"Marketing"}, false}, {&Preferences{}, []string{"Marketing"}, false},
		{some, []string{"Marketing"}, true}, {some, []string{"Advertising", "Marketing"}, true},
		{some, []string{"Analytics", "Marketing"}, false}, {some, []string{"marketing"}, false},
	} {
		if got := tc.p.Covers(tc.asked); got != tc.want {
			t.Errorf("%v covers %v: %v", tc.p, tc.asked, got)
		}
	}
}

// TestTheNewestConsentWinsInAnyOrder compares all orders of arrival.
func TestTheNewestConsentWinsInAnyOrder(t *testing.T) {
	type said struct {
		at    int64
		given []string
	}
	statements := []said{{1, []string{"a"}}, {2, []string{"a", "b"}}, {2, []string{"b", "c"}}, {3, []string{"b", "c"}}, {3, []string{"a", "b"}}}
	for range 200 {
		rand.Shuffle(len(statements), func(i, j int) { statements[i], statements[j] = statements[j], statements[i] })
		var c Consent
		for i, s := range statements {
			c.Update(&Preferences{Given: s.given}, s.at, uint64(i+1), false)
		}
		if !slices.Equal(c.Given, []string{"b"}) || c.Time != 3 {
			t.Fatalf("%v: %+v", statements, c)
		}
	}
}

func TestAStatementIsCompared(t *testing.T) {
	var c Consent
	for i, tc := range []struct {
		at    int64
		given []string
		want  Comparison
		kept  string
	}{
		{5, nil, CompareChanged, "[] 5"},
		{5, nil, CompareDuplicate, "[] 5"},
		{6, []string{"a"}, CompareChanged, "[a] 6"},
		{5, nil, CompareStale, "[a] 6"},
		{7, []string{"a"}, CompareUnchanged, "[a] 6"},
		{7, []string{"b"}, CompareChanged, "[] 7"},
	} {
		got := c.Update(&Preferences{Given: tc.given}, tc.at, uint64(i+1), true)
		if kept := fmt.Sprintf("%v %d", c.Given, c.Since); got != tc.want || kept != tc.kept || c.Time < tc.at {
			t.Errorf("statement %d: %d, kept %s until %d; want %d, %s", i, got, kept, c.Time, tc.want, tc.kept)
		}
	}
}
