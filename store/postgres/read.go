package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"personasync/store/engine"
	"personasync/store/postgres/internal/roundtrip"
)

// reader is the reading side of a transaction, an engine.Tx that writes nothing. A read that fails reads as nothing
// there, and so does every later one: err is looked at before anything comes of it.
type reader struct {
	state  *State
	life   context.Context
	conn   *pgconn.PgConn
	tables map[string]*table
	err    error
}

// table is a table within a transaction.
type table struct {
	name  string // quoted, with its schema
	known known
}

// Whole tables that are read at once: they are small, and most of them is asked for one by one.
var (
	atOnce = []string{"meta", "jobs", "fields", "flights"} // at the beginning of every reader
	small  = append([]string{"lists", "sent"}, atOnce...)
)

// nested is the bucket that has inner buckets. Its own table has their names, with empty values.
const nested = "messages"

var _ engine.Tx = (*reader)(nil)

// Writable implements engine.Tx.
func (r *reader) Writable() bool { return false }

// Check implements engine.Tx. PostgreSQL has checksums of its own.
func (r *reader) Check() error { return r.err }

// Bucket implements engine.Tx.
func (r *reader) Bucket(name []byte) engine.Bucket {
	if b := r.bucket(string(name), nil); b != nil {
		return b
	}
	return nil
}

func (r *reader) bucket(name string, prefix []byte) *bucket {
	t := r.tables[name]
	if t == nil {
		if !r.exists(name) {
			return nil
		}
		t = &table{name: r.state.db.quoted(name)}
		r.tables[name] = t
		if slices.Contains(small, name) {
			s, m := new(span), memory{}
			r.query(func(v [][]byte) { s.rows = append(s.rows, m.row(v[0], v[1])) }, whole(t.name))
			t.known.learn(s)
		}
	}
	return &bucket{r: r, t: t, prefix: prefix, nested: name == nested}
}

// exists reports whether there is a table. One that is there stays. After a read that failed it is taken to be there, and
// reads as empty.
func (r *reader) exists(name string) (found bool) {
	if _, found := r.state.exist.Load(name); found {
		return true
	}
	r.query(func(row [][]byte) { found = row[0][0] != 0 }, roundtrip.Statement{SQL: "select to_regclass(convert_from($1, 'UTF8')) is not null", Params: [][]byte{[]byte(r.state.db.quoted(name))}, Types: []uint32{roundtrip.TypeBytea}})
	if found {
		r.state.exist.Store(name, true)
	}
	return found || r.err != nil
}

// query is one round trip of a statement.
func (r *reader) query(each func(row [][]byte), s roundtrip.Statement) {
	if r.err != nil {
		return
	}
	if r.err = roundtrip.Do(r.life, r.conn, func(_ int, row [][]byte) { each(row) }, s); r.err != nil {
		r.err = fmt.Errorf("read from PostgreSQL: %w", r.err)
	}
}

// run runs f on a transaction that reads from r. Code that found nothing where there must be something may panic: after a
// read that failed its error is all there is to say.
func (r *reader) run(f func(engine.Tx) error, tx engine.Tx) error {
	defer func() {
		if r.err != nil {
			_ = recover()
		}
	}()
	return f(tx)
}

// whole is the statement that reads a table to its end.
func whole(name string) roundtrip.Statement {
	return roundtrip.Statement{SQL: "select k, v from " + name + " order by k"}
}

// memory takes copies of what is read, in few pieces.
type memory struct{ free []byte }

func (m *memory) copy(b []byte) []byte {
	const piece = 32 << 10
	if len(b) > len(m.free) {
		m.free = make([]byte, max(piece, len(b)))
	}
	c := m.free[:len(b):len(b)]
	m.free = m.free[copy(c, b):]
	return c
}

func (m *memory) row(key, value []byte) row { return row{m.copy(key), m.copy(value)} }

// forward reads up to n rows from a key on.
func (r *reader) forward(t *table, from []byte, n int) *span {
	s, m := &span{from: bytes.Clone(from)}, memory{}
	r.query(func(v [][]byte) { s.rows = append(s.rows, m.row(v[0], v[1])) },
		roundtrip.Statement{SQL: "select k, v from " + t.name + " where k >= $1 order by k limit $2", Params: [][]byte{present(from), roundtrip.Number(int64(n))}, Types: []uint32{roundtrip.TypeBytea, roundtrip.TypeNumber}})
	if len(s.rows) == n {
		s.to = behind(s.rows[n-1].key)
	}
	return s
}

// backward reads up to n rows before a key, nil for the end of the table.
func (r *reader) backward(t *table, to []byte, n int) *span {
	s, m := &span{to: bytes.Clone(to)}, memory{}
	query := roundtrip.Statement{SQL: "select k, v from " + t.name + " order by k desc limit $1", Params: [][]byte{roundtrip.Number(int64(n))}, Types: []uint32{roundtrip.TypeNumber}}
	if to != nil {
		query = roundtrip.Statement{SQL: "select k, v from " + t.name + " where k < $1 order by k desc limit $2", Params: [][]byte{to, roundtrip.Number(int64(n))}, Types: []uint32{roundtrip.TypeBytea, roundtrip.TypeNumber}}
	}
	r.query(func(v [][]byte) { s.rows = append(s.rows, m.row(v[0], v[1])) }, query)
	slices.Reverse(s.rows)
	if len(s.rows) == n {
		s.from = s.rows[0].key
	}
	return s
}

// lacks reports whether r knows that a table has no such key.
func (r *reader) lacks(name, key string) bool {
	t := r.tables[name]
	if t == nil {
		return false
	}
	s := t.known.at([]byte(key))
	if s == nil {
		return false
	}
	i := s.find([]byte(key))
	return i == len(s.rows) || string(s.rows[i].key) != key
}

// present makes an empty parameter of none, which would be null.
func present(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// wantedRows is how many rows are read of each range. Nearly every user has two.
const (
	wantedRows = 4
	wantedOnce = 4096 // ranges in a statement
)

// want reads the beginnings of ranges. A range of few rows has all of them, and it costs a server much more to look for one
// row behind it than to stop there.
func (r *reader) want(t *table, ranges []span) {
	slices.SortFunc(ranges, func(x, y span) int { return bytes.Compare(x.from, y.from) })
	ranges = slices.CompactFunc(ranges, func(x, y span) bool { return bytes.Equal(x.from, y.from) })
	for list := range slices.Chunk(ranges, wantedOnce) {
		m, from, to := memory{}, make([][]byte, len(list)), make([][]byte, len(list))
		for i := range list {
			from[i], to[i] = list[i].from, list[i].to
		}
		r.query(func(v [][]byte) {
			s := &list[binary.BigEndian.Uint64(v[0])-1]
			s.rows = append(s.rows, m.row(v[1], v[2]))
		}, roundtrip.Statement{SQL: fmt.Sprintf("select w.n, r.k, r.v from unnest($1, $2) with ordinality w(f, t, n), lateral (select k, v from %s where k >= w.f and k < w.t order by k limit %d) r", t.name, wantedRows),
			Params: [][]byte{roundtrip.Byteas(from), roundtrip.Byteas(to)}, Types: []uint32{roundtrip.TypeByteas, roundtrip.TypeByteas}})
		if r.err != nil {
			return
		}
		for i := range list {
			s := &list[i]
			if len(s.rows) == wantedRows {
				s.to = behind(s.rows[wantedRows-1].key)
			}
			t.known.learn(s)
		}
	}
}
