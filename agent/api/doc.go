// Package api is what crosses the agent's socket and admin.listen: the types, one client and one server.
//
// [Inspector], [Orders], [Upkeep] and [Running] are what can be asked of an agent. [Client] asks a running agent over
// its unix socket, and [Server] answers there with implementations that it is given. What the files of a stopped
// agent can answer implements the first three, so that a command does not know which it asks.
//
// Both sides of a route are in one file. An answer is JSON; one that takes long is a stream of progress messages
// with the report, or the problem, at its end. An error arrives as the sentinel that it left as, with its words.
//
// Invariants: only the socket takes orders, and only from a client that states its version, which no web page can.
// admin.listen shows no user id unless the configuration says so. A client waits for an answer as long as the agent
// shows signs of life, and no longer.
package api
