package postgres

import (
	"bytes"
	"maps"
	"slices"

	"personasync/store/engine"
	"personasync/store/engine/overlay"
	"personasync/store/postgres/internal/roundtrip"
)

// written is what a transaction changes in a table, each sorted by key.
type written struct {
	dropped []string // prefixes of which everything goes, before the rest
	deleted []string
	fresh   rows // keys of which the transaction knows that they are not there
	put     rows
}

type rows struct {
	keys   []string
	values [][]byte
}

func (l *rows) add(key string, value []byte) {
	l.keys, l.values = append(l.keys, key), append(l.values, value)
}

// writes returns the statements that bring about what an overlay on r has. A table has one of each kind. A key that is not
// there is inserted without looking for it first, which is half of the server's work.
func (s *State) writes(r *reader, tx *overlay.Tx) (list []roundtrip.Statement) {
	tables := make(map[string]*written)
	of := func(name string) *written {
		if tables[name] == nil {
			tables[name] = new(written)
		}
		return tables[name]
	}
	for c := range tx.Changes() {
		name := c.Bucket
		if c.Inner != "" {
			name = inside(name)
		}
		w := of(name)
		if key := c.Inner + c.Key; c.Value != nil && r.lacks(name, key) {
			w.fresh.add(key, c.Value)
		} else if c.Value != nil {
			w.put.add(key, c.Value)
		} else if w.deleted = append(w.deleted, key); name == nested {
			inner := of(inside(nested))
			inner.dropped = append(inner.dropped, key)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		w, name := tables[name], s.db.quoted(name)
		for _, prefix := range w.dropped {
			list = append(list, drop(name, []byte(prefix)))
		}
		if len(w.deleted) > 0 {
			list = append(list, roundtrip.Statement{SQL: "delete from " + name + " where k = any($1)", Params: [][]byte{roundtrip.Byteas(w.deleted)}, Types: []uint32{roundtrip.TypeByteas}})
		}
		for _, l := range []struct {
			rows
			known string
		}{{w.fresh, ""}, {w.put, " on conflict (k) do update set v = excluded.v"}} {
			if len(l.keys) > 0 {
				list = append(list, roundtrip.Statement{SQL: "insert into " + name + " select * from unnest($1, $2)" + l.known,
					Params: [][]byte{roundtrip.Byteas(l.keys), roundtrip.Byteas(l.values)}, Types: []uint32{roundtrip.TypeByteas, roundtrip.TypeByteas}})
			}
		}
	}
	return list
}

// drop returns the statement that deletes everything with a prefix.
func drop(table string, prefix []byte) roundtrip.Statement {
	if end := engine.Beyond(prefix); end != nil {
		return roundtrip.Statement{SQL: "delete from " + table + " where k >= $1 and k < $2", Params: [][]byte{prefix, end}, Types: []uint32{roundtrip.TypeBytea, roundtrip.TypeBytea}}
	}
	return roundtrip.Statement{SQL: "delete from " + table + " where k >= $1", Params: [][]byte{prefix}, Types: []uint32{roundtrip.TypeBytea}}
}

// keep keeps the small tables for the next transaction, as this one left them. The fence makes that right: since the
// commit nobody else can have written.
func (s *State) keep(r *reader, tx *overlay.Tx) {
	s.kept = make(map[string]*table)
	for _, name := range small {
		if t := r.tables[name]; t != nil {
			s.kept[name] = t
		}
	}
	for c := range tx.Changes() {
		if t := s.kept[c.Bucket]; t != nil {
			t.known[0].set([]byte(c.Key), bytes.Clone(c.Value))
		}
	}
}

// set writes a row into a span that has its key, or removes it where value is nil.
func (s *span) set(key, value []byte) {
	i := s.find(key)
	found := i < len(s.rows) && bytes.Equal(s.rows[i].key, key)
	switch {
	case found && value == nil:
		s.rows = slices.Delete(s.rows, i, i+1)
	case found:
		s.rows[i].value = value
	case value != nil:
		s.rows = slices.Insert(s.rows, i, row{key, value})
	}
}
