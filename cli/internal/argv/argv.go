package argv

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/config/wording"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
)

// urfave/cli accepts flags only between a command and its arguments, and silently ignores those behind an argument.
// Arrange puts a command line into that order, so that flags may stand anywhere, and refuses unknown commands and
// flags by name. "--" ends the flags.
//
//	personasync outbox --limit=5 list --config x.toml
//	-> personasync --config=x.toml outbox list --limit=5
func Arrange(app *urfave.App, args []string) ([]string, error) {
	line, err := split(args[1:], ValueFlags(app))
	if err != nil {
		return nil, err
	}
	if len(line.words) > 0 && line.words[0] == "help" {
		line.words, line.help = line.words[1:], true
	}
	command, path, rest, err := resolve(app, line)
	if err != nil {
		return nil, err
	}
	if line.help || len(path) == 0 {
		return slices.Concat(args[:1], path, []string{"--help"}), nil
	}
	global, local, err := assign(app, command, path, line.flags)
	if err != nil {
		return nil, err
	}
	if rest = append(rest, line.literal...); len(rest) > 0 {
		rest = append([]string{"--"}, rest...)
	}
	return slices.Concat(args[:1], global, path, local, rest), nil
}

// commandLine is a command line in its parts.
type commandLine struct {
	words   []string   // commands and arguments
	literal []string   // the words behind "--"
	flags   []flagText // in their order
	help    bool
}

// flagText is one flag as it was typed: the name without dashes, and the whole as one word.
type flagText struct{ name, text string }

// split separates words and flags. takesValue reports whether a flag takes the next word as its value.
func split(args []string, takesValue map[string]bool) (l commandLine, err error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			l.literal = args[i+1:]
			return l, nil
		}
		if len(arg) < 2 || arg[0] != '-' {
			l.words = append(l.words, arg)
			continue
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if name == "h" || name == "help" {
			l.help = true
			continue
		}
		if len(l.words) == 0 && (name == "v" || name == "version") {
			l.words = append(l.words, "version") // a usual way to ask for it
			continue
		}
		if takesValue[name] && !hasValue {
			if i++; i == len(args) {
				return l, exit.Usage("--%s needs a value: --help says which", name)
			}
			arg += "=" + args[i]
		}
		l.flags = append(l.flags, flagText{name, arg})
	}
	return l, nil
}

// ValueFlags returns the flags of all commands that take a value. A flag's name means the same in every command.
func ValueFlags(app *urfave.App) map[string]bool {
	names := make(map[string]bool)
	var add func([]urfave.Flag, []*urfave.Command)
	add = func(flags []urfave.Flag, commands []*urfave.Command) {
		for _, f := range flags {
			if d, ok := f.(urfave.DocGenerationFlag); ok && d.TakesValue() {
				for _, n := range f.Names() {
					names[n] = true
				}
			}
		}
		for _, c := range commands {
			add(c.Flags, c.Subcommands)
		}
	}
	add(app.Flags, app.Commands)
	return names
}

// resolve follows the words to a command. The remaining words are its arguments.
func resolve(app *urfave.App, l commandLine) (command *urfave.Command, path, rest []string, err error) {
	commands, rest := app.Commands, l.words
	for len(rest) > 0 && len(commands) > 0 {
		next := find(commands, rest[0])
		if next == nil {
			typed := strings.Join(append([]string{app.Name}, append(path, rest[0])...), " ")
			hint := DidYouMean(rest[0], names(commands), "")
			if len(path) == 0 {
				hint = cmp.Or(ofService(rest[0]), elsewhere(app, rest), hint)
			}
			return nil, nil, nil, exit.Usage("there is no command `%s`%s", typed, orElse(hint, append([]string{app.Name}, path...), command))
		}
		command, commands = next, next.Subcommands
		path, rest = append(path, rest[0]), rest[1:]
	}
	return command, path, rest, nil
}

// elsewhere suggests the commands of groups that the first word stands for: `explain` for `outbox explain-code`, and `show
// user` for `user show` alone.
func elsewhere(app *urfave.App, words []string) string {
	var found []string
	word, groups := words[0], app.Commands
	if len(words) > 1 {
		if named := find(groups, words[1]); named != nil && find(named.Subcommands, word) != nil {
			groups = []*urfave.Command{named}
		}
	}
	for _, group := range groups {
		for _, c := range group.Subcommands {
			if c.Hidden || c.Name != word && !strings.HasPrefix(c.Name, word+"-") {
				continue
			}
			found = append(found, fmt.Sprintf("`%s %s %s`", app.Name, group.Name, c.Name))
		}
	}
	return wording.Hint(wording.Either(found), "%s")
}

// ofService says what does the work of a command that people look for here.
func ofService(word string) string {
	switch word {
	case "start":
		return ": `systemctl start personasync.socket personasync.service` starts the service, and `personasync run` an agent in the foreground"
	case "stop":
		return ": `systemctl stop personasync.socket personasync.service` stops the service"
	case "restart", "reload":
		return fmt.Sprintf(": `systemctl %s personasync` does that for the service", word)
	case "log", "logs":
		return ": `journalctl -u personasync` has the log of the service"
	}
	return ""
}

// orElse returns the hint, or where to find help if there is none.
func orElse(hint string, path []string, group *urfave.Command) string {
	switch {
	case hint != "":
		return hint
	case group == nil:
		return ": `personasync help` lists those there are"
	}
	return ": there are " + CommandList(strings.Join(path, " "), group)
}

func find(commands []*urfave.Command, name string) *urfave.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func names(commands []*urfave.Command) (list []string) {
	for _, c := range commands {
		list = append(list, c.Names()...)
	}
	return list
}

// CommandList lists the commands of a group for a sentence.
func CommandList(name string, group *urfave.Command) string {
	var list []string
	for _, c := range group.Subcommands {
		list = append(list, "`"+name+" "+c.Name+"`")
	}
	return strings.Join(list, ", ")
}

// assign moves each flag to the program or to the command that defines it.
func assign(app *urfave.App, command *urfave.Command, path []string, flags []flagText) (global, local []string, err error) {
	for _, f := range flags {
		switch {
		case HasFlag(command.Flags, f.name):
			local = append(local, f.text)
		case HasFlag(app.Flags, f.name):
			global = append(global, f.text)
		default:
			known := append(flagNames(command.Flags), flagNames(app.Flags)...)
			name := app.Name + " " + strings.Join(path, " ")
			hint := DidYouMean(f.name, known, "--")
			if hint == "" && command.ArgsUsage != "" {
				hint = fmt.Sprintf("; an argument that begins with a dash stands behind --: `%s -- %s`", name, term.Argument(f.text))
			}
			return nil, nil, exit.Usage("`%s` has no flag --%s%s", name, f.name, hint)
		}
	}
	return global, local, nil
}

// HasFlag reports whether one of flags has the name.
func HasFlag(flags []urfave.Flag, name string) bool {
	return slices.Contains(flagNames(flags), name)
}

func flagNames(flags []urfave.Flag) (list []string) {
	for _, f := range flags {
		list = append(list, f.Names()...)
	}
	return list
}

// DidYouMean suggests the most similar known name, if one is similar enough.
func DidYouMean(typed string, known []string, prefix string) string {
	return wording.Hint(wording.Within(max(1, (len(typed)+1)/3), typed, known), prefix+"%s")
}
