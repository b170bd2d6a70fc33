package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/config"
	"personasync/cli/internal/exit"
)

// findConfig names the file that counts: "" when there is none and the environment takes its place.
func (env *shell) findConfig(c *urfave.Context) (string, error) {
	env.Named = c.String("config")
	path, err := config.Find(env.Named, env.getenv)
	if errors.Is(err, config.ErrNoFile) && slices.ContainsFunc(env.environ, isSetting) {
		return "", nil
	}
	return path, exit.Incurable(err)
}

// isSetting reports whether a variable of the environment belongs to the configuration.
func isSetting(variable string) bool { return strings.HasPrefix(variable, "PERSONASYNC_") }

// loadConfig reads the configuration that `run` would.
func (env *shell) loadConfig(c *urfave.Context) (*config.Config, error) {
	conf, err := env.load(c, config.Load)
	return conf, agent.DeniedConfig(err)
}

// loadPlaces reads the configuration for a command that looks for the agent and its data. An operator
// need not be able to read its secrets, and a fault elsewhere in it is a warning.
func (env *shell) loadPlaces(c *urfave.Context) (*config.Config, error) {
	conf, err := env.load(c, config.LoadPlaces)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, config.ErrNoFile) {
		return env.servicePlaces(err)
	}
	if err == nil && conf.Refused() != nil {
		env.warnOnce("the configuration has faults, which neither a start nor a reload takes (`personasync config check` names them all); "+
			"this command goes by data_dir %s and the socket %s:\n  %s", conf.DataDir, conf.Socket(env.getenv), strings.ReplaceAll(conf.Refused().Error(), "\n", "\n  "))
	}
	return conf, err
}

// servicePlaces stands in for a configuration that cannot be read, where the socket of the service is
// there to be asked: what its agent does it knows itself.
func (env *shell) servicePlaces(unread error) (*config.Config, error) {
	unread = exit.Incurable(agent.DeniedConfig(unread))
	if _, err := os.Stat(serviceSocket); err != nil {
		return nil, unread
	}
	conf, err := config.LoadPlaces("", env.environ)
	if err != nil {
		return nil, unread
	}
	if conf.Admin.Socket == "" {
		conf.Admin.Socket = serviceSocket
	}
	conf.Refuse(unread)
	env.warnOnce("%v; the agent at %s is asked", unread, conf.Admin.Socket)
	return conf, nil
}

// warnOnce warns on standard error, once for a command that reads the configuration again and again.
func (env *shell) warnOnce(format string, args ...any) {
	if !env.warned {
		env.warned = true
		fmt.Fprintln(env.Err, env.ErrPaint.Yellow("warning:"), env.Typed(fmt.Sprintf(format, args...)))
	}
}

func (env *shell) load(c *urfave.Context, load func(string, []string) (*config.Config, error)) (*config.Config, error) {
	path, err := env.findConfig(c)
	if err != nil {
		return nil, err
	}
	conf, err := load(path, env.environ)
	return conf, exit.Incurable(err)
}

// serviceSocket is where the packaged units and the configuration of the service have the socket.
var serviceSocket = "/run/personasync/admin.sock"
