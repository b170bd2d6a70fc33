package metrics

import (
	"fmt"
	"testing"

	"personasync/store/domain"
)

func TestComputationsHaveABoundedNumberOfLabels(t *testing.T) {
	var list []domain.ComputationInfo
	for i := range 10_000 {
		list = append(list, domain.ComputationInfo{Key: fmt.Sprint("aud", i), Members: uint64(i)})
	}
	list = append(list, domain.ComputationInfo{Key: "aud9999", ID: "another", Members: 20_000}) // an id of its own, and no labels
	picked := labelled(list)
	if len(picked) != maxLabelled || picked[0].ID != "another" || picked[1].Key != "aud9998" {
		t.Errorf("%d computations are labelled, beginning with %+v", len(picked), picked[:2])
	}
}
