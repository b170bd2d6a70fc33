package postgres

import (
	"context"
	"errors"
	"fmt"

	"personasync/store/engine"
)

// ErrOtherWorkspace says that an agent may not write a store, which was sent to another workspace of MoEngage than its own.
var ErrOtherWorkspace = errors.New("the store belongs to another workspace of MoEngage")

// SentTo returns the workspace of MoEngage that the store is sent to; "" of a store that knows none yet.
func (db *DB) SentTo(ctx context.Context) (id string, err error) {
	err = db.ask(ctx, func(_ int, v [][]byte) { id = string(v[0]) }, statement{
		"select v from " + db.quoted(string(engine.BucketMeta)) + " where k = $1", [][]byte{engine.MetaWorkspace}, []uint32{typeBytea}})
	if c := code(err); c == stateUndefined || c == stateNoSchema {
		err = nil
	}
	return id, explain(err)
}

// Admits returns an ErrOtherWorkspace if an agent with this configuration may not write a store that is sent to a workspace.
func (c *Config) Admits(workspace string) error {
	if workspace == "" || c.Workspace == "" || workspace == c.Workspace || workspace == c.Replaces {
		return nil
	}
	return fmt.Errorf("%w: it is sent to %s, and moengage.workspace_id of this agent is %s, so it only receives and never becomes the writer: "+
		"correct workspace_id and api_key, and restart it; for another workspace name another store.schema; "+
		"if this store is to go on with %[3]s, set moengage.replaces_workspace_id = %[2]q on every agent, and restart them", ErrOtherWorkspace, workspace, c.Workspace)
}
