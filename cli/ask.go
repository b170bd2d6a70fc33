package cli

import (
	"context"
	"errors"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
)

// inspect asks whoever can answer, and says on standard error who that is.
func (env *shell) inspect(c *urfave.Context, ask func(agent.Inspector) error) (err error) {
	places, err := env.loadPlaces(c)
	if err != nil {
		return err
	}
	i, done, _, err := agent.Open(c.Context, places, Version())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done.Close()) }()
	env.Remark("%s", i.Where())
	return ask(i)
}

// quietly is inspect without a word about who answers.
func (env *shell) quietly(c *urfave.Context, ask func(agent.Inspector) error) (err error) {
	places, err := env.loadPlaces(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, askTimeout)
	defer cancel()
	i, done, _, err := agent.Open(ctx, places, Version())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done.Close()) }()
	return ask(i)
}

// askTimeout bounds one question of a command that asks again and again. It is more than it takes to find
// out that an agent does not answer.
const askTimeout = 30 * time.Second

// order runs do with whoever can carry out an order.
func (env *shell) order(c *urfave.Context, do func(o agent.Orders, bar *term.Bar) error) (err error) {
	places, err := env.loadPlaces(c)
	if err != nil {
		return err
	}
	o, done, where, err := agent.OpenOrders(c.Context, places, Version())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done.Close()) }()
	env.Remark("%s", where)
	bar := env.Progress()
	defer bar.End()
	return inUse(do(o, bar))
}

// upkeep runs do with whoever can look after the data, which is in dir.
func (env *shell) upkeep(c *urfave.Context, do func(u agent.Upkeep, dir string, bar *term.Bar) error) (err error) {
	places, err := env.loadPlaces(c)
	if err != nil {
		return err
	}
	u, done, where, err := agent.OpenUpkeep(c.Context, places, Version())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done.Close()) }()
	env.Remark("%s", where)
	bar := env.Progress()
	defer bar.End()
	return inUse(do(u, places.DataDir, bar))
}

// inUse gives a directory that somebody else holds the code of what a second try does not cure.
func inUse(err error) error {
	if errors.Is(err, store.ErrInUse) {
		return exit.With(exit.BadUsage, err)
	}
	return err
}
