// Package engine is the seam between what the store knows and how it is kept: a [Log] of numbered records, where all
// that is received is put first, and a [State], ordered keys and values with transactions, where all that follows from
// it is kept.
//
// There are two implementations. One is in files: store/engine/bolt for the state, store/internal/wal for the log. The
// other is in a database across the network, store/postgres, for which the seam has this: an outcome may be unknown
// ([DoubtError], and the error of [State.Update]), and the state is read back before anything else is written; a value
// that was read belongs to its transaction; the writes of a transaction come sorted by key, at its end; reads that fail are
// kept by the transaction and returned with it, as a damaged page is; what will be read can be said before.
package engine
