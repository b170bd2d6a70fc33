package postgres

import (
	"bytes"
	"errors"
	"iter"
	"slices"

	"personasync/store/engine"
)

// bucket is a table, or the rows of one whose keys begin with the name of an inner bucket.
type bucket struct {
	r      *reader
	t      *table
	prefix []byte
	nested bool // its keys name inner buckets
}

var errReadOnly = errors.New("a transaction that only reads")

// Get implements engine.Bucket.
func (b *bucket) Get(key []byte) []byte {
	key = b.full(key)
	s := b.t.known.at(key)
	if s == nil {
		if s = b.r.forward(b.t, key, 1); b.r.err != nil {
			return nil
		}
		s = b.t.known.learn(s)
	}
	if i := s.find(key); i < len(s.rows) && bytes.Equal(s.rows[i].key, key) && !b.nested {
		return s.rows[i].value
	}
	return nil
}

// Put, Delete and the like implement engine.Bucket. An overlay has them, and they are sent at the end.
func (b *bucket) Put(_, _ []byte) error                   { return errReadOnly }
func (b *bucket) Delete([]byte) error                     { return errReadOnly }
func (b *bucket) MakeInner([]byte) (engine.Bucket, error) { return nil, errReadOnly }
func (b *bucket) DropInner([]byte) error                  { return errReadOnly }

// Want implements engine.Bucket.
func (b *bucket) Want(prefixes iter.Seq[[]byte]) {
	var list [][]byte
	for p := range prefixes {
		if key := slices.Concat(b.prefix, p); b.t.known.at(key) == nil {
			list = append(list, key)
		}
	}
	b.r.want(b.t, list)
}

// Cursor implements engine.Bucket.
func (b *bucket) Cursor() engine.Cursor { return &cursor{b: b} }

// ForEach implements engine.Bucket.
func (b *bucket) ForEach(f func(key, value []byte) error) error {
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if err := f(k, v); err != nil {
			return err
		}
	}
	return b.r.err
}

// Inner implements engine.Bucket.
func (b *bucket) Inner(name []byte) engine.Bucket {
	if !b.nested {
		return nil
	}
	if k, _ := b.Cursor().Seek(name); !bytes.Equal(k, name) {
		return nil
	}
	if inner := b.r.bucket(inside(nested), bytes.Clone(name)); inner != nil {
		return inner
	}
	return nil
}

// full returns a key as the table has it.
func (b *bucket) full(key []byte) []byte {
	if b.prefix == nil {
		return key
	}
	return slices.Concat(b.prefix, key)
}
