package condition

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"personasync/store"
)

func TestTheSumOfVerificationsNamesTheWorst(t *testing.T) {
	at := time.Date(2026, 3, 14, 4, 0, 0, 0, time.UTC)
	got := SumVerifications([]store.Verification{
		{Key: "a", Compared: 1000, Differ: 5, At: at},
		{Key: "b", Compared: 10, Differ: 1, At: at.Add(time.Minute)},
		{Key: "c", At: at},
		{Key: "d", At: at, Code: "http_500"},
		{Key: "e", At: at.Add(time.Second), Asked: 20, Compared: 20, Code: "http_403", Error: "refused"},
	})
	failed := at.Add(time.Second)
	want := VerifyStatus{Computations: 5, Compared: 1030, Differ: 6, At: at.Add(time.Minute), Worst: "b", Verified: 3, Unproven: 1,
		Failed: 2, FailedKey: "e", FailedAt: &failed, Code: "http_403", Error: "refused"}
	if diff := cmp.Diff(want, *got); diff != "" {
		t.Errorf("sum (-want +got):\n%s", diff)
	}
	later := at.Add(time.Hour)
	one := SumVerifications([]store.Verification{{Key: "a", Compared: 10, Differ: 2, At: at, Code: "http_403", FailedAt: &later}})
	if f := (&Facts{Now: later, Status: &Status{Verify: one}}); f.verifyDiffers() == nil || f.verifyImpossible() == nil || !one.FailedAt.Equal(later) || !one.At.Equal(at) {
		t.Errorf("differences found before a failure are not shown beside it: %+v", one)
	}
	if SumVerifications(nil) != nil {
		t.Error("a sum of nothing")
	}
}
