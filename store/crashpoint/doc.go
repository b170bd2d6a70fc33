// Package crashpoint names the places between two writes to the disk or the network. A crash there leaves the
// first write without the second.
//
// The store and the sender call [Reach] at each [Point]. A test that registers a function with [OnPoint] can
// end the process there, always at the same place. In production no function is registered, so a point costs
// one atomic load.
package crashpoint
