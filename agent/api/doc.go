// Package api is what crosses the agent's socket and admin.listen: the types, one client and one server.
//
// [Inspector], [Orders], [Upkeep] and [Running] are what can be asked of an agent. [Client] asks a running agent over
// its unix socket, and [Server] answers there with implementations that it is given. What the files of a stopped
// agent can answer implements the first three, so that a command does not know which it asks. Both sides of a route are in
// one file; how it crosses is in agent/api/internal/socket.
//
// Invariants: only the socket takes orders. admin.listen shows no user id unless the configuration says so.
package api
