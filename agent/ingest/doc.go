// Package ingest is the HTTP side that Segment talks to: the webhook and the Tracking API.
//
// A [Handler] checks credentials, bounds the memory of all requests, parses events with package segment, and appends
// them to its [Inbox]. It answers 200 only once every event of the request is on disk. If the cause of a failure is in
// the agent it answers 503, so that Segment retries. Its owner can observe every request and every append.
//
// An [Intake] counts the last hour by route, for the conditions. A [Clock] remembers the latest time that was shown,
// so that setting the clock back makes no event look old.
package ingest
