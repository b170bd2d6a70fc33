// Package drain waits until the changes that a flush let go are sent, says meanwhile for what, and ends where waiting
// changes nothing.
package drain
