// Package trial applies events to a state without keeping the result, so that people can see what an event would come
// to.
//
// A [Trial] works on an overlay of the state, or on an empty one, and runs the code that the writer runs: package apply
// makes the changes, and package outbox takes and settles them. So it finds the effect of the event when it arrives.
//
// Invariant: nothing is written to a file. A Trial belongs to one goroutine, and ends with its transaction.
package trial
