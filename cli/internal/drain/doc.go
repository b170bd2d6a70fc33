// Package drain waits until what a flush let go has been sent, says meanwhile what it waits for, and ends where waiting
// changes nothing.
package drain
