// Package store is the domain and its durable state: what events mean, who is a member of what, what
// MoEngage should be told, and what it was told. It is the only package that knows how things are
// kept (bbolt), and it never learns of HTTP, Segment or MoEngage.
//
// # The road of one event
//
//	Append ─▶ inbox-N.db     received records in order; on disk before Append returns
//	             │ apply     one goroutine, in batches, one transaction each
//	             ▼
//	          state.db       membership, what waits, ledger, position in the inbox
//	             │ Take      due deliveries, remembered as a lease before they leave
//	             ▼
//	          Settle         delivered, to be tried again, or parked
//
// An [Event] is what the door read. [Rules] are the part of the configuration that decides what an
// event changes; they travel through the inbox like events, so that the same records always give the
// same state. A [Change] is one thing MoEngage should be told. [Store] is the live state, [View] looks
// at it, whether an agent runs or not.
//
// # Promises
//
//   - After Append returned nil, an event survives kill -9 and power loss, and is applied exactly once.
//   - Applying is a pure function of the state and the record, whatever the batches (apply.go, judge.go).
//   - What a lease may have told MoEngage is known after a crash: it is settled as uncertain, and
//     uncertain attributes are sent again. Delivery is at least once.
//   - Changes of one user leave in applied order, one request at a time on an endpoint; a failure of one
//     user delays nobody else.
//   - Two laws of conservation hold in every transaction: [EventLedger] and [ChangeLedger].
//   - Damage is never silent: what the disk spoiled is told apart by checksums, kept aside, and made again
//     from what is whole; what is gone is counted (recovery.go). Nothing starts empty in its place.
//   - Memory does not grow with the backlog, nor a commit of the inbox with the membership.
//
// # Caveats
//
// Bytes of deleted values stay in free pages of a bbolt file until it is compacted. Values inside a
// transaction share memory with the file; everything that leaves one is a copy. No transaction of a
// reader lasts longer than a page of a listing, because a writer may have to wait for it; a backup and a
// check do, and end when the file has grown by as much as there is room for.
//
// # Packages below
//
//   - internal/wire: fields, frames and their checksums. The store decides which fields a frame has.
//   - internal/boltfile: opening, creating, locking and syncing bbolt files, and the panics that their damage causes.
//   - internal/boltpage: the pages of a bbolt file, read without bbolt, so that damage is an error and no crash.
//   - internal/wal: the inbox, a log of numbered records with group commit. It knows frames, and no records.
//   - crashpoint: the places between two writes at which a test ends the process.
//
// FORMAT.md describes the files.
package store
