package outbox

import (
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// TestAMembershipOrAValueIsWithheld without consent: an exit, a value that was taken away and nothing at all are not.
func TestAMembershipOrAValueIsWithheld(t *testing.T) {
	for name, tc := range map[string]struct {
		class domain.Class
		says  []byte // nil: nothing is known
		want  bool
	}{
		"a member":                     {domain.ClassAudience, domain.JSONTrue, true},
		"a user who left":              {domain.ClassAudience, domain.JSONFalse, false},
		"a user who never was one":     {domain.ClassAudience, nil, false},
		"a value":                      {domain.ClassTrait, []byte("7"), true},
		"a value that is false":        {domain.ClassTrait, domain.JSONFalse, true},
		"a value that was taken away":  {domain.ClassTrait, domain.JSONNull, false},
		"a value that never was given": {domain.ClassTrait, nil, false},
	} {
		b := newBox(t, statetest.Rules(domain.SendBoth))
		b.Do(func(tx *state.Tx) {
			u, f := tx.User("ann"), tx.FieldOf(0)
			f.Class = tc.class
			e := tx.Entry(u, 0)
			if tc.says != nil {
				e.Kept[state.KeptOne] = &domain.Assertion{Value: tc.says, Time: 1}
			}
			asks, asksNothing := policy(tx, f), policy(tx, f)
			asks.Consent = []string{"Marketing"}
			count := map[bool]uint64{true: 1}[tc.want]
			for range 2 { // twice is once
				if Mark(tx, u, f, asks, e); e.Withheld != tc.want || f.Withheld != count {
					t.Errorf("%s: withheld %v, want %v, of %d users", name, e.Withheld, tc.want, f.Withheld)
				}
			}
			if Mark(tx, u, f, asksNothing, e); e.Withheld || f.Withheld != 0 {
				t.Errorf("%s, which no consent is needed for: withheld %v, of %d users", name, e.Withheld, f.Withheld)
			}
		})
	}
}
