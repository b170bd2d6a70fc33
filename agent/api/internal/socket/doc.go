// Package socket is how questions and orders cross the agent's socket, and knows none of them. [Handlers] makes the
// handlers of one side, [Client] asks from the other.
//
// An answer is JSON; one that takes long is a stream of progress messages with the report, or the problem, at its end.
// An error arrives as the sentinel that it left as, with its words.
//
// Invariants: an order is taken only from a client that states its version, which no web page can, and is logged with the
// user at the other end by the kernel's word. A client waits for an answer as long as the agent shows signs of life, and
// no longer.
package socket
