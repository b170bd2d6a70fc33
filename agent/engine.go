package agent

import (
	"errors"

	"personasync/agent/config"
)

// errNoPostgres says that this version cannot work on the configured store. Anything else would be other data.
var errNoPostgres = errors.New(`store.engine is "postgres", which this version does not have yet: set it to "bbolt", or install a newer version`)

// checkEngine returns errNoPostgres for a store that is not in files.
func checkEngine(c *config.Config) error {
	if c.Store.OnPostgres() {
		return errNoPostgres
	}
	return nil
}
