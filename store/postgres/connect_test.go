package postgres

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"personasync/store/engine"
	"personasync/store/postgres/internal/roundtrip"
	"personasync/store/postgres/pgtest"
)

// open connects to a database of the test.
func open(t testing.TB) *DB {
	t.Helper()
	db, err := Connect(context.Background(), Config{URL: pgtest.URL(t), Replicated: "no", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func TestAnAddressThatCannotBeUsedSaysWhatToDoWithoutThePassword(t *testing.T) {
	for address, want := range map[string]string{
		"":                                         "config check",
		"host=db password=secret":                  "not of the form postgres://USER",
		"postgres://u:sec%ret@db/x":                "not of the form postgres://USER",
		"mysql://u:secret@db/x":                    "not of the form postgres://USER",
		"postgres://u:secret@/x":                   "names no host",
		"postgres://u:secret@db":                   "names no database",
		"postgres://db/x?password=secret":          "names no user",
		"postgres://u:secret@db/x?sslmode=require": "sslmode=verify-full",
		"postgres://u:secret@localhost,db/x?sslmode=disable":          "does not prove that db is your server",
		"postgres://u:secret@db/x?connect_timeout=secret":             "cannot be used",
		"postgres://u:secret@db:port/x":                               "not of the form",
		"postgres://u:secret@db/x?pool_max_conns=secretly":            "cannot be used",
		"postgres://u:secret@db/x?sslrootcert=/no/such/file/anywhere": "/no/such/file",
	} {
		_, _, err := parse(address)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "u:sec") {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
}

func TestTheWayToAnotherMachineIsVerified(t *testing.T) {
	for address, verified := range map[string]bool{
		"postgres://u@db/x":                      true,
		"postgres://u@10.0.0.1,127.0.0.1/x":      true,
		"postgres://u@db/x?sslmode=verify-full":  true,
		"postgres://u@127.0.0.1/x":               false,
		"postgres://u@[::1]:5433/x":              false,
		"postgres://u@localhost/x?sslmode=allow": false,
		"postgres://u@/x?host=/run/postgresql":   false,
	} {
		c, _, err := parse(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		tls := c.TLSConfig
		if got := tls != nil && !tls.InsecureSkipVerify && tls.ServerName != ""; got != verified {
			t.Errorf("%s: verified %v, want %v", address, got, verified)
		}
	}
}

func TestAServerThatCannotKeepAStoreSaysWhatToDo(t *testing.T) {
	address := pgtest.URL(t)
	with := func(change func(u *url.URL)) string {
		u, _ := url.Parse(address)
		change(u)
		return u.String()
	}
	for what, c := range map[string]struct {
		Config
		want string
	}{
		"no server": {Config{URL: "postgres://u:secret@127.0.0.1:1/x", Replicated: "no"}, "see that PostgreSQL runs there"},
		"no database": {Config{URL: with(func(u *url.URL) { u.Path = "/nothing" }), Replicated: "no"},
			"create the database there"},
		"no user": {Config{URL: with(func(u *url.URL) { u.User = url.UserPassword("nobody", "secret") }), Replicated: "no"},
			"user and password"},
		"a standby": {Config{URL: with(func(u *url.URL) {
			u.RawQuery += "&default_transaction_read_only=on"
		}), Replicated: "no"}, "name every server"},
	} {
		db, err := Connect(t.Context(), c.Config)
		if err == nil {
			db.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}

// TestNothingStaysPrepared: a pooler may have each transaction meet another session.
func TestNothingStaysPrepared(t *testing.T) {
	db, err := Connect(t.Context(), Config{URL: pgtest.URL(t) + "&pool_max_conns=1", Replicated: "no", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if err := db.Create(t.Context(), newTerm(t, db), 7, buckets, func(engine.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	get(t, db.State(nil), "k")
	if _, err := db.Exists(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := countOf(t, db, "select count(*) from pg_prepared_statements where name <> ''"); n != 0 {
		t.Errorf("%d prepared statements", n)
	}
}

func TestTwoAgentsMakeTheSchemaAtOnce(t *testing.T) {
	db := open(t)
	done := make(chan error)
	for range 4 {
		go func() { done <- db.ensureTerm(t.Context()) }()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if found, err := db.Exists(t.Context()); found || err != nil {
		t.Errorf("a store exists: %v, %v", found, err)
	}
}

// TestAReadOnlyDatabaseSaysWhatToDo: a standby answers as a database does that was made read-only. The firewall is not the
// reason.
func TestAReadOnlyDatabaseSaysWhatToDo(t *testing.T) {
	c := Config{URL: pgtest.URL(t), Replicated: "no", Log: slog.New(slog.DiscardHandler)}
	db, err := Connect(t.Context(), c)
	must(t, err)
	defer db.Close()
	var name string
	must(t, db.ask(t.Context(), func(_ int, v [][]byte) { name = string(v[0]) }, roundtrip.Statement{SQL: "select current_database()"}))
	err = db.run(t.Context(), "alter database "+name+" set default_transaction_read_only = on")
	must(t, err)
	if _, err := Connect(t.Context(), c); err == nil || !strings.Contains(err.Error(), "takes no writes") || !strings.Contains(err.Error(), "name every server") {
		t.Errorf("a new connection: %v", err)
	}
}

// TestANewStoreNeedsItsStandby: one that exists is opened without, see the condition no_standby.
func TestANewStoreNeedsItsStandby(t *testing.T) {
	db, err := Connect(t.Context(), Config{URL: pgtest.URL(t), Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	defer db.Close()
	if err := db.RequireStandby(t.Context()); err == nil || !strings.Contains(err.Error(), "replicated = ") || Passes(err) {
		t.Errorf("without a standby: %v", err)
	}
}
