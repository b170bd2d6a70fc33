package inspect

import (
	"errors"
	"testing"

	"personasync/store"
	"personasync/store/domain"
)

func TestWhichJobAFlushMeans(t *testing.T) {
	seen := []domain.ComputationInfo{{Key: "a", ID: "aud_1"}, {Key: "twin", ID: "aud_2"}, {Key: "twin", ID: "aud_3"}, {Key: "b", ID: "aud_4"}, {Key: "b", ID: "aud_5"}}
	rules := domain.Rules{Sections: []domain.Section{
		{ID: "aud_2", Policy: domain.Policy{Job: "nightly"}},
		{Key: "unseen", Policy: domain.Policy{Job: "weekly"}},
	}}
	for _, c := range []struct {
		computation, job string
		err              error
	}{
		{"a", "", nil},
		{"aud_2", "nightly", nil},
		{"aud_3", "", nil},
		{"b", "", nil}, // two of that key, but one schedule
		{"unseen", "weekly", nil},
		{"nobody", "", store.ErrNotFound},
	} {
		job, err := pickJob(seen, rules, c.computation)
		if !errors.Is(err, c.err) || err == nil && *job != c.job {
			t.Errorf("%s: %v, %v", c.computation, job, err)
		}
	}
	var ambiguous *store.AmbiguousError
	if _, err := pickJob(seen, rules, "twin"); !errors.As(err, &ambiguous) || len(ambiguous.IDs) != 2 {
		t.Errorf("a key on two schedules: %v", err)
	}
}
