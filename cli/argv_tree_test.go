package cli

import (
	"slices"
	"strings"
	"testing"

	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/argv"
)

// Every flag of every command means the same behind an argument as before it. urfave/cli by itself
// takes it for an argument, in silence.
func TestEveryFlagMayStandBehindAnArgument(t *testing.T) {
	app := newApp(testShell())
	checked := 0
	eachLeaf(app.Commands, []string{app.Name}, func(path []string, c *urfave.Command) {
		for _, f := range slices.Concat(c.Flags, app.Flags) {
			flag := []string{"--" + f.Names()[0]}
			if d, ok := f.(urfave.DocGenerationFlag); ok && d.TakesValue() {
				flag = append(flag, "1")
			}
			before, err := argv.Arrange(app, slices.Concat(path, flag, []string{"ARG"}))
			if err != nil {
				t.Errorf("%s %s ARG: %v", strings.Join(path, " "), flag, err)
				continue
			}
			behind, err := argv.Arrange(app, slices.Concat(path, []string{"ARG"}, flag))
			if err != nil || !slices.Equal(before, behind) {
				t.Errorf("%s ARG %s is run as %q (%v), before the argument as %q", strings.Join(path, " "), flag, behind, err, before)
			}
			if !slices.Equal(behind[len(behind)-2:], []string{"--", "ARG"}) {
				t.Errorf("%q does not end in its argument", behind)
			}
			checked++
		}
	})
	if checked == 0 {
		t.Fatal("no flag was found")
	}
}

// A flag's name takes a value in every command or in none: the line is split before the command is known.
func TestFlagNamesMeanTheSameInEveryCommand(t *testing.T) {
	app := newApp(testShell())
	values := argv.ValueFlags(app)
	eachLeaf(app.Commands, []string{app.Name}, func(path []string, c *urfave.Command) {
		for _, f := range c.Flags {
			d, ok := f.(urfave.DocGenerationFlag)
			for _, name := range f.Names() {
				if takes := ok && d.TakesValue(); takes != values[name] {
					t.Errorf("%s --%s takes a value: %t, elsewhere: %t", strings.Join(path, " "), name, takes, values[name])
				}
			}
		}
	})
}

func eachLeaf(commands []*urfave.Command, path []string, visit func([]string, *urfave.Command)) {
	for _, c := range commands {
		here := slices.Concat(path, []string{c.Name})
		if len(c.Subcommands) == 0 {
			visit(here, c)
		}
		eachLeaf(c.Subcommands, here, visit)
	}
}
