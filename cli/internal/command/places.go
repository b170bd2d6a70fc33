package command

import (
	"cmp"
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

// FindConfig returns the configuration file to read. It is "" if there is none, and then the environment takes its
// place.
func (env *Env) FindConfig(c *urfave.Context) (string, error) {
	env.Named = c.String("config")
	path, err := config.Find(env.Named, env.Getenv)
	if errors.Is(err, config.ErrNoFile) && slices.ContainsFunc(env.Environ, isSetting) {
		return "", nil
	}
	return path, exit.Incurable(err)
}

// isSetting reports whether a variable of the environment is a setting of the configuration.
func isSetting(variable string) bool { return strings.HasPrefix(variable, "PERSONASYNC_") }

// LoadConfig reads the configuration as `run` does.
func (env *Env) LoadConfig(c *urfave.Context) (*config.Config, error) {
	conf, err := env.Load(c, config.Load)
	return conf, agent.DeniedConfig(err)
}

// LoadPlaces reads the configuration for a command that looks for the agent and its data. It does not read secrets,
// which the operator may not be allowed to, and a fault elsewhere is only a warning.
func (env *Env) LoadPlaces(c *urfave.Context) (*config.Config, error) {
	conf, err := env.Load(c, config.LoadPlaces)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, config.ErrNoFile) {
		return env.servicePlaces(err)
	}
	if err == nil && conf.Refused() != nil {
		env.warnOnce("the configuration has faults, which neither a start nor a reload takes (`personasync config check` names them all); "+
			"this command goes by data_dir %s and the socket %s:\n  %s", conf.DataDir, conf.Socket(env.Getenv), strings.ReplaceAll(conf.Refused().Error(), "\n", "\n  "))
	}
	return conf, err
}

// servicePlaces replaces a configuration that cannot be read, if the socket of the service exists. The service's
// agent knows its own configuration.
func (env *Env) servicePlaces(unread error) (*config.Config, error) {
	unread = exit.Incurable(agent.DeniedConfig(unread))
	if _, err := os.Stat(ServiceSocket); err != nil {
		return nil, unread
	}
	conf, err := config.LoadPlaces("", env.Environ)
	if err != nil {
		return nil, unread
	}
	conf.Admin.Socket = cmp.Or(conf.Admin.Socket, ServiceSocket)
	conf.Refuse(unread)
	env.warnOnce("%v; the agent at %s is asked", unread, conf.Admin.Socket)
	return conf, nil
}

// warnOnce prints a warning on standard error, only once for a command that reads the configuration repeatedly.
func (env *Env) warnOnce(format string, args ...any) {
	if !env.warned {
		env.warned = true
		fmt.Fprintln(env.Err, env.ErrPaint.Yellow("warning:"), env.Said(fmt.Sprintf(format, args...)))
	}
}

// Load reads the configuration with load, which is one of the Load functions of package config.
func (env *Env) Load(c *urfave.Context, load func(string, []string) (*config.Config, error)) (*config.Config, error) {
	path, err := env.FindConfig(c)
	if err != nil {
		return nil, err
	}
	env.ConfigFile = path
	conf, err := load(path, env.Environ)
	return conf, exit.Incurable(err)
}

// ServiceSocket is the path of the socket in the packaged units and in the service's configuration.
var ServiceSocket = "/run/personasync/admin.sock"
