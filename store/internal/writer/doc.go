// Package writer owns the one transaction that writes state.db.
//
// One goroutine, [Writer.Run], makes every write transaction: it applies the records of the inbox, and the leases,
// settlements and operators' commands of other goroutines ride in the same transactions. So nothing edits the
// outbox behind apply's back, and a command sees all records up to one number and none after it.
//
//	Do ─▶ mailbox ────────┐
//	inbox ────────────────┼─▶ one transaction ─▶ commit ─▶ Await, Wake
//	carried over ─────────┘
//
// What survives a crash is the file, as the last commit left it. Everything in memory is read back from it, at a start
// and after a transaction that failed. There is no other transaction until that succeeded, because the next one would
// write what the failed one left in memory.
//
// The writer yields to acknowledgements, which want the same disk: see pacing.go.
package writer
