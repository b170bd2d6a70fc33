// Package exit has the exit codes of the process, the errors that carry one, and the code of any other error.
//
// The codes are part of the contract with the outside. A systemd unit restarts the agent unless it ended with
// [BadUsage], so an error has that code only if a restart cannot help.
package exit
