// Package waiting answers in place of an agent that cannot begin yet, because its store cannot be opened. A [Room] is open
// until it can: deliveries get 503, so that Segment keeps the events, and probes, questions and scrapes get the reason. The
// service manager hears that the process lives, and why it accepts nothing.
package waiting
