// Package page is the status page: its figures, how they are collected, and the files that a browser loads.
//
// A [Recorder] takes a sample every five seconds and has the store keep one a minute, for the charts and forecasts. A
// [Page] joins samples, status, scheduled jobs and computations to a [Snapshot] and serves it as JSON and as a stream.
// [Verdict] is a condition as the page shows it.
//
// Invariants: the page changes nothing. It shows no user id unless admin.show_users says so. However many pages are
// open, the store is read once a second at most.
package page
