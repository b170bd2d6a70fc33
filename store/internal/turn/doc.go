// Package turn shares out a limited number of changes among the changes that are due, so that live ones do not wait
// for bulk ones, and a computation with two changes does not wait for one with a million.
//
// It is arithmetic on memory of the process: it decides what leaves first, and never what leaves. Nothing of it is
// on disk. The writer's goroutine is the only caller.
package turn
