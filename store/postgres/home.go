package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"personasync/store/postgres/internal/roundtrip"
)

// Home names the database and its timeline, which changes when a standby is promoted and when a backup is restored. It is
// empty where this user may not ask.
func (db *DB) Home(ctx context.Context) (home []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, roundtrip.Patience)
	defer cancel()
	err = db.ask(ctx, func(_ int, v [][]byte) { home = slices.Clone(v[0]) }, roundtrip.Statement{SQL: "select (select system_identifier from pg_control_system())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '/' || $1",
		Params: [][]byte{[]byte(db.Schema)}, Types: []uint32{roundtrip.TypeText}})
	if roundtrip.Code(err) == roundtrip.StateNoRight {
		return nil, nil
	}
	return home, roundtrip.Explain(err)
}

// tellPatience bounds how long a person waits for the name of the writer.
const tellPatience = 2 * time.Second

// NotWriter returns ErrNotWriter, with the agent that holds the term.
func (db *DB) NotWriter() error {
	ctx, cancel := context.WithTimeout(context.Background(), tellPatience)
	defer cancel()
	h, err := db.Holder(ctx)
	if err != nil {
		return fmt.Errorf("%w, and which one is cannot be asked now: %w", ErrNotWriter, err)
	}
	if h.Left <= 0 {
		return fmt.Errorf("%w, and no other one is at the moment: try again in a few seconds", ErrNotWriter)
	}
	return fmt.Errorf("%w: that is the one on %s: give the command there", ErrNotWriter, h.Host)
}
