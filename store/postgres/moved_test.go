package postgres

import (
	"errors"
	"strings"
	"testing"
	"time"

	"personasync/store/engine"
	"personasync/store/postgres/internal/roundtrip"
	"personasync/store/postgres/pgtest"
)

// A door that still runs must not acknowledge what nobody will apply.
func TestNobodyAppendsToAStoreThatWasMovedAway(t *testing.T) {
	list := agents(t, pgtest.URL(t), time.Hour, 2)
	term := created(t, list[0])
	writer, door := openLog(t, list[0], 1, term), openLog(t, list[1], 1, nil)
	must(t, writer.Append(t.Context(), event("ann")))
	must(t, door.Append(t.Context(), event("bob")))
	if err := term.Leave(t.Context(), "/elsewhere", 1); err == nil || !strings.Contains(err.Error(), "stop every agent") {
		t.Errorf("left behind: %v", err)
	}
	if m, found, err := list[1].Moved(t.Context()); found || err != nil {
		t.Errorf("a refused move left %+v, %v", m, err)
	}
	must(t, door.Append(t.Context(), event("cid")))
	must(t, term.Leave(t.Context(), "/elsewhere", 3))
	if m, found, err := list[1].Moved(t.Context()); !found || err != nil || m.To != "/elsewhere" || m.From != "" || time.Since(m.At).Abs() > time.Hour {
		t.Errorf("%+v, %v, %v", m, found, err)
	}
	for _, in := range []*Log{writer, door} {
		if err := in.Append(t.Context(), event("dan")); err == nil || errors.As(err, new(*engine.DoubtError)) || !strings.Contains(err.Error(), "moved away") {
			t.Errorf("an append is answered with %v", err)
		}
	}
	must(t, term.Leave(t.Context(), "/other", 3)) // a move that is made again
}

func TestAMoveNeedsTheTerm(t *testing.T) {
	db := agents(t, pgtest.URL(t), time.Hour, 1)[0]
	term := created(t, db)
	openLog(t, db, 1, term)
	must(t, term.Release(t.Context()))
	_ = leads(t, db)
	for name, err := range map[string]error{
		"Leave": term.Leave(t.Context(), "x", 0), "Empty": term.Empty(t.Context(), "x"), "Arrived": term.Arrived(t.Context()),
	} {
		if !errors.Is(err, ErrTermOver) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A schema may have a name that must be quoted, and tables of a move that did not come to its end.
func TestASchemaIsEmptied(t *testing.T) {
	db := agent(t, Config{URL: pgtest.URL(t), Schema: `an "odd" one`})
	term := created(t, db)
	in := openLog(t, db, 1, term)
	must(t, in.Append(t.Context(), event("ann")))
	must(t, term.Empty(t.Context(), "/data"))
	if found, err := db.Exists(t.Context()); found || err != nil {
		t.Error(err)
	}
	must(t, db.Create(t.Context(), term, 9, [][]byte{[]byte("rows")}, func(engine.Tx) error { return nil }))
	again := openLog(t, db, 50, term)
	if again.Next() != 50 {
		t.Errorf("the next record is %d", again.Next())
	}
	if m, found, err := db.Moved(t.Context()); !found || m.From != "/data" || err != nil {
		t.Errorf("%+v, %v", m, err)
	}
	must(t, term.Arrived(t.Context()))
	if _, found, err := db.Moved(t.Context()); found || err != nil {
		t.Error("still marked", err)
	}
}

func TestAPlaceHasNoPassword(t *testing.T) {
	for address, want := range map[string]string{
		"postgres://u:hunter2@h:5433/db?sslmode=verify-full&password=hunter2": "postgres://u@h:5433/db (schema personasync)",
		"postgres:///db?host=/run/pg&user=u":                                  "postgres:///db?host=/run/pg (schema personasync)",
		"postgres://u:hunter2@a,b:2/db":                                       "postgres://u@a,b:2/db (schema personasync)",
	} {
		if got := (Config{URL: address}).Place(); got != want {
			t.Errorf("%s is %s", address, got)
		}
	}
}

// TestTheTablesOfOthersStayWhenASchemaIsEmptied: a move into the schema public dropped every table that was there.
func TestTheTablesOfOthersStayWhenASchemaIsEmptied(t *testing.T) {
	db := agent(t, Config{URL: pgtest.URL(t), Schema: "public"})
	must(t, db.run(t.Context(), `create table orders (id int); create table records_of_ours (first bigint); create table ids (id int); insert into orders values (1);
		create function append_to(a int) returns int language sql as 'select a'`))
	term := created(t, db)
	in := openLog(t, db, 1, term)
	must(t, in.Append(t.Context(), event("ann")))
	must(t, term.Empty(t.Context(), "/data"))
	var left string
	must(t, db.ask(t.Context(), func(_ int, v [][]byte) { left = string(v[0]) }, roundtrip.Statement{SQL: "select string_agg(relname, ' ' order by relname) from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"}))
	if want := "holder ids moved orders records_of_ours term"; left != want {
		t.Errorf("left are %q, want %q", left, want)
	}
	must(t, db.run(t.Context(), "select append_to(id) from orders"))
}
