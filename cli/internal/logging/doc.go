// Package logging makes the log: its formats, a queue that keeps a slow reader from stopping the agent, and the
// folding of repeated faults.
//
// A log call never waits for the reader of the log: log calls are made under locks, and by the goroutines that answer
// Segment. Lines keep their order. Lines that do not fit are dropped and counted, and the log says so.
package logging
