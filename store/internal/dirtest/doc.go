// Package dirtest makes data directories for tests: a state and an inbox in real files, as an agent that was stopped or
// killed leaves them. It is for the tests of the packages that work on the files, and needs no writer and no facade.
//
// A [Dir] has no file open between two calls, so that a test can damage, copy or remove any of them. It is for one
// goroutine.
package dirtest
