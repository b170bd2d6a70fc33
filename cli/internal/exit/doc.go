// Package exit says how the process ends: the exit codes, the errors that carry one, and which code any other
// error has.
//
// The codes are part of the contract with the outside. A unit of systemd restarts the agent unless it ended with
// [BadUsage], so an error has that code only if a restart cannot cure it.
package exit
