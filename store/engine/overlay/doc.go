// Package overlay is an [engine.Tx] in memory on top of another one, which it only reads.
//
// [Over] begins one on a read transaction, and [Empty] one on nothing. Writes can be read back from the
// overlay, and is gone with it. So the code that changes a state can be run without changing one.
//
// Invariant: an overlay calls no method of its base that writes. It belongs to one goroutine, and lives no longer than
// its base.
package overlay
