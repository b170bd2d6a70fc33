package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/api"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
)

// Inspect lets do ask the running agent, or its files if it is stopped, and prints on standard error which of them
// answered.
func (env *Env) Inspect(c *urfave.Context, ask func(api.Inspector) error) (err error) {
	places, err := env.LoadPlaces(c)
	if err != nil {
		return err
	}
	i, done, _, err := agent.Open(c.Context, places, env.Version)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done.Close()) }()
	env.Remark("%s", i.Where())
	return ask(i)
}

// Quietly is Inspect without that line, and with a limit of [AskTimeout].
func (env *Env) Quietly(c *urfave.Context, ask func(api.Inspector) error) (err error) {
	places, err := env.LoadPlaces(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, AskTimeout)
	defer cancel()
	i, done, _, err := agent.Open(ctx, places, env.Version)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done.Close()) }()
	return ask(i)
}

// AskTimeout limits one question of a command that asks repeatedly. It is longer than it takes to find out that an
// agent does not answer.
const AskTimeout = 30 * time.Second

// Dial connects to the running agent. why, which ends the error of a stopped one, says why its files will not do, and what
// to do.
func (env *Env) Dial(c *urfave.Context, why string) (*api.Client, error) {
	places, err := env.LoadPlaces(c)
	if err != nil {
		return nil, err
	}
	client, err := agent.DialAgent(c.Context, places, env.Version)
	if errors.Is(err, api.ErrNotRunning) {
		return nil, fmt.Errorf("%w: %s", err, why)
	}
	return client, err
}

// Order runs do with the agent, or with its files if it is stopped, to change memberships or to erase a user.
func (env *Env) Order(c *urfave.Context, do func(o api.Orders, bar *term.Bar) error) error {
	return env.data(c, func(d agent.Data, _ string, bar *term.Bar) error { return do(d, bar) })
}

// Pauser runs do with the agent, or with its files if it is stopped, to pause or resume sending.
func (env *Env) Pauser(c *urfave.Context, do func(d agent.Data) error) error {
	return env.data(c, func(d agent.Data, _ string, _ *term.Bar) error { return do(d) })
}

// Upkeep runs do with the agent, or with its files if it is stopped, to check, compact or back up the data in dir.
func (env *Env) Upkeep(c *urfave.Context, do func(u api.Upkeep, dir string, bar *term.Bar) error) error {
	return env.data(c, func(d agent.Data, dir string, bar *term.Bar) error { return do(d, dir, bar) })
}

// data opens the data of the agent or its files, prints which, runs do with a progress bar, and closes the data.
func (env *Env) data(c *urfave.Context, do func(d agent.Data, dir string, bar *term.Bar) error) (err error) {
	places, err := env.LoadPlaces(c)
	if err != nil {
		return err
	}
	d, done, where, err := agent.OpenData(c.Context, places, env.Version)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done.Close()) }()
	env.Remark("%s", where)
	bar := env.Progress()
	defer bar.End()
	return InUse(do(d, places.DataDir, bar))
}

// InUse marks the error of a data directory in use as one against which a restart does not help.
func InUse(err error) error {
	if errors.Is(err, store.ErrInUse) {
		return exit.With(exit.BadUsage, err)
	}
	return err
}
