package exit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"syscall"

	"personasync/agent"
	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/agent/host"
	"personasync/store"
)

// Exit codes, part of the contract with the outside.
const (
	Done     = 0
	Failed   = 1
	BadUsage = 2 // a restart does not help: usage, configuration, permissions, a second agent
	NotFound = 3 // no such change, user, audience or data file
	NoAgent  = 4 // the agent is needed and not running, or another one writes
)

// coded is an error with an exit code other than that of the error that it wraps.
type coded struct {
	code int
	err  error
}

func (c *coded) Error() string { return c.err.Error() }
func (c *coded) Unwrap() error { return c.err }

// With gives err an exit code other than that of the error that it wraps.
func With(code int, err error) error { return &coded{code, err} }

// Usage returns the error of a wrong command line or configuration.
func Usage(format string, args ...any) error {
	return With(BadUsage, fmt.Errorf(format, args...))
}

// Incurable marks an error against which a restart does not help.
func Incurable(err error) error {
	if err == nil {
		return nil
	}
	return With(BadUsage, err)
}

// Nothing returns the error of a question about something that does not exist.
func Nothing(format string, args ...any) error {
	return With(NotFound, fmt.Errorf(format, args...))
}

// Code returns the exit code of an error.
func Code(err error) int {
	var own *coded
	var ambiguous *store.AmbiguousError
	var faults *config.Faults
	switch {
	case err == nil, BrokenPipe(err):
		return Done
	case errors.As(err, &own):
		return own.code
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrNoSuccessor), errors.Is(err, store.ErrNoData):
		return NotFound
	case errors.Is(err, api.ErrNotRunning), errors.Is(err, agent.ErrStarting), errors.Is(err, store.ErrNotWriter):
		return NoAgent
	case errors.As(err, &ambiguous), errors.As(err, &faults), errors.Is(err, config.ErrNoFile), errors.Is(err, fs.ErrPermission), isMistake(err),
		errors.Is(err, store.ErrNewer), errors.Is(err, store.ErrMovedAway), errors.Is(err, store.ErrUnsalvageable), errors.Is(err, store.ErrForeign), errors.Is(err, store.ErrNotAFile), errors.Is(err, agent.ErrForeignData), errors.Is(err, api.ErrUnreadable):
		return BadUsage
	}
	return Failed
}

// mistakes are errors of the kernel that last until somebody changes the configuration: a file in place of a folder,
// an impossible path, a kind of address that this host lacks. An address in use, and a disk that is full, read-only
// or not mounted yet, are not among them, because they pass.
var mistakes = []error{
	syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP, syscall.ENAMETOOLONG, syscall.EAFNOSUPPORT, syscall.EOPNOTSUPP, syscall.ENOSYS,
	host.ErrSocketPath,
}

// isMistake reports whether err is one of mistakes, or is about an invalid address.
func isMistake(err error) bool {
	var address *net.AddrError
	return errors.As(err, &address) || slices.ContainsFunc(mistakes, func(m error) bool { return errors.Is(err, m) })
}

// BrokenPipe reports whether the reader of the output has ended, as `head` does after its lines.
func BrokenPipe(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)
}
