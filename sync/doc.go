// Package syncer sends due changes from the outbox to MoEngage and records the results. It is in the directory
// sync, but that name belongs to the standard library's package.
//
// A [Sender] is the only type that runs. It takes a lease of due deliveries from the [Outbox], which marks them
// as in lease. It encodes the lease as one request (request.go, internal/payload) for /v1/transition or for Cohort
// Sync, posts it (client.go), looks up the answer in the failure table (answer.go), and settles the lease. If
// MoEngage refuses a request for its data, it finds the bad element by bisection (bisect.go) and parks it. The
// other elements are delivered.
//
// Guarantees:
//
//   - Delivery is at least once. A change leaves the outbox only after MoEngage's answer was read. Without an
//     answer the outcome is uncertain, is reported as such, and the change is sent again.
//   - No data is given up because of credentials, the account, the network or MoEngage's availability. Only an
//     element that MoEngage refuses by itself is parked.
//   - No window of sixty seconds has more than the configured users and events (internal/ratelimit), also across
//     restarts. This covers only this sender; MoEngage counts other writers too.
//   - While MoEngage fails, one request at a time is in flight (circuit breaker, breaker.go). An outage makes at
//     most Config.Concurrency requests uncertain, and one for each later attempt that ends without an answer.
//   - Nothing polls. The loop sleeps until something is due, a commit wakes it, or a slow sweep is due.
//
// There is no guarantee that MoEngage applied an accepted request, because its 200 means queued. MoEngage does
// not recognise repeated events; a reader can, by their attribute change_id.
//
// A user is never in two requests at once on one endpoint. The outbox guarantees that, and the order of changes
// depends on it.
package syncer
