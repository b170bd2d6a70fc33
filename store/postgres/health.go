package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"personasync/store/postgres/internal/roundtrip"

	"github.com/jackc/pgx/v5/pgconn"
)

// Health is what a store depends on at its server. Some of it a server tells only to members of pg_monitor. It
// has a field for each fact, because one round trip asks for all.
type Health struct {
	Version  string // of the server
	TLS      string // "" without
	Commit   string // synchronous_commit, as the sessions of an agent have it
	Standbys string // synchronous_standby_names
	Unsafe   string // fsync or full_page_writes, if it is off
	Size     int64  // of the tables of the schema in bytes

	Streaming, Synchronous, Unseen int // standbys; of Unseen the server tells nothing

	RoundTrip time.Duration // of one statement
	ClockOff  time.Duration // how much the clock of the server is ahead of this machine's
	Horizon   time.Duration // how long the oldest transaction has been open, behind which no dead row can be removed
	Keeper    string        // the replication slot or standby that keeps removed rows longest; "" without one
	Kept      int64         // how many transactions ago it began to
	Pooled    bool          // something stands between, which gives out sessions of the server
	Creates   bool          // this user may make tables in the schema, and the schema if it is missing
	Holder    Holder
	Doors     []string // hosts of the agents that are connected, as they say it: the writer, and those that receive for it
	NoTerm    string   // why this process could not take the term when it tried last; "" if it could, or another has it
	Elsewhere string   // why this process may not write: it sends to another workspace of MoEngage; "" if it may
	FirstDoor bool     // it comes first of the agents that are connected, but for the last holder
}

// Health asks the server. It works without a store.
func (db *DB) Health(ctx context.Context) (h Health, err error) {
	ctx, cancel := context.WithTimeout(ctx, roundtrip.Patience)
	defer cancel()
	c, err := db.pool.Acquire(ctx)
	if err != nil {
		return h, roundtrip.Explain(err)
	}
	defer c.Release()
	conn, begun := c.Value(), time.Now()
	if err := roundtrip.Send(ctx, conn, nil, roundtrip.Statement{SQL: "select 1"}); err != nil {
		return h, roundtrip.Explain(err)
	}
	h.RoundTrip = time.Since(begun)
	if err := h.read(ctx, conn, db.Schema); err != nil {
		return h, fmt.Errorf("ask PostgreSQL of its state: %w", err)
	}
	if h.Holder, err = db.Holder(ctx); err != nil {
		if s := roundtrip.Code(err); s == roundtrip.StateUndefined || s == roundtrip.StateNoSchema {
			return h, nil
		}
		return h, err
	}
	if why := db.noTerm.Load(); why != nil {
		h.NoTerm = *why
	}
	workspace, err := db.SentTo(ctx)
	if err != nil {
		return h, err
	}
	if err := db.Admits(workspace); err != nil {
		h.Elsewhere = err.Error()
	}
	h.Doors, err = db.Doors(ctx)
	first := slices.IndexFunc(h.Doors, func(host string) bool { return application(db.Schema, host) != application(db.Schema, h.Holder.Host) })
	h.FirstDoor = first < 0 || application(db.Schema, h.Doors[first]) == application(db.Schema, db.Host)
	return h, err
}

// read asks the server about itself, in one round trip. The cases are the results of the statements, in their order.
func (h *Health) read(ctx context.Context, conn *pgconn.PgConn, schema string) error {
	begun := time.Now()
	return roundtrip.Send(ctx, conn, func(n int, v [][]byte) {
		switch n {
		case 2:
			h.ClockOff = time.Until(time.UnixMicro(roundtrip.Integer(v[0]))) + time.Since(begun)/2
		case 3:
			h.Version, h.Commit, h.Standbys, h.TLS = string(v[0]), string(v[1]), string(v[2]), string(v[3])
			h.Pooled, h.Unsafe = roundtrip.Integer(v[4]) != int64(conn.PID()), string(v[5])
		case 4:
			h.Streaming, h.Synchronous, h.Unseen = int(roundtrip.Integer(v[0])), int(roundtrip.Integer(v[1])), int(roundtrip.Integer(v[2]))
		case 5:
			h.Horizon, h.Keeper, h.Kept = time.Duration(roundtrip.Integer(v[0]))*time.Microsecond, string(v[1]), roundtrip.Integer(v[2])
		case 6:
			h.Size, h.Creates = roundtrip.Integer(v[0]), v[1][0] != 0
		}
	}, roundtrip.Statement{SQL: "begin read only"}, roundtrip.Statement{SQL: "select " + settings},
		roundtrip.Statement{SQL: "select (extract(epoch from clock_timestamp()) * 1e6)::bigint"},
		roundtrip.Statement{SQL: `select current_setting('server_version'), current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
	coalesce((select s.version || ', ' || s.cipher from pg_stat_ssl s where s.pid = pg_backend_pid() and s.ssl), ''), pg_backend_pid()::bigint,
	case when current_setting('fsync') = 'off' then 'fsync' when current_setting('full_page_writes') = 'off' then 'full_page_writes' else '' end`},
		roundtrip.Statement{SQL: "select count(*) filter (where state = 'streaming'), count(*) filter (where sync_state in ('sync', 'quorum')), count(*) filter (where state is null) from pg_stat_replication"},
		roundtrip.Statement{SQL: `select coalesce((extract(epoch from clock_timestamp() - min(at)) * 1e6)::bigint, 0), coalesce(min(name), ''), coalesce(min(kept), 0) from (
	select xact_start from pg_stat_activity where backend_xmin is not null and pid <> pg_backend_pid() and datname = current_database() and backend_type <> 'autovacuum worker'
	union all select prepared from pg_prepared_xacts where database = current_database() union all select null) open (at)
	left join (select 'replication slot ' || slot_name, age(xmin)::bigint from pg_replication_slots where xmin is not null
	union all select 'standby ' || application_name, age(backend_xmin)::bigint from pg_stat_replication where backend_xmin is not null
	order by 2 desc limit 1) held (name, kept) on true`},
		roundtrip.Statement{SQL: `select coalesce((select sum(pg_total_relation_size(oid))::bigint from pg_class where relnamespace = n.oid and relkind in ('r', 'm')), 0),
	case when n.oid is null then has_database_privilege(current_database(), 'create') else has_schema_privilege(n.oid, 'create') end
	from (select) one left join pg_namespace n on n.nspname = $1`, Params: [][]byte{[]byte(schema)}, Types: []uint32{roundtrip.TypeText}},
		roundtrip.Statement{SQL: "rollback"})
}

// Doors returns the hosts of the agents that are connected, as the server names their connections. A pooler may hide some.
func (db *DB) Doors(ctx context.Context) (doors []string, err error) {
	err = db.ask(ctx, func(_ int, v [][]byte) { doors = append(doors, string(v[0])) }, roundtrip.Statement{
		SQL: `select distinct substr(application_name, length($1) + 1) from pg_stat_activity
	where datname = current_database() and left(application_name, length($1)) = $1 and length(application_name) > length($1) order by 1`,
		Params: [][]byte{[]byte(application(db.Schema, ""))}, Types: []uint32{roundtrip.TypeText}})
	return doors, roundtrip.Explain(err)
}
