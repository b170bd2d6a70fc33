// Package term prints for people and for programs: tables that fit the terminal, text that it cannot obey, colours,
// progress, and JSON.
//
// [Terminal.Out] has what a program may read, and is the same bytes whether the agent runs or not. Remarks, questions
// and progress go to [Terminal.Err]. Text that came from outside, such as an id, goes through [Plain] first, because
// a terminal obeys some characters.
package term
