package pgtest

import (
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// Schema returns the address of a database that the tests of this process share, and the name of a schema that t alone
// uses while it runs.
//
// The schema does not exist yet if make is nil. Otherwise make has made its tables, for t or for a test before, and their
// rows are again those that make left: to make the tables for each test takes longer than most tests do.
func Schema(t testing.TB, make func(url, schema string)) (url, schema string) {
	t.Helper()
	running(t)
	together, err := Together()
	if err != nil {
		t.Fatal(err)
	}
	url = together.url + "&pool_max_conns=4"
	if make == nil {
		schema = unused("s")
		t.Cleanup(func() { together.run(t, "drop schema if exists SCHEMA cascade", schema) })
		return url, schema
	}
	if schema = made.take(); schema == "" {
		schema = unused("s")
		make(url, schema)
		together.run(t, keepRows, schema)
	}
	t.Cleanup(func() {
		if together.run(t, restoreRows, schema) == "t" {
			made.give(schema)
		}
	})
	return url, schema
}

const (
	// keepRows copies the tables of a schema that have rows to the schema SCHEMA_made, and lists all of them there.
	keepRows = `create schema SCHEMA_made;
create table SCHEMA_made."all tables" as select relname from pg_class where relnamespace = 'SCHEMA'::regnamespace and relkind in ('r', 'p');
do $$
declare
	one record;
begin
	for one in select oid::regclass as name, relname from pg_class where relnamespace = 'SCHEMA'::regnamespace and relkind = 'r' and pg_relation_size(oid) > 0 loop
		execute format('create table SCHEMA_made.%I as select * from %s', one.relname, one.name);
	end loop;
end $$`

	// restoreRows undoes what was done since keepRows, and answers whether it could: it brings no table back. A large table
	// is truncated, so that the next test finds no dead rows in it.
	restoreRows = `do $$
declare
	one record;
begin
	for one in select c.oid::regclass as name, pg_relation_size(c.oid) as size, a.relname is null as added
		from pg_class c left join SCHEMA_made."all tables" a using (relname) where relnamespace = 'SCHEMA'::regnamespace and relkind in ('r', 'p') loop
		if one.added then
			execute 'drop table if exists ' || one.name || ' cascade';
		elsif one.size > 65536 then
			execute 'truncate ' || one.name;
		elsif one.size > 0 then
			execute 'delete from ' || one.name;
		end if;
	end loop;
	if exists (select from SCHEMA_made."all tables" a where to_regclass(format('SCHEMA.%I', relname)) is null) then
		drop schema SCHEMA cascade;
		drop schema SCHEMA_made cascade;
		return;
	end if;
	for one in select relname from pg_class where relnamespace = 'SCHEMA_made'::regnamespace and relname <> 'all tables' and relkind = 'r' loop
		execute format('insert into SCHEMA.%I select * from SCHEMA_made.%1$I', one.relname);
	end loop;
end $$;
select to_regnamespace('SCHEMA') is not null`
)

// Database is the one of the schemas of this process. A change of tables there disturbs no other process.
type Database struct {
	url  string
	mu   sync.Mutex // covers conn
	conn *pgconn.PgConn
}

// Together makes the database of the schemas, unless it is there. Its connection lasts as long as the process, so tests
// that call [Schema] in the bubbles of synctest need that to be done before.
var Together = sync.OnceValues(func() (*Database, error) {
	s, err := shared()
	if err != nil {
		return nil, err
	}
	name := unused("schemas")
	if _, err = s.in("postgres", "create database "+name); err != nil {
		return nil, err
	}
	d := &Database{url: s.url(name)}
	d.conn, err = s.connect(name)
	return d, err
})

// run has the superuser run statements about a schema.
func (d *Database) run(t testing.TB, statements, schema string) string {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	out, err := run(d.conn, strings.ReplaceAll(statements, "SCHEMA", schema))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// made are the schemas that were made and that no test uses now.
var made schemas

type schemas struct {
	mu   sync.Mutex
	free []string
}

// take returns a schema, "" if there is none.
func (p *schemas) take() (schema string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := len(p.free) - 1; last >= 0 {
		schema, p.free = p.free[last], p.free[:last]
	}
	return schema
}

func (p *schemas) give(schema string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, schema)
}

// Need skips t where PostgreSQL is not installed, or fails it where it must be.
func Need(t testing.TB) {
	t.Helper()
	if _, err := program("initdb"); err == nil {
		return
	}
	if os.Getenv(NeedEnv) != "" {
		t.Fatalf("PostgreSQL is not installed, and %s asks for it: install the package postgresql", NeedEnv)
	}
	t.Skip("PostgreSQL is not installed: install the package postgresql to run this test")
}
