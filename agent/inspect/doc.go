// Package inspect answers what people and scripts ask about an agent, from a view of its store.
//
// A [Local] implements api.Inspector with what its [Source] gives it: the running agent gives its live store, a command
// gives the files of a stopped agent. So both give equal answers. [JobOf] is the schedule that a computation's changes
// leave on, and [Planned] is a scheduled job with what says how it goes on.
//
// Invariants: nothing here changes anything. A page is read at one moment. A long listing is read in parts: in a
// running agent it gives way to events that come in, and of a stopped agent the files are free between two parts, so
// that it can start.
package inspect
