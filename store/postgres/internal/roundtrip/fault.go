package roundtrip

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"personasync/store/domain"

	"github.com/jackc/pgx/v5/pgconn"
)

// States of PostgreSQL that mean something here, by SQLSTATE.
const (
	StateReadOnly       = "25006" // a standby, or a primary that became one
	StateDiskFull       = "53100"
	StateUndefined      = "42P01" // table
	StateNoSchema       = "3F000"
	StateNoPartition    = "23514" // of a table of ours nothing else
	StateLockTimeout    = "55P03"
	StateNoRight        = "42501"
	StateWrongPassword  = "28P01"
	StateNoLogin        = "28000"
	StateNoDatabase     = "3D000"
	StateTooMany        = "53300"
	StateNoMemory       = "53200"
	StateStarting       = "57P03" // or it recovers
	StateStopping       = "57P01"
	StateUnknownSetting = "42704"
)

// Code returns the SQLSTATE of an error, "" if the server did not send it.
func Code(err error) string {
	if p := new(pgconn.PgError); errors.As(err, &p) {
		return p.Code
	}
	return ""
}

// Translate names what callers of the store look for.
func Translate(err error) error {
	if Code(err) == StateDiskFull {
		return &fullError{Explain(err)}
	}
	return err
}

// fullError says that the disk of PostgreSQL is full. It is domain.ErrFull, whose words are about the agent's own, and
// domain.ErrDatabase.
type fullError struct{ error }

// Is implements errors.Is.
func (*fullError) Is(target error) bool {
	return target == domain.ErrFull || target == domain.ErrDatabase
}

// Unwrap returns PostgreSQL's error.
func (e *fullError) Unwrap() error { return e.error }

// passing are the classes of SQLSTATE that end by themselves, or with something that is no setting of the agent: of the
// connection, of resources, of an operator's intervention, of the system, of a transaction.
var passing = []string{"08", "53", "57", "58", "40", "55"}

// Passes reports whether waiting may cure an error: the server is away, starts, stands still, has no room, or may be
// promoted yet. What it refuses to this user, and a certificate that does not prove it, somebody must put right.
func Passes(err error) bool {
	switch c := Code(err); {
	case err == nil, offersNoTLS(err), refusesCertificate(err), errors.As(err, new(*tls.CertificateVerificationError)):
		return false
	case c != "":
		return c == StateReadOnly || slices.ContainsFunc(passing, func(class string) bool { return strings.HasPrefix(c, class) })
	}
	return errors.Is(err, ErrReadOnlyServer) || errors.Is(err, errWarned) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.As(err, new(net.Error)) ||
		errors.As(err, new(*pgconn.ConnectError)) || errors.Is(err, pgconn.ErrConnClosed)
}
