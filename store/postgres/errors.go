package postgres

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"personasync/store/domain"
)

// Errors that callers tell apart.
var (
	// ErrNotWriter says that this agent does not write: another one holds the term.
	ErrNotWriter = errors.New("this agent is not the writer")
	// ErrTermOver says that another agent may write now. Nothing of the transaction was written.
	ErrTermOver = fmt.Errorf("the term of this agent is over: %w", domain.ErrClosed)
)

// States of PostgreSQL that mean something here, by SQLSTATE.
const (
	stateReadOnly      = "25006" // a standby, or a primary that became one
	stateDiskFull      = "53100"
	stateUndefined     = "42P01" // table
	stateNoSchema      = "3F000"
	stateNoPartition   = "23514" // of a table of ours nothing else
	stateLockTimeout   = "55P03"
	stateDuplicate     = "42P07" // table
	stateUnique        = "23505"
	stateNoRight       = "42501"
	stateWrongPassword = "28P01"
	stateNoLogin       = "28000"
	stateNoDatabase    = "3D000"
	stateTooMany       = "53300"
)

// code returns the SQLSTATE of an error, "" if the server did not send it.
func code(err error) string {
	if p := new(pgconn.PgError); errors.As(err, &p) {
		return p.Code
	}
	return ""
}

// translate names what callers of the store look for.
func translate(err error) error {
	if code(err) == stateDiskFull {
		return fmt.Errorf("%w: that of PostgreSQL: %w", domain.ErrFull, err)
	}
	return err
}
