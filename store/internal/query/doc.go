// Package query answers questions about the state: pages of changes, members and activity, the page of a user,
// statistics, samples and what MoEngage should hold.
//
// It changes nothing. A method of [Reader] is a few short read transactions, because a writer may have to wait for a
// reader to end before it can use freed pages again.
package query
