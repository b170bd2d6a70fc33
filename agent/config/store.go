package config

import (
	"errors"
	"net/url"
	"strings"

	"personasync/agent/config/internal/field"
	"personasync/agent/config/internal/valid"
)

// Data is where the agent keeps its data.
type Data struct {
	DataDir string `toml:"data_dir" path:"file"`
	Store   Store  `toml:"store"`
}

// Store is what keeps the data: files in data_dir, or a PostgreSQL database that several agents share.
type Store struct {
	Engine     string   `toml:"engine" one:"bbolt|postgres"`
	URL        Secret   `toml:"url" credential:"store_url"` // only the current one is used
	URLFile    string   `toml:"url_file" path:"file"`
	Schema     string   `toml:"schema"`
	Term       Duration `toml:"term" min:"3s" max:"1m"`
	Replicated string   `toml:"replicated" one:"standby|elsewhere|no"`
}

// OnPostgres reports whether a PostgreSQL database keeps the data.
func (s *Store) OnPostgres() bool { return s.Engine == "postgres" }

// Address is the URL without its password, as the programs of PostgreSQL take it.
func (s *Store) Address() string {
	u, err := url.Parse(s.URL.Current())
	if err != nil || len(s.URL) == 0 {
		return "postgres://…"
	}
	query := u.Query()
	query.Del("password")
	if name := u.User.Username(); name != "" {
		u.User = url.User(name)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// schemaName is a name that needs no quotes in SQL.
var schemaName = pattern(`^[a-z_][a-z0-9_]{0,62}$`)

// CheckSchema says why a name cannot be that of store.schema, or nil.
func CheckSchema(name string) error {
	if !schemaName().MatchString(name) || strings.HasPrefix(name, "pg_") {
		return errors.New("must be a name of small letters, digits and _, at most 63, that begins with a letter and not with pg_")
	}
	return nil
}

// checkStore refuses settings of the engine that is not used, because each would promise what does not happen.
func checkStore(r *report) {
	s := &r.cfg.Store
	if !s.OnPostgres() {
		checkFiles(r)
		return
	}
	if err := valid.Database(s.URL.Current()); len(s.URL) > 0 && err != nil {
		r.refuseKey(keyStoreURL, "%v", err)
	}
	if err := CheckSchema(s.Schema); err != nil {
		r.refuseKey("store.schema", "%v", err)
	}
	const notHere = `does not apply with store.engine = "postgres"`
	if r.cfg.Retention.MaxDataBytes > 0 {
		r.refuseKey("retention.max_data_bytes", notHere+": PostgreSQL's disk is not the agent's to measure. Set it to 0, and watch that disk where PostgreSQL runs")
	}
	for _, key := range []string{"backup.schedule", keyBackupDir} {
		if *r.known[key].Ptr.(*string) != "" {
			r.refuseKey(key, notHere+": PostgreSQL makes its own backups, by pg_basebackup, pg_dump or your provider. Remove it, and set them up there")
		}
	}
}

// checkFiles refuses settings of a database that files do not have. A credential of systemd may be there before a move to
// PostgreSQL and after one back: it is a warning.
func checkFiles(r *report) {
	was := map[string]field.Field{}
	for _, f := range field.Of(Default(), "") {
		was[f.Key] = f
	}
	for _, f := range field.Of(&r.cfg.Store, "store.") {
		from := r.cfg.origins[f.Key].kind
		if f.Show() != was[f.Key].Show() && from != fromCredential && from != fromSecretFile { // of a secret file, the path is refused
			r.refuseKey(f.Key, `has no effect with store.engine = "bbolt", whose files are in data_dir: remove it, or set store.engine = "postgres"`)
		}
	}
}

// warnStore warns of a database by what its address says.
func (c *Config) warnStore(say sayer) {
	s := &c.Store
	switch {
	case !s.OnPostgres():
		if c.origins[keyStoreURL].kind == fromCredential {
			say(`the credential store_url is not used, because store.engine is "bbolt"`)
		}
		return
	case valid.PoolerPort(s.URL.Current()):
		say("store.url names port 6432, the usual one of a pooler such as PgBouncer: name PostgreSQL itself. An agent has few connections and keeps them, and a busy pooler delays the renewal of the term")
	}
	if s.Replicated == "no" {
		say(`store.replicated is "no": events that were answered with 200 are lost with the host of PostgreSQL`)
	}
}
