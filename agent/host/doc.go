// Package host is where the agent meets the machine it runs on: the addresses that it listens at, the sockets that
// the service manager hands over, and the HTTP servers on them with their limits and their stop.
//
// [Listen] opens an address of the configuration, [Inherited] takes over what systemd opened before the start, and
// [NewServer] serves a handler there. A [SocketListener] goes on listening when its file was removed. It knows
// nothing of events and answers. Its caller passes the handler.
//
// [WhoMay] names the user or group that may read a file, and [Denied] adds that to an error.
//
// A server keeps no more connections open than [ConnectionLimits] leaves room for, because files need descriptors,
// too. It ends a request that is slow to come and an answer that is not taken.
package host
