package cli

import (
	"os/user"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/pausing"
	"personasync/cli/internal/term"
)

func pauseCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "pause",
		Usage: "stop sending to MoEngage for a time",
		Description: "Stops everything, or the changes of one computation, which are held until the pause ends. Requests\n" +
			"under way end as usual, and no further one begins. Events are accepted and applied meanwhile. Of a value that\n" +
			"changes several times, only the last is sent afterwards; enter and exit events are all kept. The pause\n" +
			"survives restarts, and ends after --for or by `outbox resume`. Another pause of the same replaces it.\n\n" +
			"Example: personasync outbox pause --for 2h --why campaign-freeze",
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "computation", Usage: "only of the computation with this `KEY` or id"},
			&urfave.StringFlag{Name: "why", Usage: "the `REASON`, which status and the alert show"},
			&urfave.StringFlag{Name: "for", Usage: "end by itself after `DURATION`, such as 90m or 2d", DefaultText: "until it is resumed"},
			command.JSONFlag(),
		},
		Action: env.Action(outboxPause),
	}
}

func resumeCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "resume",
		Usage: "end a pause and send again",
		Description: "Without --computation it ends the pause of everything, and pauses of computations go on. Exits with 3 if\n" +
			"nothing was paused.\n\nExample: personasync outbox resume",
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "computation", Usage: "the pause of the computation with this `KEY` or id"},
			command.JSONFlag(),
		},
		Action: env.Action(outboxResume),
	}
}

func outboxPause(env *command.Env, c *urfave.Context) error {
	var length time.Duration
	if c.IsSet("for") {
		ok := false
		if length, ok = command.ParseAge(c.String("for")); !ok || length <= 0 {
			return exit.Usage("--for %s is no duration: write 90m, 12h or 2d", c.String("for"))
		}
	}
	p, err := pausing.New(c.String("computation"), c.String("why"), operatorName(), length)
	if err != nil {
		return err
	}
	return env.Pauser(c, func(d agent.Data) error {
		now, err := d.Pause(c.Context, p)
		if err != nil {
			return command.UnknownKey(env, c, err, p.Computation)
		}
		if c.Bool("json") {
			return term.PrintJSON(env.Out, now)
		}
		return pausing.Begun(env.Terminal, now)
	})
}

func outboxResume(env *command.Env, c *urfave.Context) error {
	computation := c.String("computation")
	return env.Pauser(c, func(d agent.Data) error {
		was, err := d.Resume(c.Context, computation)
		if err != nil {
			return command.UnknownKey(env, c, err, computation)
		}
		if was == nil {
			return pausing.None(computation)
		}
		if c.Bool("json") {
			return term.PrintJSON(env.Out, was)
		}
		return pausing.Over(env.Terminal, was)
	})
}

// operatorName returns the user name of the person who types. A running agent knows it from the socket.
func operatorName() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}
