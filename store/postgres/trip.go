package postgres

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// patience is how long a round trip may take. The server gives up before, see settings, and says why.
const patience = 45 * time.Second

// askPatience bounds a question on a connection that is there.
const askPatience = 5 * time.Second

// statement is one statement with parameters in PostgreSQL's binary form.
type statement struct {
	SQL    string
	Params [][]byte
	Types  []uint32
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
		batch.ExecParams(s.SQL, s.Params, s.Types, inBinary, inBinary)
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
