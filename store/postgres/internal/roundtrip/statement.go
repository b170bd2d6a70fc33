package roundtrip

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Patience is how long a round trip may take. The server gives up before, see the settings of a transaction, and says why.
const Patience = 45 * time.Second

// AskPatience bounds a question on a connection that is there.
const AskPatience = 5 * time.Second

// Statement is one statement with parameters in PostgreSQL's binary form.
type Statement struct {
	SQL    string
	Params [][]byte
	Types  []uint32
}

// Types of parameters, by OID.
const (
	TypeBytea  = 17
	TypeNumber = 20
	TypeText   = 25
	TypeByteas = 1001
)

// inBinary has all parameters and results in their binary form.
var inBinary = []int16{1}

// Do is Send for as long as life lasts and a server may need.
func Do(life context.Context, conn *pgconn.PgConn, each func(statement int, row [][]byte), statements ...Statement) error {
	ctx, cancel := context.WithTimeout(life, Patience)
	defer cancel()
	return Send(ctx, conn, each, statements...)
}

// Send sends statements at once and gives each row of their answers to each, which must copy what it keeps; nil wants none.
// The first error ends it, and the end of ctx, which closes the connection. Each statement is parsed where it is run: a
// pooler may give the next one another session.
func Send(ctx context.Context, conn *pgconn.PgConn, each func(statement int, row [][]byte), statements ...Statement) error {
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
	if Code(err) == StateReadOnly { // no longer the primary: what follows looks for the one that is
		_ = conn.Close(ctx)
	}
	return err
}

// Number encodes a parameter of typeNumber.
func Number[N ~int | ~int64 | ~uint64](n N) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(n))
}

// Byteas encodes a parameter of typeByteas.
func Byteas[S ~string | ~[]byte](list []S) []byte {
	size := 20
	for _, s := range list {
		size += 4 + len(s)
	}
	b := make([]byte, 0, size)
	for _, n := range []int{1, 0, TypeBytea, len(list), 1} { // dimensions, no nulls, type, length, first index
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	for _, s := range list {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
	}
	return b
}

// Integer decodes a bigint of an answer.
func Integer(v []byte) int64 {
	if len(v) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(v))
}
