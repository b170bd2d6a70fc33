package store

import (
	"fmt"
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/query"
)

// Whoever answers with other words each time does not make the statistics grow.
func TestCausesOfAReasonAreBounded(t *testing.T) {
	var all []domain.StatLine
	for i := range 10 * query.StatCauses {
		cause := fmt.Sprintf("r: %c%d", 'a'+i%26, i)
		all = query.MergeStats(all, []domain.StatLine{{State: "parked", Reason: "r", Cause: cause, Count: 1, Samples: []string{"x"}}})
	}
	sum := uint64(0)
	for _, l := range all {
		sum += l.Count
	}
	if len(all) > query.StatCauses+1 || sum != 10*query.StatCauses {
		t.Errorf("%d lines that add up to %d", len(all), sum)
	}
}
