// Package turn shares out a limited number of changes among the kinds of changes that are due, so that live ones
// do not wait for bulk ones, and a computation with two changes does not wait for one with a million.
//
// It is arithmetic on memory of the process: it decides what leaves first, and never what leaves.
package turn
