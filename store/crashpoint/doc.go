// Package crashpoint names the places between two writes of the disk or the network, where a crash
// leaves the one write without the other.
//
// The store and the sender call [Reach] at each [Point]. A test that registers a function with
// [OnPoint] can end the process there, and so strikes the same place every time. In the product no
// function is registered: a point costs one atomic load, and nothing else depends on it.
package crashpoint
