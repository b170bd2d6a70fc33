package pgtest

import (
	"os"
	"strings"
	"sync"
	"testing"
)

// Schema returns the address of a database that the tests of this process share, and the name of a schema that t alone
// uses while it runs.
//
// The schema does not exist yet if make is nil. Otherwise make has made its tables, for t or for a test before, and their
// rows are again those that make left: to make the tables for each test takes longer than most tests do.
func Schema(t testing.TB, make func(url, schema string)) (url, schema string) {
	t.Helper()
	s := running(t)
	database, err := together()
	if err != nil {
		t.Fatal(err)
	}
	url = s.url(database) + "&pool_max_conns=4"
	if make == nil {
		schema = unused("s")
		t.Cleanup(func() { s.in(t, database, quietly+"drop schema if exists "+schema+" cascade") })
		return url, schema
	}
	if schema = made.take(); schema == "" {
		schema = unused("s")
		make(url, schema)
		s.in(t, database, strings.ReplaceAll(keepRows, "SCHEMA", schema))
	}
	t.Cleanup(func() {
		if s.in(t, database, quietly+strings.ReplaceAll(restoreRows, "SCHEMA", schema)) == "t" {
			made.give(schema)
		}
	})
	return url, schema
}

const (
	quietly = "set client_min_messages = error; "

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

// together makes the database of the schemas of this process. A change of tables there disturbs no other process.
var together = sync.OnceValues(func() (string, error) {
	s, err := shared()
	if err != nil {
		return "", err
	}
	name := unused("schemas")
	_, err = s.psql("postgres", "create database "+name)
	return name, err
})

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
