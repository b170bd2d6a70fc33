package postgres

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"personasync/store/postgres/internal/roundtrip"
)

// Move says where the store of a schema was moved, or from where one is being moved here. Until that is over no agent may
// open the store. One of the two is empty.
type Move struct {
	To, From string
	At       time.Time
}

// movedTable has a Move. A schema without the table has none.
const movedTable = `create table if not exists %[1]s.moved (id int primary key check (id = 1), away boolean not null, place text not null, at timestamptz not null)`

// dropStore removes everything of a store but the term, under which that is done. A schema such as public may have tables of
// others, which stay: those of a store, of any version, are told by their columns.
const dropStore = `do $$
declare
	one record;
begin
	for one in select c.oid::regclass as name from pg_class c where c.relnamespace = '%[1]s'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
		and (select string_agg(a.attname || ' ' || a.atttypid::regtype, ', ' order by a.attnum) from pg_attribute a where a.attrelid = c.oid and a.attnum > 0)
			in ('k bytea, v bytea', 'first bigint, last bigint, newest bigint, chunk bytea', case c.relname when 'append_lock' then 'id integer' end) loop
		execute 'drop table ' || one.name;
	end loop;
	for one in select p.oid::regprocedure as name from pg_proc p where p.pronamespace = '%[1]s'::regnamespace and p.proname ~ '^append_[0-9]+$' loop
		execute 'drop function ' || one.name;
	end loop;
end $$`

// Moved returns the move of the store; found is false without one.
func (db *DB) Moved(ctx context.Context) (m Move, found bool, err error) {
	err = db.ask(ctx, func(_ int, v [][]byte) {
		found, m.At = true, time.UnixMicro(roundtrip.Integer(v[2]))
		if v[0][0] != 0 {
			m.To = string(v[1])
		} else {
			m.From = string(v[1])
		}
	}, roundtrip.Statement{SQL: "select away, place, (extract(epoch from at) * 1e6)::bigint from " + db.quoted("moved")})
	if c := roundtrip.Code(err); c == roundtrip.StateUndefined || c == roundtrip.StateNoSchema {
		err = nil
	}
	return m, found, roundtrip.Explain(err)
}

// Empty removes the store of the schema, of which no agent may open what comes in its place before Arrived.
func (t *Term) Empty(ctx context.Context, from string) error {
	schema := quote(t.db.Schema)
	return t.fenced(ctx, func(conn *pgconn.PgConn) error {
		return roundtrip.Send(ctx, conn, nil, roundtrip.Statement{SQL: fmt.Sprintf(movedTable, schema)}, roundtrip.Statement{SQL: fmt.Sprintf(dropStore, schema)}, t.db.move(false, from))
	})
}

// move is the statement that writes a Move.
func (db *DB) move(away bool, place string) roundtrip.Statement {
	return roundtrip.Statement{SQL: fmt.Sprintf("insert into %s values (1, %t, $1, now()) on conflict (id) do update set away = excluded.away, place = excluded.place, at = excluded.at", db.quoted("moved"), away),
		Params: [][]byte{[]byte(place)}, Types: []uint32{roundtrip.TypeText}}
}

// Arrived lets agents open the store that Empty made room for.
func (t *Term) Arrived(ctx context.Context) error {
	return t.fenced(ctx, func(conn *pgconn.PgConn) error {
		return roundtrip.Send(ctx, conn, nil, roundtrip.Statement{SQL: "delete from " + t.db.quoted("moved")})
	})
}

// Leave has no agent open the store any more, which is at to now, and none append to it: last must be the number of its
// newest record, and none can come behind it.
func (t *Term) Leave(ctx context.Context, to string, last uint64) error {
	return t.fenced(ctx, func(conn *pgconn.PgConn) error {
		found := int64(0)
		err := roundtrip.Send(ctx, conn, func(n int, v [][]byte) {
			if n == 2 {
				found = roundtrip.Integer(v[0])
			}
		}, roundtrip.Statement{SQL: fmt.Sprintf(movedTable, quote(t.db.Schema))}, roundtrip.Statement{SQL: "delete from " + t.db.quoted("append_lock")}, // waits for an append
			roundtrip.Statement{SQL: "select coalesce(max(last), 0) from " + t.db.quoted("records")}, t.db.move(true, to))
		if err == nil && uint64(found) > last {
			err = fmt.Errorf("an agent has received records behind %d meanwhile: stop every agent of this store", last)
		}
		return err
	})
}

// Place names the schema without the password.
func (c Config) Place() string {
	u, err := url.Parse(c.URL)
	if err != nil {
		return "PostgreSQL"
	}
	place := url.URL{Scheme: "postgres", Host: u.Host, Path: u.Path}
	if name := u.User.Username(); name != "" {
		place.User = url.User(name)
	}
	if host := u.Query().Get("host"); host != "" {
		place.RawQuery = "host=" + host
	}
	return place.String() + " (schema " + cmp.Or(c.Schema, "personasync") + ")"
}
