package cli

import (
	"errors"
	"os"
	"runtime/debug"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/config"
	"personasync/agent/host"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/logging"
	"personasync/store"
)

func runCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "run",
		Usage: "run the agent in the foreground",
		Description: "Accepts Segment's deliveries and sends changes to MoEngage, until SIGINT or SIGTERM. A second one\n" +
			"ends it at once. SIGHUP reloads the configuration and the secrets.\n\n" +
			"Example: personasync run --config /etc/personasync/agent.toml",
		Action: env.Action(runAgent),
	}
}

func runAgent(env *command.Env, c *urfave.Context) error {
	// Go ends a panic, and a SIGABRT of the watchdog, with exit code 2, which means here that a restart does not
	// help. So the process prints the same dump, and then ends by the signal.
	debug.SetTraceback("crash")
	conf, err := env.LoadConfig(c)
	if err != nil {
		return err
	}
	if err := conf.Complete(); err != nil {
		return exit.Incurable(err)
	}
	queue := logging.NewQueue(env.Err)
	env.Err, env.AtEnd = queue, queue.Close // the last lines follow it, and nobody waits for them
	log, relog := logging.New(queue, conf.Log, env.ErrPaint.On)
	for _, w := range conf.Warnings() {
		log.Warn("configuration", "warning", w)
	}
	if os.Geteuid() == 0 {
		log.Warn("running as root, which nothing here needs: use a user of its own")
	}
	inherited, err := host.Inherited()
	if err != nil {
		return exit.Incurable(err)
	}
	err = agent.Run(c.Context, conf, agent.RunOptions{
		Log: log, Relog: relog, Version: env.Version, LinesDropped: queue.Dropped, ConfigFile: env.ConfigFile, Ingest: inherited.Ingest, Missed: inherited.Missed, Reload: env.Hangup,
		Load:         func() (*config.Config, error) { return reload(env, c) },
		CheckInChild: env.Checker(), ProveInChild: env.Prover(),
	})
	if held := (*store.InUseError)(nil); errors.As(err, &held) && held.IsAgent() {
		return exit.Incurable(err) // a restart has the same one
	}
	return err
}

// reload reads the configuration again, and checks all that a start checks.
func reload(env *command.Env, c *urfave.Context) (*config.Config, error) {
	conf, err := env.LoadConfig(c)
	if err != nil {
		return nil, err
	}
	return conf, conf.Complete()
}
