package cli

import (
	"io"
	"slices"
	"strings"
	"testing"

	"personasync/cli/internal/argv"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
)

func testShell() *command.Env {
	return &command.Env{Terminal: &term.Terminal{Out: new(strings.Builder), Err: new(strings.Builder)}}
}

func TestFlagsMayStandAnywhere(t *testing.T) {
	for _, c := range []struct{ name, typed, arranged string }{
		{"before the command", "--config x status", "--config=x status"},
		{"behind the command", "status --config x --json", "--config=x status --json"},
		{"behind an argument", "outbox show 1-2-3 --json", "outbox show --json -- 1-2-3"},
		{"between group and command", "outbox --limit 5 list", "outbox list --limit=5"},
		{"in front of everything", "--json outbox show 1-2-3", "outbox show --json -- 1-2-3"},
		{"with an equals sign", "audience members k --limit=7", "audience members --limit=7 -- k"},
		{"a value that looks like a flag", "outbox list --user --json", "outbox list --user=--json"},
		{"an empty value", "outbox list --user=", "outbox list --user="},
		{"one dash", "outbox list -limit 5", "outbox list -limit=5"},
		{"repeated", "sandbox --fail a --fail b", "sandbox --fail=a --fail=b"},
		{"an argument with a dash behind --", "user show -- --json", "user show -- --json"},
		{"arguments on both sides of --", "user show a -- -b", "user show -- a -b"},
		{"a dash alone is an argument", "config init -", "config init -- -"},
		{"help for a command", "help outbox list", "outbox list --help"},
		{"help among arguments", "user show x -h", "user show --help"},
		{"nothing", "", "--help"},
		{"a flag alone", "--json", "--help"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"personasync"}, strings.Fields(c.typed)...)
			got, err := argv.Arrange(newApp(testShell()), args)
			if err != nil {
				t.Fatal(err)
			}
			if want := append([]string{"personasync"}, strings.Fields(c.arranged)...); !slices.Equal(got, want) {
				t.Errorf("arranged as %q, want %q", got, want)
			}
		})
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, c := range []struct{ typed, want string }{
		{"stauts", "did you mean status?"},
		{"outbox lits", "there is no command `personasync outbox lits`: did you mean list?"},
		{"pause", "did you mean `personasync outbox pause`?"},
		{"show", "`personasync outbox show`"},
		{"explain 413", "did you mean `personasync outbox explain-code`?"},
		{"backup x", "did you mean `personasync db backup`?"},
		{"restart", "`systemctl restart personasync`"},
		{"config set x", "there are `personasync config check`"},
		{"completely-else", "there is no command `personasync completely-else`"},
		{"outbox list --sate x", "did you mean --state?"},
		{"user show x --limit 4", "`personasync user show` has no flag --limit"},
		{"outbox list --limit", "--limit needs a value"},
		{"status --confg x", "did you mean --config?"},
	} {
		_, err := argv.Arrange(newApp(testShell()), append([]string{"personasync"}, strings.Fields(c.typed)...))
		if err == nil || exit.Code(err) != exit.BadUsage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.typed, err, c.want)
		}
	}
}

func FuzzArrange(f *testing.F) {
	for _, s := range []string{"outbox list --limit 5", "-- x", "--config", "help help", "- -", "user show --json=1 -- --", "-=x"} {
		f.Add(s)
	}
	app := newApp(testShell())
	f.Fuzz(func(t *testing.T, typed string) {
		got, err := argv.Arrange(app, append([]string{"p"}, strings.Split(typed, " ")...))
		if err == nil && (len(got) == 0 || got[0] != "p") {
			t.Errorf("%q lost its program: %q", typed, got)
		}
	})
}

// TestAValueThatAFlagDoesNotTakeIsNamed: the words were those of package flag, "invalid value for flag -limit: parse error".
func TestAValueThatAFlagDoesNotTakeIsNamed(t *testing.T) {
	for typed, want := range map[string]string{
		"outbox list --limit abc":                  "--limit abc is no whole number",
		"outbox list --limit 99999999999999999999": "is no whole number of this size",
		"tail -n 3.5":                              "-n 3.5 is no whole number",
		"flush --wait --timeout 5":                 "--timeout 5 is no duration: write 30s, 90m or 12h",
		"status --json=maybe":                      "--json takes no value",
	} {
		app := newApp(testShell())
		app.Writer, app.ErrWriter = io.Discard, io.Discard
		args, err := argv.Arrange(app, append([]string{"personasync"}, strings.Fields(typed)...))
		if err == nil {
			err = app.RunContext(t.Context(), args)
		}
		if err == nil || exit.Code(err) != exit.BadUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", typed, err, want)
		}
	}
}
