package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const onPostgres = "[store]\nengine = \"postgres\"\n"

func TestWhatIsWrongInStoreIsRefused(t *testing.T) {
	const local, remote = "url = \"postgres://u:hunter2@localhost/db\"\n", "postgres://u:hunter2@db.example.com"
	for _, c := range []struct{ doc, want string }{
		{"engine = \"sqlite\"", `store.engine = "sqlite": must be bbolt or postgres`},
		{local, `store.url: has no effect with store.engine = "bbolt"`},
		{"url_file = \"/x\"", `store.url_file = "/x": `},
		{"schema = \"other\"", `store.schema = "other": has no effect with store.engine = "bbolt"`},
		{"term = \"10s\"", `store.term = "10s": has no effect`},
		{"replicated = \"no\"", `store.replicated = "no": has no effect`},
		{"engine = \"postgres\"\nterm = \"2s\"", `store.term = "2s": must be from 3s to 1m`},
		{"engine = \"postgres\"\nreplicated = \"yes\"", "must be standby, elsewhere or no"},
		{"engine = \"postgres\"\nschema = \"Mine\"", `store.schema = "Mine": must be a name of small letters`},
		{"engine = \"postgres\"\nschema = \"pg_mine\"", `must be a name of small letters`},
		{"engine = \"postgres\"\nschema = \"a; drop\"", `must be a name of small letters`},
		{"engine = \"postgres\"\nurl = \"host=db password=hunter2\"", "store.url: must be a whole address"},
		{"engine = \"postgres\"\nurl = \"mysql://u:hunter2@h/db\"", "store.url: must be a whole address"},
		{"engine = \"postgres\"\nurl = \"postgres:u:hunter2\"", "store.url: must be a whole address"},
		{"engine = \"postgres\"\nurl = \"postgres://u:hunter2/@localhost/db\"", "store.url: must be a whole address"},
		{"engine = \"postgres\"\nurl = \"postgres://u:hunter2@localhost\"", "store.url: must name a database"},
		{"engine = \"postgres\"\nurl = \"postgres://u:p@localhost/db#hunter2\"", "store.url: must end before any #"},
		{"engine = \"postgres\"\nurl = \"" + remote + "/db\"", "store.url: must have sslmode=verify-full in it"},
		{"engine = \"postgres\"\nurl = \"" + remote + "/db?sslmode=require\"", "must have sslmode=verify-full in it"},
		{"engine = \"postgres\"\nurl = \"" + remote + "/db?sslmode=verify-ca\"", "must have sslmode=verify-full in it"},
		{"engine = \"postgres\"\nurl = \"" + remote + "/db?sslmode=verify-full&sslmode=disable\"", "must have sslmode=verify-full in it"},
		{"engine = \"postgres\"\nurl = \"postgres://u:hunter2@localhost,10.0.0.1:5433/db\"", "must have sslmode=verify-full in it"},
		{"engine = \"postgres\"\nurl = \"postgres://u:hunter2@localhost/db?host=10.0.0.1\"", "must have sslmode=verify-full in it"},
		{"engine = \"postgres\"\n" + local + "[retention]\nmax_data_bytes = 100_000_000", `retention.max_data_bytes = 100000000: does not apply with store.engine = "postgres"`},
		{"engine = \"postgres\"\n" + local + "[backup]\ndir = \"/b\"\nschedule = \"@daily\"", `backup.schedule = "@daily": does not apply`},
	} {
		faults := strings.Join(faultsOf(t, lines("[store]", c.doc)), "\n")
		if !strings.Contains(faults, c.want) || strings.Contains(faults, hidden) {
			t.Errorf("%s\nis refused by\n%s\nwant\n%s", c.doc, faults, c.want)
		}
	}
}

func TestAddressesOfDatabases(t *testing.T) {
	for _, address := range []string{
		"postgres://u:p@localhost/db", "postgresql://u@127.0.0.1:5433/db?sslmode=disable", "postgres://u@[::1]/db", "postgres:///db?host=/run/postgresql",
		"postgres://u:p@db.example.com/db?sslmode=verify-full&sslrootcert=/ca.pem", "postgres://u:p@10.0.0.1:5432,10.0.0.2:5433/db?sslmode=verify-full",
		"postgres://u:p%40%3A%2F@localhost?dbname=db",
	} {
		c := mustRead(t, onPostgres+"url = \""+address+"\"")
		if c.Store.URL.Current() != address || !c.Store.OnPostgres() {
			t.Errorf("%s: %+v", address, c.Store)
		}
	}
}

func TestWarningsOfStore(t *testing.T) {
	remote := onPostgres + "url = \"postgres://u:hunter2@db.example.com%s/db?sslmode=verify-full\"\n"
	for _, c := range []struct{ doc, want string }{
		{strings.ReplaceAll(remote, "%s", ""), ""},
		{strings.ReplaceAll(remote, "%s", ":6432"), "store.url names port 6432"},
		{strings.ReplaceAll(remote, "%s", ":6432,other:5432"), "store.url names port 6432"},
		{strings.ReplaceAll(remote, "%s", "") + "replicated = \"no\"", `store.replicated is "no"`},
		{onPostgres, "store.url is not set: `personasync run` will not start"},
	} {
		got := strings.Join(mustRead(t, complete+c.doc).Warnings(), "\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) || strings.Contains(got, hidden) {
			t.Errorf("%s\nwarns\n%s\nwant\n%s", c.doc, got, c.want)
		}
	}
	err := mustRead(t, complete+onPostgres).Complete()
	if err == nil || !strings.Contains(err.Error(), "store.url: must be set as this key, as store.url_file or as the credential store_url: it is the address of the database") {
		t.Error(err)
	}
}

func TestAnAddressForAnotherProgramHasNoPassword(t *testing.T) {
	for address, want := range map[string]string{
		"postgres://u:hunter2@h:5433/db?sslmode=verify-full&password=hunter2": "postgres://u@h:5433/db?sslmode=verify-full",
		"postgres:///db?host=%2Frun%2Fpg":                                     "postgres:///db?host=%2Frun%2Fpg",
	} {
		if got := (&Store{URL: Secret{address}}).Address(); got != want {
			t.Errorf("%s is %s", address, got)
		}
	}
	if got := new(Store).Address(); got != "postgres://…" {
		t.Error(got)
	}
}

// A credential stays behind after a move back to files, and comes before a move to PostgreSQL.
func TestACredentialForTheOtherEngineIsAWarning(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "store_url"), []byte("postgres://u:hunter2@localhost/db"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := mustRead(t, complete, "CREDENTIALS_DIRECTORY="+dir)
	if w := c.Warnings(); len(w) != 1 || w[0] != `the credential store_url is not used, because store.engine is "bbolt"` {
		t.Error(w)
	}
}

// A command needs the address to find the data of a stopped agent, and must not fail where the agent alone may read it.
func TestCommandsReadTheAddressWhereTheyMay(t *testing.T) {
	url := filepath.Join(t.TempDir(), "url")
	doc := onPostgres + "url_file = \"" + url + "\"\n[log]\nlevel = \"loud\"\n"
	c, err := LoadPlaces(writeFile(t, "agent.toml", doc), nil)
	if err != nil || len(c.Store.URL) != 0 || !slices.Contains(c.Unread(), "store.url") {
		t.Errorf("without its file: %v, %v", c, err)
	}
	if err := os.WriteFile(url, []byte("postgres://u@localhost/db\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err = LoadPlaces(writeFile(t, "agent.toml", doc), nil)
	if err != nil || c.Store.URL.Current() != "postgres://u@localhost/db" {
		t.Errorf("with its file: %v, %v", c, err)
	}
}

// The default of a faulty engine are files, which are other data.
func TestCommandsDoNotGuessTheEngine(t *testing.T) {
	for _, doc := range []string{
		"[store]\nengine = \"postgress\"\n", "[store]\nengin = \"postgres\"\n", "[stoer]\nengine = \"postgres\"\n", "engine = \"postgres\"\n",
		"[store]\nengine = postgres\n", "[moengage]\nengine = \"postgres\"\n", onPostgres + "url = \"x\"\n", "[[computation]]\nkey = \"a\"\nengine = \"postgres\"\n",
	} {
		if c, err := LoadPlaces(writeFile(t, "agent.toml", doc), nil); err == nil {
			t.Errorf("%s leads to %s", doc, c.Store.Engine)
		}
	}
}

// The store stays what it is until a restart, with the checks that belong to it.
func TestAReloadKeepsTheStore(t *testing.T) {
	running := mustRead(t, onPostgres+"url = \"postgres://u@localhost/db\"\nterm = \"6s\"")
	next := mustRead(t, lines("[log]", `level = "warn"`))
	kept, err := next.Succeed(running)
	if diff := cmp.Diff([]string{"store.engine", "store.url", "store.term"}, kept); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if next.Store.URL.Current() != running.Store.URL.Current() || next.Store.Engine != "postgres" || next.Log.Level != "warn" {
		t.Errorf("it became %+v", next.Store)
	}
	next = mustRead(t, lines("[backup]", `dir = "/b"`, `schedule = "@daily"`))
	if _, err := next.Succeed(running); err == nil || !strings.Contains(err.Error(), "does not apply") {
		t.Errorf("backups of files are made beside the database: %v", err)
	}
}

// TestAReloadKeepsTheWorkspace: only a start asks whether the store was sent to another one. Files may be given their first.
func TestAReloadKeepsTheWorkspace(t *testing.T) {
	of := func(id string) string { return lines("[moengage]", `workspace_id = "`+id+`"`) }
	shared := onPostgres + "url = \"postgres://u@localhost/db\"\n"
	if err := mustRead(t, shared+of("B")).MovesWorkspace(mustRead(t, shared+of("A"))); err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("of a shared store: %v", err)
	}
	if err := mustRead(t, shared+of("A")).MovesWorkspace(mustRead(t, shared+of("A"))); err != nil {
		t.Errorf("unchanged: %v", err)
	}
	if err := mustRead(t, of("B")).MovesWorkspace(mustRead(t, of("A"))); !errors.Is(err, ErrAtStart) || !strings.Contains(err.Error(), "changes would go to B in place of A") {
		t.Errorf("in files: %v", err)
	}
	if err := mustRead(t, of("B")).MovesWorkspace(mustRead(t, of(""))); err != nil {
		t.Errorf("the first one: %v", err)
	}
	if err := mustRead(t, of("A")).MovesWorkspace(mustRead(t, of("A")+"base_url = \"http://127.0.0.1:8490\"\n")); err == nil || !strings.Contains(err.Error(), "in place of A over http") {
		t.Errorf("after a rehearsal: %v", err)
	}
}
