// Package statetest gives a test a state on a file of its own, and events to apply to it. It is for the tests of the
// packages above the state, which need no inbox, no writer and no facade.
//
// A [DB] is for one goroutine. [DB.Do] is one transaction: it flushes and commits, as the writer does, and fails the
// test on an error. After a [DB.Try] that failed, the state is read back from the file, as the writer does, so a
// [state.Field] or a [state.Lease] that was got before is not the state's any more.
package statetest
