package argv

import (
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/store/domain"
)

// Joined removes the "=" between a flag and its value, of which bash makes a word.
func Joined(typed []string) (words []string) {
	for i, w := range typed {
		if w == "=" && i > 0 && i < len(typed)-1 && strings.HasPrefix(typed[i-1], "-") {
			continue
		}
		words = append(words, w)
	}
	return words
}

// WantsKey reports whether the next argument is the key of a computation.
func WantsKey(app *urfave.App, before []string) bool {
	line, err := split(before, ValueFlags(app))
	if err != nil {
		return false
	}
	command, path, rest, err := resolve(app, line)
	return err == nil && command != nil && len(rest) == 0 && path[0] == "audience" && strings.HasPrefix(command.ArgsUsage, "KEY")
}

// Candidates lists the words that may stand in place of the last word.
func Candidates(app *urfave.App, typed []string) (list []string) {
	if len(typed) == 0 {
		typed = []string{""}
	}
	before, word := typed[:len(typed)-1], typed[len(typed)-1]
	if slices.Contains(before, "--") {
		return nil
	}
	takesValue := ValueFlags(app)
	if n := len(before); n > 0 && isValueFlag(before[n-1], takesValue) {
		return Matching(valuesOf(before[n-1]), word)
	}
	if flag, value, found := strings.Cut(word, "="); found && isValueFlag(flag, takesValue) {
		for _, v := range Matching(valuesOf(flag), value) {
			list = append(list, flag+"="+v)
		}
		return list
	}
	line, err := split(before, takesValue)
	if err != nil {
		return nil
	}
	command, _, rest, err := resolve(app, line)
	if err != nil {
		return nil
	}
	flags, commands := app.Flags, app.Commands
	if command != nil {
		flags, commands = slices.Concat(command.Flags, app.Flags), command.Subcommands
	}
	switch {
	case strings.HasPrefix(word, "-"):
		return Matching(flagLines(flags), word)
	case len(commands) > 0:
		return Matching(commandLines(commands), word)
	case command.Name == "completion" && len(rest) == 0:
		return Matching([]string{"bash", "fish", "zsh"}, word)
	}
	return nil
}

func isValueFlag(word string, takesValue map[string]bool) bool {
	return strings.HasPrefix(word, "-") && !strings.Contains(word, "=") && takesValue[strings.TrimLeft(word, "-")]
}

// valuesOf lists the values of a flag that has only a few.
func valuesOf(flag string) []string {
	if strings.TrimLeft(flag, "-") == "state" {
		return domain.StateNames()
	}
	return nil
}

func commandLines(commands []*urfave.Command) (lines []string) {
	for _, c := range commands {
		if !c.Hidden {
			lines = append(lines, c.Name+"\t"+c.Usage)
		}
	}
	return lines
}

func flagLines(flags []urfave.Flag) (lines []string) {
	for _, f := range flags {
		about := ""
		if d, ok := f.(urfave.DocGenerationFlag); ok {
			about = strings.ReplaceAll(d.GetUsage(), "`", "")
		}
		lines = append(lines, "--"+f.Names()[0]+"\t"+about)
	}
	return append(lines, "--help\tshow what the command does")
}

// Matching keeps the lines that begin with the typed word.
func Matching(lines []string, typed string) []string {
	return slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, typed) })
}
