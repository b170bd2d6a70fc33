// Package command is what the commands of the command line share: their environment, their flags and arguments, and
// the ways to ask an agent or to give it an order.
//
// A command is a constructor that takes an [Env] and returns its flags and texts, and a function that does it. What
// only prints takes the [term.Terminal] of the Env. Who answers, the agent or its files, is said on standard error, so
// that the output is the same for both.
package command
