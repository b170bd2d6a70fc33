package postgres

import (
	"context"
	"fmt"

	"personasync/store/engine"
	"personasync/store/postgres/internal/roundtrip"
)

// SentTo returns the workspace of MoEngage that the store is sent to; "" of a store that knows none yet.
func (db *DB) SentTo(ctx context.Context) (id string, err error) {
	err = db.ask(ctx, func(_ int, v [][]byte) { id = string(v[0]) }, roundtrip.Statement{
		SQL: "select v from " + db.quoted(string(engine.BucketMeta)) + " where k = $1", Params: [][]byte{engine.MetaWorkspace}, Types: []uint32{roundtrip.TypeBytea}})
	if c := roundtrip.Code(err); c == roundtrip.StateUndefined || c == roundtrip.StateNoSchema {
		err = nil
	}
	return id, roundtrip.Explain(err)
}

// Admits returns an ErrOtherWorkspace, with what to do, if an agent with this configuration may not write a store that is sent to
// a workspace.
func (c *Config) Admits(workspace string) error {
	err := c.Workspace.Admits(workspace)
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w, so it only receives and never becomes the writer: correct workspace_id and api_key, and restart it; "+
		"for another workspace name another store.schema; "+
		"if this store is to go on with %s, set moengage.replaces_workspace_id = %q on every agent, and restart them", err, c.Workspace.ID, workspace)
}
