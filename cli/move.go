package cli

import (
	"cmp"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/config"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/secret"
	"personasync/cli/internal/term"
	"personasync/cli/internal/upkeep"
	"personasync/store"
)

func dbMoveCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "move",
		Usage:     "move the data of a stopped agent to another place",
		ArgsUsage: "URL|DIR",
		Description: "URL is a PostgreSQL database, as in store.url: postgres://user@host/database?sslmode=verify-full. Its\n" +
			"password must not be in it, where other users of this host would see it: give - for URL, and it is\n" +
			"asked for, or read from the standard input. DIR is a folder for the files.\n\n" +
			"Every entry and every received event is copied, and compared by its checksum. The old place is then\n" +
			"marked: no agent opens it, and it says where the data went. The new place is opened by no agent before\n" +
			"that. When the command is interrupted, run it again. It removes nothing at the old place.\n\n" +
			"Example: personasync db move - </etc/personasync/store_url",
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "schema", Usage: "the `NAME` of the schema in the database", Value: config.Default().Store.Schema},
			command.JSONFlag(),
		},
		Action: env.Action(dbMove, "URL or DIR"),
	}
}

func dbMove(env *command.Env, c *urfave.Context) error {
	places, err := env.Load(c, config.LoadWithoutSecrets)
	if err != nil {
		return err
	}
	to, isDatabase, err := destination(env, c)
	if err != nil {
		return err
	}
	bar := env.Progress()
	r, err := agent.Move(c.Context, places, to, env.Version, bar.Tell)
	bar.End()
	switch {
	case err != nil:
		return command.InUse(err)
	case c.Bool("json"):
		return term.PrintJSON(env.Out, r)
	}
	return upkeep.PrintMoved(env.Terminal, &r, isDatabase, c.String("schema"))
}

// destination reads where the data is to go.
func destination(env *command.Env, c *urfave.Context) (to store.Destination, isDatabase bool, err error) {
	address := c.Args().First()
	switch {
	case address == "-":
		if address, err = secret.Read(c.Context, env, "store.url"); err != nil {
			return nil, true, err
		}
	case hasPassword(address):
		return nil, true, exit.Usage("a password on the command line is seen by other users of this host: change it, write the URL to a file that only you can read, and give `personasync db move - < FILE`; without < FILE the URL is asked for")
	case !strings.Contains(address, "://") && !strings.Contains(address, "dbname="):
		dir, err := filepath.Abs(address)
		return store.Dir(dir), false, err
	}
	if err := config.CheckSchema(c.String("schema")); err != nil {
		return nil, true, exit.Usage("--schema %w", err)
	}
	values, err := config.ParseSecret("store.url", address)
	if err != nil {
		return nil, true, exit.Usage("the URL %w", errors.New(strings.TrimPrefix(err.Error(), "it ")))
	}
	host, err := os.Hostname()
	return store.Database(store.SharedConfig{
		URL: values.Current(), Schema: c.String("schema"), Host: cmp.Or(host, "a host without a name") + " (db move)", Version: env.Version, Log: slog.New(slog.DiscardHandler),
	}), true, err
}

// hasPassword reports whether an address has a password. One that cannot be read may have one with characters that must be
// escaped.
func hasPassword(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return strings.Contains(address, "@")
	}
	_, given := u.User.Password()
	return given || u.Query().Has("password") || strings.Contains(address, "password=")
}
