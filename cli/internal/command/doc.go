// Package command is shared by the commands of the command line: their environment, their flags and arguments, and
// the ways to ask an agent or to give it an order.
//
// A command is a constructor that takes an [Env] and returns its flags and texts, and a function that carries it out.
// A function that only prints takes the [term.Terminal] of the Env. Whether the agent or its files answered is
// printed on standard error, so that the output is the same for both.
package command
