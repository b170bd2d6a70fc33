package upkeep

import (
	"strings"
	"testing"

	"personasync/agent"
	"personasync/cli/internal/term"
)

// TestFaultsStandOnLinesOfTheirOwn: doctor printed the line breaks between the faults of a configuration as \\u000a.
func TestFaultsStandOnLinesOfTheirOwn(t *testing.T) {
	var out strings.Builder
	err := PrintFindings(&term.Terminal{Out: &out}, []agent.Finding{{Check: "config", State: "fail", Message: "a.toml: 2 faults\n  a.toml:1: one\n  a.toml:2: \x1btwo", Do: "correct it"}})
	if err != nil {
		t.Fatal(err)
	}
	margin := strings.Repeat(" ", 19)
	want := "fail  config       a.toml: 2 faults\n" + margin + "  a.toml:1: one\n" + margin + "  a.toml:2: \\u001btwo\n" + margin + "→ correct it\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
