package postgres

import (
	"context"
	"time"
)

// Door is an agent that is connected to the store: the writer, or another one that receives for it.
type Door struct {
	Host  string
	Since time.Time // of the oldest of its connections
}

// Doors returns the agents that are connected, as the server names their connections. A pooler may hide some.
func (db *DB) Doors(ctx context.Context) (doors []Door, err error) {
	prefix := application(db.Schema, "")
	err = db.ask(ctx, func(_ int, v [][]byte) {
		doors = append(doors, Door{string(v[0]), time.UnixMicro(integer(v[1]))})
	}, statement{`select substr(application_name, length($1) + 1), (extract(epoch from min(backend_start)) * 1e6)::bigint from pg_stat_activity
	where datname = current_database() and left(application_name, length($1)) = $1 and length(application_name) > length($1) group by 1 order by 1`,
		[][]byte{[]byte(prefix)}, []uint32{typeText}})
	return doors, explain(err)
}
