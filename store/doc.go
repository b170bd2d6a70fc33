// Package store is the durable state of the agent: the events it received, the memberships, the changes that MoEngage is to
// be sent, and those that it was sent. It knows nothing of HTTP, of Segment's messages or of MoEngage's API.
//
// # The way of one event
//
//	Append ─▶ inbox-N.db     received records in order; on disk before Append returns
//	             │ apply     one goroutine, many records in one transaction
//	             ▼
//	          state.db       memberships, pending changes, ledger, position in the inbox
//	             │ Take      due changes; the lease is on disk before they leave
//	             ▼
//	          Settle         delivered, retried later, or parked
//
// A [domain.Event] is a received event. [domain.Rules] are the part of the configuration that decides what an event
// changes. They travel through the inbox like events, so that the same records always give the same state. A
// [domain.Change] is one thing that MoEngage should be sent. [Store] is the running store; [View] reads it, whether an
// agent runs or not.
//
// # Promises
//
//   - After Append returned nil, an event survives kill -9 and power loss, and is applied exactly once.
//   - Applying is a pure function of the state and the record, however records are grouped into transactions.
//   - After a crash it is known which leases may have reached MoEngage. They are settled as uncertain, and uncertain
//     attributes are sent again: delivery is at least once.
//   - Changes of one user leave in the order in which they were applied, one request at a time on an endpoint. The failure
//     of one user delays no other.
//   - Two sums hold in every transaction: [domain.EventLedger] and [domain.ChangeLedger].
//   - Damage is never silent. Checksums find it, the damaged file is kept aside and made again from what can be read, and
//     losses are counted. No store starts empty in place of one that was there.
//   - Memory does not grow with the backlog, nor a commit of the inbox with the number of memberships.
//
// # Caveats
//
// Bytes of deleted values stay in free pages of a bbolt file until it is compacted. Values inside a transaction share memory
// with the file; everything that leaves one is a copy. A read transaction lasts no longer than a page of a listing, because
// free pages are not reused while it lasts. A backup and a check last longer, and give up when the file has grown by as much
// as there is room for.
//
// # Where things are
//
// Store is a facade. The work is done by the packages below internal: writer owns the one write transaction, orders carries
// out orders of an operator, recovery makes the files of a start sound, datadir has the directory, its lock and the disk
// budget. wal is the inbox, state a transaction, apply and outbox change it, query reads it, repair and snapshot work on
// whole files. Maintenance of the data as a whole is here: compaction, backup, check, erasure, pruning, restore.
//
// FORMAT.md describes the files.
package store
