package cli

import (
	"strings"
	"testing"

	"personasync/agent"
)

func TestTheForecastIsReadable(t *testing.T) {
	for want, d := range map[string]*agent.Drain{
		"; the drain takes 41 min 0 s at 10,000 users/min":        {Seconds: 2460, Limit: "users", PerMinute: 10_000},
		"; the drain takes 1 h 15 min at 300 cohort requests/min": {Seconds: 4500, Limit: "cohorts", PerMinute: 300},
		"": {Seconds: 60, Limit: "events", PerMinute: 30_000},
	} {
		if got := drainText(d); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestACommandInAHintIsNeverBroken: it was wrapped at 80 columns, also where the output was piped.
func TestACommandInAHintIsNeverBroken(t *testing.T) {
	const command = "`personasync --config /etc/personasync/a-long-name.toml audience adopt high_value_shoppers 'two  blanks'`"
	text := "one two three four five six seven eight nine ten: " + command + " and so on, to the end of a sentence that is longer than a line"
	sh := testShell()
	if got := sh.beside(text, 12); got != text {
		t.Errorf("piped, it is %q", got)
	}
	sh.attached = true
	got := sh.beside(text, 12)
	if !strings.Contains(got, command) || strings.Count(got, "\n") != 2 {
		t.Errorf("at a terminal it is\n%s", got)
	}
}
