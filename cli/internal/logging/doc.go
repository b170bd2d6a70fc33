// Package logging makes the log: its formats, a queue so that a slow reader does not stop the agent, and the folding
// of repeated faults.
//
// A log call never waits for the reader of the log, because log calls are made under locks and by the goroutines that
// answer Segment. Lines keep their order. Lines that do not fit into the queue are dropped and counted, and the log
// reports the count.
package logging
