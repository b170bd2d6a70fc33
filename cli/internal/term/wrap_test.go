package term

import (
	"strings"
	"testing"
)

// TestACommandInAHintIsNeverBroken: it was wrapped at 80 columns, also where the output was piped.
func TestACommandInAHintIsNeverBroken(t *testing.T) {
	const command = "`personasync --config /etc/personasync/a-long-name.toml audience adopt high_value_shoppers 'two  blanks'`"
	text := "one two three four five six seven eight nine ten: " + command + " and so on, to the end of a sentence that is longer than a line"
	w := testTerminal()
	if got := w.Beside(text, 12); got != text {
		t.Errorf("piped, it is %q", got)
	}
	w.attached = true
	got := w.Beside(text, 12)
	if !strings.Contains(got, command) || strings.Count(got, "\n") != 2 {
		t.Errorf("at a terminal it is\n%s", got)
	}
}
