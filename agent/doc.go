// Package agent is the running process, and the same work on the files of a stopped one.
//
// [Run] is the agent from start to stop: it takes Segment's deliveries in, lets the store apply them, the scheduler say
// when, and the sender send to MoEngage. [Open], [OpenData] and [DialAgent] find what can answer a command: the running
// agent, or its files. This is the one package that knows all the others. Adapters between them are here.
//
// Where to look:
//
//	start      start.go: files, parts, socket, listeners, in this order
//	run, stop  run.go: what runs side by side, and the order of the stop
//	SIGHUP     reload.go: what a new configuration changes, and what keeps the old one
//	parts      parts.go: what a running agent is made of
//	facts      facts.go: what conditions are judged by, beyond the store
//	operators  operator.go (orders on memberships and users, too), actions.go, pause.go
//	stopped    open.go, files.go: the same answers and orders without a running agent
//
// Invariants: the data directory is locked before anything listens, and no event is taken before the rules that it is
// treated by are on disk. A stop takes nothing new, finishes requests in flight, and closes the store last.
package agent
