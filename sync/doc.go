// Package syncer takes changes that are due from the outbox, says them to MoEngage, and reports what
// became of them. The folder is called sync; the package is not, because sync is the standard library's.
//
// A [Sender] is the only type with a life of its own. It asks the [Outbox] for a flight of due
// deliveries, which the outbox remembers as being under way, turns the flight into one request for
// /v1/transition (payload.go, request.go), posts it (client.go), reads the answer (answer.go holds the
// one table of what each answer means), and settles the flight. When MoEngage refuses a request for
// its data, the offender is looked for (bisect.go) and parked, and nobody else suffers.
//
// What is promised:
//
//   - At least once. A change leaves the outbox only after MoEngage's answer to it was read. Where an
//     answer is missing the outcome is uncertain, is reported as such, and the change is sent again.
//   - No data is given up because of credentials, the account, the network or MoEngage's health.
//     Only an element that MoEngage refuses as it stands is parked.
//   - No window of sixty seconds holds more than the configured users and events (meter.go), across
//     restarts, as far as this sender alone is concerned: MoEngage counts other writers, too.
//   - While the road fails, one request at a time is in flight. An outage makes at most
//     Config.Concurrency requests uncertain, and one for each later try that breaks without an answer.
//   - Nothing polls. The loop sleeps until something is due, is told of a commit, or a slow sweep
//     comes round.
//
// What is not promised: that MoEngage applied what it accepted (its 200 means queued), and that
// MoEngage recognises a repeated event (it does not; the attribute change_id lets a reader do so).
//
// One user is never in two requests at once: that is the outbox's promise, and everything here leans
// on it.
package syncer
