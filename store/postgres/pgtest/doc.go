// Package pgtest starts PostgreSQL for tests: one cluster a process, and a database of its own for each test.
//
// [URL] is enough for most tests. [NewPair] is a primary with a synchronous standby, for tests in which one is lost. A
// cluster listens on a unix socket in its own folder, asks for no password, and ends with the process that started it,
// even when that is killed.
package pgtest
