package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/cli/internal/command"
	"personasync/cli/internal/term"
)

// watchEvery is how often `status --watch` reads the status.
const watchEvery = time.Second

// On a terminal each screen replaces the last one. Otherwise they follow each other.
const (
	cursorHome = "\x1b[H"
	eraseLine  = "\x1b[K"
	eraseBelow = "\x1b[J"
)

// watchStatus prints the status repeatedly. The agent may stop and start meanwhile. With --json each status is one
// line.
func watchStatus(env *command.Env, c *urfave.Context) error {
	screen := term.IsTerminal(env.Out) && !c.Bool("json")
	if screen {
		if _, err := io.WriteString(env.Out, "\x1b[2J"); err != nil {
			return err
		}
	}
	for first := true; ; first = false {
		text, err := statusOnce(env, c)
		switch {
		case c.Context.Err() != nil && !first:
			return nil // an interrupt is its normal end
		case err != nil && first:
			return err
		case err != nil:
			text = []byte(env.Paint.Red("cannot be asked") + ": " + term.Plain(err.Error()) + "\n")
		}
		if screen {
			text = redrawn(text)
		}
		if _, err := env.Out.Write(text); err != nil {
			return err
		}
		select {
		case <-c.Context.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}

// redrawn writes text over the screen.
func redrawn(text []byte) []byte {
	text = bytes.ReplaceAll(text, []byte("\n"), []byte(eraseLine+"\n"))
	return append(append([]byte(cursorHome), text...), eraseBelow...)
}

func statusOnce(env *command.Env, c *urfave.Context) (text []byte, err error) {
	places, err := env.LoadPlaces(c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.Context, command.AskTimeout)
	defer cancel()
	i, done, _, err := agent.Open(ctx, places, env.Version)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done.Close()) }()
	s, err := i.Status(ctx)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	once := *env.Terminal
	once.Out = &out
	if c.Bool("json") {
		return term.JSONLine(s)
	}
	if err := printStatus(&once, s, time.Now()); err != nil {
		return nil, err
	}
	if !term.IsTerminal(env.Out) {
		out.WriteByte('\n')
	}
	return out.Bytes(), nil
}
