// Package groupcommit is the way into an inbox: records that many goroutines append at once share one transaction.
//
//	Append ─▶ queue ─▶ commit(group): one transaction ─▶ each caller has its answer
//
// A [Committer] knows nothing of where records are kept. The log that embeds it says how a group is written, and has the
// rest of its methods for writing from it: store/internal/wal on files, store/postgres in a database.
package groupcommit
