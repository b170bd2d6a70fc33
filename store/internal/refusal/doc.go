// Package refusal counts the requests that were refused for good, by kind, and keeps the newest of them for readers. A
// [Counts] counts in memory, and its owner has it written with the next transaction; the state's file has the sums.
package refusal
