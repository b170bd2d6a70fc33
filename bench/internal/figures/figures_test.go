//go:build linux

package figures

import (
	"math"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBook(t *testing.T) {
	b := make(Book)
	for i, v := range []float64{4, 1, 3} {
		b.Add("a", v)
		b.Add("b", float64(i+1))
	}
	if got := b.Median("a"); got != 3 {
		t.Errorf("median %v, want 3", got)
	}
	if got := b.Ratio("a", "b"); got != 1 { // of 4, 0.5 and 1
		t.Errorf("ratio %v, want 1", got)
	}
	if got := b.Ratio("a", "nothing"); !math.IsNaN(got) {
		t.Errorf("ratio to nothing is %v", got)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0.1234: "0.123", 1: "1", 12.34: "12.3", 1234: "1,234", 12345.6: "12,346", 1_000_001: "1,000,001", 123.4: "123", math.NaN(): "–",
	} {
		if got := Number(v); got != want {
			t.Errorf("number(%v) = %s, want %s", v, got, want)
		}
	}
}
