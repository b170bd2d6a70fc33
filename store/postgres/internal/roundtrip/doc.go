// Package roundtrip is one exchange with PostgreSQL: statements that are sent at once, and what its answers mean.
//
// [Do] and [Send] carry it out, and [Number], [Byteas] and [Integer] are how parameters and results look. A pooler may give
// every transaction another session, so nothing is prepared and nothing stays set. [Code] is the SQLSTATE of an error,
// [Explain] says what to do about it, [Passes] whether waiting may cure it, and [Warned] whether a commit that was answered
// with success may not be durable.
//
// All functions may be called concurrently, for different connections.
package roundtrip
