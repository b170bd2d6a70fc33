package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"personasync/store/domain"

	"github.com/jackc/pgx/v5/pgconn"
)

// patience is how long a round trip may take. The server gives up before, see settings, and says why.
const patience = 45 * time.Second

// settings are those of a transaction, set in it because a pooler may give each transaction another session. A commit
// waits for a standby that confirms it no longer than a statement may take. Statements bring arrays of any size, for
// which the planner's estimates are wrong: it would compile them, or read whole tables.
const settings = `set_config('synchronous_commit', case current_setting('synchronous_commit') when 'remote_apply' then 'remote_apply' else 'on' end, true),
	set_config('statement_timeout', '30s', true), set_config('idle_in_transaction_session_timeout', '10s', true),
	set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true)`

// statement is one statement with parameters in PostgreSQL's binary form.
type statement struct {
	sql    string
	params [][]byte
	types  []uint32
}

// Types of parameters, by OID.
const (
	typeBytea  = 17
	typeNumber = 20
	typeText   = 25
	typeByteas = 1001
)

// inBinary has all parameters and results in their binary form.
var inBinary = []int16{1}

// roundTrip is send for as long as life lasts and a server may need.
func roundTrip(life context.Context, conn *pgconn.PgConn, each func(statement int, row [][]byte), statements ...statement) error {
	ctx, cancel := context.WithTimeout(life, patience)
	defer cancel()
	return send(ctx, conn, each, statements...)
}

// send sends statements at once and gives each row of their answers to each, which must copy what it keeps; nil wants none.
// The first error ends it, and the end of ctx, which closes the connection. Each statement is parsed where it is run: a
// pooler may give the next one another session.
func send(ctx context.Context, conn *pgconn.PgConn, each func(statement int, row [][]byte), statements ...statement) error {
	var batch pgconn.Batch
	for _, s := range statements {
		batch.ExecParams(s.sql, s.params, s.types, inBinary, inBinary)
	}
	results := conn.ExecBatch(ctx, &batch)
	for i := 0; results.NextResult(); i++ {
		for r := results.ResultReader(); r.NextRow(); {
			if each != nil {
				each(i, r.Values())
			}
		}
	}
	err := results.Close()
	if code(err) == stateReadOnly { // no longer the primary: what follows looks for the one that is
		_ = conn.Close(ctx)
	}
	return err
}

// number encodes a parameter of typeNumber.
func number[N ~int | ~int64 | ~uint64](n N) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(n))
}

// byteas encodes a parameter of typeByteas.
func byteas[S ~string | ~[]byte](list []S) []byte {
	size := 20
	for _, s := range list {
		size += 4 + len(s)
	}
	b := make([]byte, 0, size)
	for _, n := range []int{1, 0, typeBytea, len(list), 1} { // dimensions, no nulls, type, length, first index
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	for _, s := range list {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
	}
	return b
}

// integer decodes a bigint of an answer.
func integer(v []byte) int64 {
	if len(v) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(v))
}

// Errors that callers tell apart.
var (
	// ErrNotWriter says that this agent does not write: another one holds the term.
	ErrNotWriter = domain.ErrNotWriter
	// ErrTermOver says that another agent may write now. Nothing of the transaction was written.
	ErrTermOver = fmt.Errorf("the term of this agent is over: %w", domain.ErrClosed)
)

// States of PostgreSQL that mean something here, by SQLSTATE.
const (
	stateReadOnly       = "25006" // a standby, or a primary that became one
	stateDiskFull       = "53100"
	stateUndefined      = "42P01" // table
	stateNoSchema       = "3F000"
	stateNoPartition    = "23514" // of a table of ours nothing else
	stateLockTimeout    = "55P03"
	stateNoRight        = "42501"
	stateWrongPassword  = "28P01"
	stateNoLogin        = "28000"
	stateNoDatabase     = "3D000"
	stateTooMany        = "53300"
	stateNoMemory       = "53200"
	stateStarting       = "57P03" // or it recovers
	stateStopping       = "57P01"
	stateUnknownSetting = "42704"
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
		return &fullError{explain(err)}
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
