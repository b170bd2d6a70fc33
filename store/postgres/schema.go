package postgres

import (
	"context"
	"fmt"
	"strings"

	"personasync/store/engine"
	"personasync/store/postgres/internal/roundtrip"
)

// The schema, where %[1]s is its quoted name. Tables are named as the buckets are; the bytes in them are those of
// store/FORMAT.md.
//
//	term         the fence: its number changes only when another agent takes over
//	holder       who holds the term, renewed every few seconds
//	append_lock  locked by each append, and never updated: no dead rows
//	records      the inbox, partitioned by number; see log.go
//	append_1     one append: a function, so that the lock is taken only once all of the chunk has arrived
const (
	termTables = `
create table if not exists %[1]s.term (id int primary key check (id = 1), number bigint not null);
create table if not exists %[1]s.holder (id int primary key check (id = 1), holder text, host text, version text, since timestamptz, until timestamptz) with (fillfactor = 10);
insert into %[1]s.term values (1, 0) on conflict do nothing;
insert into %[1]s.holder (id) values (1) on conflict do nothing;`

	inboxTables = `
create table if not exists %[1]s.append_lock (id int primary key check (id = 1));
insert into %[1]s.append_lock values (1) on conflict do nothing;
create table if not exists %[1]s.records (first bigint primary key, last bigint not null, newest bigint not null, chunk bytea not null) partition by range (first);
alter table %[1]s.records alter chunk set storage external;
create or replace function %[1]s.append_1(known bigint, many bigint, newest bigint, chunk bytea) returns bigint language plpgsql as $$
declare
	begins bigint;
begin
	perform set_config('lock_timeout', '5s', true), set_config('synchronous_commit', case current_setting('synchronous_commit') when 'remote_apply' then 'remote_apply' else 'on' end, true);
	perform from %[1]s.append_lock where id = 1 for update;
	if not found then
		raise exception 'the store was moved away from here';
	end if;
	select r.last + 1 into begins from %[1]s.records r where r.first >= known order by r.first desc limit 1;
	if begins is null then
		select coalesce(max(r.last) + 1, 1) into begins from %[1]s.records r;
	end if;
	if many > 0 then
		insert into %[1]s.records values (begins, begins + many - 1, newest, chunk);
	end if;
	return begins;
end $$;`

	bucketTable = `
create table if not exists %[1]s.%[2]s (k bytea primary key, v bytea not null) with (fillfactor = %[3]d, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
alter table %[1]s.%[2]s alter k set storage plain;`
)

// fill is how full a page of a bucket's table is made: little where few rows are rewritten by every transaction, nearly
// whole where rows are only added. 70 elsewhere.
var fill = map[string]int{"meta": 50, "jobs": 50, "fields": 50, "flights": 50,
	"journal": 90, "history": 90, "messages": 90, "samples": 90, "verdicts": 90, "tombstones": 90, "deletions": 90}

// inside is the table of what is in the inner buckets of a bucket. A key there begins with the name of its inner bucket.
func inside(bucket string) string { return bucket + " inside" }

// ensureTerm makes the schema, and the tables that a term needs, where they are missing.
func (db *DB) ensureTerm(ctx context.Context) error {
	schema, user := quote(db.Schema), quote(db.pool.config.User)
	var failed error
	advice := ""
	for range 2 { // two agents may start at once: the one that comes second finds what the other made
		found, err := db.exists(ctx, "to_regclass", db.quoted("holder"))
		if err != nil || found {
			return roundtrip.Explain(err)
		}
		if found, err = db.exists(ctx, "to_regnamespace", schema); err != nil {
			return roundtrip.Explain(err)
		}
		create := fmt.Sprintf(termTables, schema)
		advice = fmt.Sprintf("GRANT ALL ON SCHEMA %s TO %s", schema, user)
		if !found {
			create = "create schema " + schema + ";" + create
			advice = fmt.Sprintf("CREATE SCHEMA %s AUTHORIZATION %s", schema, user)
		}
		if failed = db.run(ctx, create); failed == nil {
			return nil
		}
	}
	if roundtrip.Code(failed) == roundtrip.StateNoRight {
		return fmt.Errorf("no store can be made in the schema %s: %w: have an administrator of the database run: %s", db.Schema, failed, advice)
	}
	return fmt.Errorf("no store can be made in the schema %s: %w: name a schema that nothing else uses in store.schema", db.Schema, failed)
}

// Exists reports whether the schema has a store.
func (db *DB) Exists(ctx context.Context) (found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, roundtrip.Patience)
	defer cancel()
	found, err = db.exists(ctx, "to_regclass", db.quoted(string(engine.BucketMeta)))
	return found, roundtrip.Explain(err)
}

// tables is the SQL that makes the tables of a store.
func (db *DB) tables(buckets [][]byte) string {
	schema := quote(db.Schema)
	var sql strings.Builder
	fmt.Fprintf(&sql, inboxTables, schema)
	for _, name := range append([]string{string(engine.BucketMeta)}, texts(buckets)...) {
		full, known := fill[name]
		if !known {
			full = 70
		}
		for _, table := range []string{name, inside(name)} {
			if table == name || name == "messages" {
				fmt.Fprintf(&sql, bucketTable, schema, quote(table), full)
			}
		}
	}
	return sql.String()
}

func texts(names [][]byte) []string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = string(name)
	}
	return list
}
