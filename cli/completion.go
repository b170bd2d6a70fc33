package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/config"
	"personasync/cli/internal/argv"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
)

// completeWord is the hidden command that the shells run, with the words typed so far. It prints one candidate a
// line: the word, a tab, and its meaning. It prints none where a file may stand. The scripts only pass words and
// candidates on, so they never differ from the program.
const completeWord = "__complete"

var completionScripts = map[string]string{
	"bash": `# bash completion for personasync: put it into /etc/bash_completion.d/, or source it.
_personasync() {
	local line
	COMPREPLY=()
	while IFS= read -r line; do
		COMPREPLY+=("${line%%$'\t'*}")
	done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _personasync personasync
`,
	"zsh": `#compdef personasync
# zsh completion for personasync: put it as _personasync into a folder of $fpath.
_personasync() {
	local -a found
	local line
	for line in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
		[[ -n $line ]] && found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
	done
	if (( $#found )); then
		_describe personasync found
	else
		_files
	fi
}
if [[ $funcstack[1] == _personasync ]]; then
	_personasync "$@"
else
	compdef _personasync personasync
fi
`,
	"fish": `# fish completion for personasync: put it as personasync.fish into ~/.config/fish/completions/.
function __personasync_complete
	set -l words (commandline -opc) (commandline -ct)
	$words[1] __complete $words[2..-1] 2>/dev/null
end
complete -c personasync -a '(__personasync_complete)'
`,
}

func completionCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "completion",
		Usage:     "print the completion script of a shell",
		ArgsUsage: "bash|zsh|fish",
		Description: "Example: personasync completion bash > /etc/bash_completion.d/personasync\n" +
			"         personasync completion zsh > \"${fpath[1]}/_personasync\"\n" +
			"         personasync completion fish > ~/.config/fish/completions/personasync.fish",
		Action: env.Action(func(env *command.Env, c *urfave.Context) error {
			script, ok := completionScripts[c.Args().First()]
			if !ok {
				return exit.Usage("there is no completion for %q: bash, zsh or fish", c.Args().First())
			}
			_, err := fmt.Fprint(env.Out, script)
			return err
		}, "a shell: bash, zsh or fish"),
	}
}

// complete prints the candidates for a shell.
func printCandidates(env *command.Env, app *urfave.App, typed []string) error {
	typed = argv.Joined(typed)
	for _, candidate := range append(argv.Candidates(app, typed), keysOf(env, app, typed)...) {
		if _, err := fmt.Fprintln(env.Out, candidate); err != nil {
			return err
		}
	}
	return nil
}

// keyPatience is how long a completion waits for the keys of the audiences.
const keyPatience = time.Second

// keys lists the computations where a key may stand. After any error it lists none.
func keysOf(env *command.Env, app *urfave.App, typed []string) (list []string) {
	if len(typed) == 0 {
		return nil
	}
	before, word := typed[:len(typed)-1], typed[len(typed)-1]
	flag, value, _ := strings.Cut(word, "=")
	switch {
	case strings.HasPrefix(word, "-"):
		if word = value; flag != "--computation" {
			return nil
		}
		flag += "="
	case len(before) > 0 && before[len(before)-1] == "--computation":
		flag = ""
	case argv.WantsKey(app, before):
		flag = ""
	default:
		return nil
	}
	conf, err := config.LoadPlaces(configNamed(before, env), env.Environ)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), keyPatience)
	defer cancel()
	i, done, _, err := agent.Open(ctx, conf, env.Version)
	if err != nil {
		return nil
	}
	defer done.Close()
	all, err := i.Computations(ctx)
	if err != nil {
		return nil
	}
	for _, c := range all {
		list = append(list, flag+term.Plain(c.Key)+"\t"+c.Class)
	}
	return argv.Matching(slices.Compact(list), flag+word)
}

// configNamed returns the configuration file that a command line would read, or "".
func configNamed(words []string, env *command.Env) string {
	given := ""
	for i, w := range words {
		if v, found := strings.CutPrefix(w, "--config="); found {
			given = v
		} else if w == "--config" && i+1 < len(words) {
			given = words[i+1]
		}
	}
	path, err := config.Find(given, env.Getenv)
	if err != nil {
		return ""
	}
	return path
}
