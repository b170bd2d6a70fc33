// Package syncer sends due changes from the outbox to MoEngage and records the results. It is in the directory
// sync, but that name belongs to the standard library's package.
//
// # The way of one request
//
// A [Sender] is the only type that runs.
//
//  1. The loop asks the [Outbox] for a lease that fills one request (run.go). The releases of cron jobs and flushes
//     say which changes may go (releases.go). While the outbox chooses users, each user's changes are encoded
//     (request.go, internal/payload), because only their encoding tells how many fit into one request.
//  2. Each lease becomes an attempt with a goroutine of its own (attempt.go): a request to /v1/transition or to
//     Cohort Sync.
//  3. The request is posted (client.go), and the answer is looked up in the failure table (answer.go, failures.go).
//  4. If MoEngage refuses the request for its data or its size, it is split until the bad element is found. This
//     happens in bisector.go alone. The bad element is parked, and the others are delivered.
//  5. The diagnosis decides whether MoEngage, the account or a single user is at fault, and so how the next request
//     is made (diagnosis.go): circuit breaker (breaker.go), poison messages (poison.go), users who were refused
//     before (refusals.go).
//  6. The attempt settles the lease, which writes the outcomes to the outbox.
//
// # Guarantees
//
//   - Delivery is at least once. A change leaves the outbox only after MoEngage's answer was read. Without an
//     answer the outcome is uncertain, is reported as such, and the change is sent again.
//   - No data is given up because of credentials, the account, the network or MoEngage's availability. Only an
//     element that MoEngage refuses by itself is parked.
//   - No window of sixty seconds has more than the configured users and events (internal/ratelimit), also across
//     restarts. This covers only this sender; MoEngage counts other writers too.
//   - While MoEngage fails, one request at a time is in flight. An outage makes at most Config.Concurrency requests
//     uncertain, and one for each later attempt that ends without an answer.
//   - Nothing polls. The loop sleeps until something is due, a commit wakes it, or a slow sweep is due.
//
// There is no guarantee that MoEngage applied an accepted request, because its 200 means queued. MoEngage does
// not recognise repeated events; a reader can, by their attribute change_id.
//
// A user is never in two requests at once on one endpoint. The outbox guarantees that, and the order of changes
// depends on it.
package syncer
