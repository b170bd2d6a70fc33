// Package domain says what an event of Segment means, who may be a member of what, and what MoEngage should be
// told. It holds types and pure functions, and uses the standard library alone.
//
// # The diff
//
// An [Assertion] is the last statement about one user and one field, with the time that it is true for. [Compare]
// compares a new assertion with the previous one. The newer event time wins. At equal times an exit wins over an
// enter, and between two values the greater message id wins. So the result does not depend on the order of arrival.
//
// # Numbers on disk
//
// The numbers of [Call], [Class], [Flag], [TimeSource], [Kind], [State], [Transition], [Endpoint], [SendMethods] and
// [Outcome] are stored. A number is never given another meaning.
//
// # Concurrency
//
// Nothing here locks. An [Event] does not change after it was appended. All functions may be called concurrently.
package domain
