// Package cli is the command line: the commands, their flags, and how their answers print.
//
// [Run] takes the arguments and returns the exit code. Nothing below it ends the process.
//
// Each command has a constructor, which takes the environment of package command and returns flags and texts, and a
// function that does it: a question or an order to an agent, and then a table for people or the same as JSON. The
// functions that only print take the terminal. What all commands share is in cli/internal: command (flags and ways to
// ask), term (printing), argv (the arguments), exit (codes), logging, demo.
//
// What a program may read goes to standard output. Errors and remarks, such as whether the agent runs, go to standard
// error. So the output is the same bytes whether the agent runs or not.
package cli
