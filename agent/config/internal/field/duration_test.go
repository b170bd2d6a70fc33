package field

import (
	"testing"
	"time"
)

func TestDurationPrintsAsPeopleWriteIt(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"72h": 72 * time.Hour, "1h30m": 90 * time.Minute, "5m": 5 * time.Minute, "1m30s": 90 * time.Second,
		"10s": 10 * time.Second, "0s": 0, "1h0m5s": time.Hour + 5*time.Second, "20m": 20 * time.Minute, "1.5s": 1500 * time.Millisecond,
	} {
		var back Duration
		if got := (Duration{d}).String(); got != want {
			t.Errorf("%v prints as %q, want %q", d, got, want)
		} else if err := back.UnmarshalText([]byte(got)); err != nil || back.Duration != d {
			t.Errorf("%q reads back as %v, %v", got, back, err)
		}
	}
}
