// Package term prints for people and for programs: tables that fit the terminal, text without control characters,
// colours, progress, and JSON.
//
// [Terminal.Out] is for data, and has the same bytes whether the agent runs or not. Remarks, questions and progress
// go to [Terminal.Err]. Text from outside, such as an id, goes through [Plain] first, because a terminal obeys some
// characters.
package term
