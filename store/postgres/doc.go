// Package postgres is the engine on PostgreSQL 13 or later: one schema with a table for each bucket, and the inbox.
//
// A [DB] is a way to the server. [DB.State] is an engine.State, of which one agent at a time is the writer: the one that
// holds the [Term]. Each write transaction begins by locking the row of that term, so that an agent whose term is over
// writes nothing, even if it does not know yet. [DB.Log] is the inbox, to which every agent appends.
//
// Nothing here relies on a session: every transaction brings its settings with it and names the schema, so a pooler may
// stand between. Behind one, an agent may show under a name of the pooler or not at all, and a transaction that its agent
// left open ends by its timeout and not by the next agent, see Acquire. No statement is prepared beyond the message that brings it.
package postgres
