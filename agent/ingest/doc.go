// Package ingest is Segment's side of the agent: the webhook and the Tracking API over HTTP.
//
// A [Handler] checks who sends, bounds what is held in memory, has package segment read the events, and puts them
// into its [Inbox]. It answers 200 only once every event of the request is on disk; whatever is the agent's fault is
// answered with 503, so that Segment sends again. Its owner is told of every request and of every append.
//
// An [Intake] is what came in the last hour, by route, for the conditions. A [Clock] remembers the latest time that
// was shown, so that a clock which is set back makes no event look old.
package ingest
