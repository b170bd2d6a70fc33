// Package state reads and writes the state: memberships, the pending changes of each user, the ledgers,
// and the position in the inbox. A [Tx] is one transaction on it.
//
// # Rows
//
// A [User] is decoded once in a transaction, changed in memory and written back by [Tx.Flush], sorted by key. A user
// has membership rows, one for 64 fields, and a row with the [PendingIndex] while changes are pending. The due index
// is a function of that row, so the two cannot disagree. A [Field] is one attribute, column, cohort or list of a
// computation, and the [Registry] holds all of them in memory.
//
// # Words
//
//	field     the source of one attribute: a computation, a column of one, a forwarded trait, a cohort or a list (field.go)
//	block     a membership row: the entries of a user for 64 fields (row.go)
//	entry     what is kept of one user and one field: assertions, the last sent value, the open change (row.go)
//	ticket    the open change of an entry: whole while it is pending, else a pointer to it (row.go)
//	loose     of an attribute change: it is queued as an event is, because its computation does not collapse (change.go)
//	lane      a line of the due index: changes that follow one schedule and take turns together (lane.go)
//	place     where the due index has a user: endpoint, lane, second (pendingindex.go)
//	slot      the number of a change among those of its record
//
// # Invariants
//
//   - Everything is written through [Tx.Put] and [Tx.Remove], because a compaction copies the keys that they touched.
//   - The ledgers and the position in the inbox are written in the same transaction as the rows that they count.
//   - A damaged row is set aside and counted, and never thrown away.
//
// # Concurrency
//
// The [State] belongs to the writer's goroutine, and to a reader that loaded its own. A [Tx] belongs to the function
// that it was made for. [Parkings] may be used concurrently.
//
// FORMAT.md, in the package store, describes the bytes.
package state
