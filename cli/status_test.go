package cli

import (
	"testing"

	"personasync/agent/condition"
)

func TestTheForecastIsReadable(t *testing.T) {
	for want, d := range map[string]*condition.Drain{
		"; the drain takes 41 min 0 s at 10,000 users/min":        {Seconds: 2460, Limit: "users", PerMinute: 10_000},
		"; the drain takes 1 h 15 min at 300 cohort requests/min": {Seconds: 4500, Limit: "cohorts", PerMinute: 300},
		"": {Seconds: 60, Limit: "events", PerMinute: 30_000},
	} {
		if got := drainText(d); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
