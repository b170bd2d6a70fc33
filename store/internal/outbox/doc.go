// Package outbox keeps the changes that MoEngage should be sent: it makes them, lets a newer one replace an older
// one, queues them, leases them to a sender, and settles them by its results.
//
// A change is pending, held, parked, or closed: delivered, superseded, cancelled, dropped, expired. [Take] leases
// the changes that are due. The lease is written before the request leaves, so that after a crash it is settled as
// uncertain. The changes of one user leave in the order in which they were made. The mass-exit guard holds the exits
// of a computation that loses too many members within a window.
//
// # Where a change is
//
// A pending change is kept with its user, so that sending to a user writes their rows and the end of the history,
// and nothing that users share:
//
//	an attribute   the ticket in its row, and a bit of the pending index
//	an event       the user's queue, by lane and id, whole
//	parked, held   buckets by id; the ticket, or an empty entry of the queue, points there
//	the locator    id -> user and place, written when the change is made
//
// The due index points at users. So [Take] reads users, and never scans changes.
//
// All functions run in a transaction of the writer, except [Take] in a read-only one, which previews.
package outbox
