package verify

import (
	"math"
	"strings"
	"testing"

	"personasync/agent/api"
	"personasync/store"
)

func TestAgreementHasAnIntervalUnlessItIsOfEverybody(t *testing.T) {
	for _, c := range []struct {
		compared, agree, told uint64
		share, low, high      float64
	}{
		// Wilson's interval; the figures are those of R's prop.test(correct = FALSE).
		{1000, 997, 100_000, 0.997, 0.991216, 0.998979},
		{10, 10, 100_000, 1, 0.722467, 1},
		{10, 0, 100_000, 0, 0, 0.277533},
		{4, 3, 4, 0.75, 0.75, 0.75},
	} {
		a := agreement(&store.Verification{Compared: c.compared, Agree: c.agree, Told: c.told})
		near := func(got, want float64) bool { return math.Abs(got-want) < 1e-4 }
		if !near(a.Share, c.share) || !near(a.Low, c.low) || !near(a.High, c.high) {
			t.Errorf("%d of %d: %+v, want %+v", c.agree, c.compared, a, c)
		}
		if exact := a.Level == 1; exact != (c.compared == c.told) {
			t.Errorf("%d of %d of %d: level %v", c.agree, c.compared, c.told, a.Level)
		}
	}
	if a := agreement(&store.Verification{Told: 5}); a != nil {
		t.Errorf("of nobody: %+v", a)
	}
}

func TestOneVerificationAtATime(t *testing.T) {
	v := &Verifier{}
	v.busy.Lock()
	if _, err := v.Verify(t.Context(), api.VerifyOrder{Key: "vip"}, nil); err == nil || !strings.Contains(err.Error(), "another verification") {
		t.Errorf("error %v", err)
	}
}
