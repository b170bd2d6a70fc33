package cli

import (
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/command"
)

func manCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:        "man",
		Usage:       "print the manual page",
		Description: "Example: personasync man | man -l -",
		Action: env.Action(func(env *command.Env, c *urfave.Context) error {
			_, err := fmt.Fprint(env.Out, manPage(c.App), manEnd)
			return err
		}),
	}
}

// manEnd is the end of the manual page, which no command's help contains.
const manEnd = `
.SH EXIT STATUS
.TP
0
done
.TP
1
failed
.TP
2
wrong usage or configuration, missing permission, a second agent on the same data: a restart cannot fix it
.TP
3
nothing there: no such change, user, audience or data
.TP
4
the agent is needed and not running

.SH ENVIRONMENT
.TP
PERSONASYNC_CONFIG
the configuration file
.TP
PERSONASYNC_SECTION_KEY
overrides a key of the configuration, such as PERSONASYNC_INGEST_LISTEN
.TP
NO_COLOR
no colours

.SH FILES
.TP
\&./agent.toml, /etc/personasync/agent.toml
the configuration
.TP
/var/lib/personasync
the data
`

// manPage writes the help of every command as troff. The page of urfave/cli has no descriptions and no examples.
func manPage(app *urfave.App) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH PERSONASYNC 1\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.B personasync\n[--config FILE] COMMAND [FLAGS] [ARGUMENTS]\n", app.Name, troff(app.Usage))
	fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\nFlags may stand before or behind arguments; -- ends them.\n.SH COMMANDS\n", troff(app.Description))
	manCommands(&b, app.Name, app.Commands)
	return b.String()
}

func manCommands(b *strings.Builder, name string, commands []*urfave.Command) {
	for _, c := range commands {
		if c.Hidden {
			continue
		}
		if len(c.Subcommands) > 0 {
			manCommands(b, name+" "+c.Name, c.Subcommands)
			continue
		}
		about, examples, _ := strings.Cut(c.Description, "Example: ")
		fmt.Fprintf(b, ".SS %s\n%s.\n", troff(strings.TrimSpace(name+" "+c.Name+" "+c.ArgsUsage)), troff(c.Usage))
		if about = strings.TrimSpace(about); about != "" {
			fmt.Fprintf(b, ".PP\n%s\n", troff(about))
		}
		for _, f := range c.Flags {
			manFlag(b, f)
		}
		fmt.Fprintf(b, ".PP\nExample:\n.PP\n.nf\n.RS 4\n")
		for _, line := range strings.Split(strings.TrimSpace(examples), "\n") {
			fmt.Fprintf(b, "%s\n", troff(strings.TrimSpace(line)))
		}
		fmt.Fprintf(b, ".RE\n.fi\n")
	}
}

func manFlag(b *strings.Builder, f urfave.Flag) {
	d, ok := f.(urfave.DocGenerationFlag)
	if !ok {
		return
	}
	title := "--" + f.Names()[0]
	for _, alias := range f.Names()[1:] {
		title = "-" + alias + ", " + title
	}
	usage := d.GetUsage()
	if d.TakesValue() {
		value := "VALUE"
		if parts := strings.SplitN(usage, "`", 3); len(parts) == 3 {
			value = parts[1]
		}
		title += " " + value
	}
	if standard := d.GetDefaultText(); d.TakesValue() && standard != "" && standard != `""` {
		usage += " (default: " + standard + ")"
	}
	fmt.Fprintf(b, ".TP\n%s\n%s\n", troff(title), troff(strings.ReplaceAll(usage, "`", "")))
}

// troff escapes a text, so that troff prints it unchanged.
func troff(text string) string {
	text = strings.NewReplacer("\\", "\\e", "-", "\\-", "`", "").Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = "\\&" + line
		}
	}
	return strings.Join(lines, "\n")
}
