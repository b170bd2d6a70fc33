// Package engine is the seam between what the store knows and how it is kept: an ordered key-value state with
// transactions, in which everything but the inbox is written.
//
// The one implementation is store/engine/bolt. What a second one, over a network, would need is prepared: the outcome of
// an Update may be unknown, and the state is then read back before anything else is written; a value that was read
// belongs to its transaction; and all writes of a transaction are known before it commits, sorted by key. Reads that can
// fail would be kept by its Tx and returned by Update; View does the same with a damaged page.
package engine
