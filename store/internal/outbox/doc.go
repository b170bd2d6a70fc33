// Package outbox keeps the changes that MoEngage should be told: it makes them, lets a newer one replace an older one,
// queues them, leases them to a sender, and settles what became of them.
//
// A change is pending, held, parked, or closed: delivered, superseded, cancelled, dropped, expired. [Take] leases what is
// due; the lease is written before the request leaves, so that a crash leaves it to be settled as uncertain. The changes of
// one user leave in the order in which they were made. The mass-exit guard holds the exits of a computation that loses too
// many members in a day.
//
// All functions run in a transaction of the writer, except [Take] in a read-only one, which previews.
package outbox
