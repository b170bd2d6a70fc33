package cli

import (
	"fmt"
	"os/user"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store/domain"
)

func pauseCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "pause",
		Usage: "stop sending to MoEngage for a time",
		Description: "Requests under way end as usual, and no further one begins. Events are accepted and applied\n" +
			"meanwhile. Of a value that changes several times, only the last is sent afterwards; enter and exit\n" +
			"events are all kept. The pause survives restarts, and ends after --for or by `outbox resume`. Another\n" +
			"pause replaces it.\n\n" +
			"Example: personasync outbox pause --for 2h --why campaign-freeze",
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "why", Usage: "the `REASON`, which status and the alert show"},
			&urfave.StringFlag{Name: "for", Usage: "end by itself after `DURATION`, such as 90m or 2d", DefaultText: "until it is resumed"},
			command.JSONFlag(),
		},
		Action: env.Action(outboxPause),
	}
}

func resumeCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:        "resume",
		Usage:       "end a pause and send again",
		Description: "Exits with 3 if sending was not paused.\n\nExample: personasync outbox resume",
		Flags:       []urfave.Flag{command.JSONFlag()},
		Action:      env.Action(outboxResume),
	}
}

func outboxPause(env *command.Env, c *urfave.Context) error {
	if err := command.Arguments(c); err != nil {
		return err
	}
	p := domain.Pause{Since: time.Now(), Why: c.String("why"), By: operatorName()}
	if p.Why == "" {
		return exit.Usage("say why, for everybody who finds the agent paused: `personasync outbox pause --why campaign-freeze`")
	}
	if c.IsSet("for") {
		length, ok := command.ParseAge(c.String("for"))
		if !ok || length <= 0 {
			return exit.Usage("--for %s is no duration: write 90m, 12h or 2d", c.String("for"))
		}
		p.Until = p.Since.Add(length)
	}
	return env.Pauser(c, func(d agent.Data) error {
		now, err := d.Pause(c.Context, p)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return term.PrintJSON(env.Out, now)
		}
		_, err = fmt.Fprintf(env.Out, "sending is paused %s: %s\n", pauseEnd(now), term.Plain(now.Why))
		return err
	})
}

func outboxResume(env *command.Env, c *urfave.Context) error {
	if err := command.Arguments(c); err != nil {
		return err
	}
	return env.Pauser(c, func(d agent.Data) error {
		was, err := d.Resume(c.Context)
		if err != nil {
			return err
		}
		if was == nil {
			return exit.Nothing("sending is not paused: `personasync status` says how MoEngage answers")
		}
		if c.Bool("json") {
			return term.PrintJSON(env.Out, was)
		}
		_, err = fmt.Fprintf(env.Out, "sending again, after a pause of %s (%s)\n", term.Ago(int64(time.Since(was.Since).Seconds())), term.Plain(was.Why))
		return err
	})
}

// pauseEnd returns when a pause ends.
func pauseEnd(p *domain.Pause) string {
	if p.Until.IsZero() {
		return "until `personasync outbox resume`"
	}
	return "until " + term.Second(domain.Timestamp(p.Until)) + " UTC"
}

// operatorName returns the user name of the person who types. A running agent knows it from the socket.
func operatorName() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}
