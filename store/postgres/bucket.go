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
func (b *bucket) Want(ranges iter.Seq2[[]byte, []byte]) {
	var list []span
	for from, to := range ranges {
		s := span{from: slices.Concat(b.prefix, from), to: slices.Concat(b.prefix, to)}
		if to == nil {
			s.to = engine.Beyond(b.prefix)
		}
		if s.to != nil && b.t.known.at(s.from) == nil { // what has no end is read when it is asked for
			list = append(list, s)
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

// cursor walks a bucket. It reads few rows at first, because most only look one up, and more each time that it goes on
// from where the last read ended.
type cursor struct {
	b      *bucket
	s      *span // where it stands; nil: nowhere
	i      int   // the row in s
	chunk  int   // rows of the last read
	edge   []byte
	within []byte // as the table has it; nil: everything
}

const (
	firstChunk = 4
	keptChunk  = 64 // a transaction keeps what smaller reads brought; a long walk would fill the memory
	lastChunk  = 1024
)

// Within implements engine.Cursor.
func (c *cursor) Within(prefix []byte) { c.within = c.b.full(prefix) }

// First implements engine.Cursor.
func (c *cursor) First() (key, value []byte) { return c.seek(present(c.b.prefix)) }

// Last implements engine.Cursor.
func (c *cursor) Last() (key, value []byte) { return c.seekBefore(engine.Beyond(c.b.prefix)) }

// Seek implements engine.Cursor.
func (c *cursor) Seek(key []byte) (found, value []byte) { return c.seek(c.b.full(key)) }

// Next implements engine.Cursor.
func (c *cursor) Next() (key, value []byte) {
	switch {
	case c.s == nil:
		return nil, nil
	case c.i+1 < len(c.s.rows):
		c.i++
		return c.here()
	case c.s.to == nil:
		return c.nowhere()
	}
	c.edge = c.s.to
	return c.seek(c.edge)
}

// Prev implements engine.Cursor.
func (c *cursor) Prev() (key, value []byte) {
	switch {
	case c.s == nil:
		return nil, nil
	case c.i > 0:
		c.i--
		return c.here()
	case len(c.s.from) == 0:
		return c.nowhere()
	}
	c.edge = c.s.from
	return c.seekBefore(c.edge)
}

// seek stands on the first row from a key of the table on.
func (c *cursor) seek(key []byte) ([]byte, []byte) {
	for {
		if c.s == nil || !c.s.covers(key) {
			if c.s = c.b.t.known.at(key); c.s == nil {
				if bytes.Compare(key, c.within) > 0 && !bytes.HasPrefix(key, c.within) {
					return c.nowhere()
				}
				c.grow(key)
				c.take(c.b.r.forward(c.b.t, key, c.chunk))
				c.edge = c.s.to
			}
		}
		if c.i = c.s.find(key); c.i < len(c.s.rows) {
			return c.here()
		}
		if key = c.s.to; key == nil || c.b.r.err != nil {
			return c.nowhere()
		}
	}
}

// seekBefore stands on the last row before a key of the table, nil for its end.
func (c *cursor) seekBefore(key []byte) ([]byte, []byte) {
	for {
		if c.s == nil || !c.s.reaches(key) {
			if c.s = c.b.t.known.before(key); c.s == nil {
				c.grow(key)
				c.take(c.b.r.backward(c.b.t, key, c.chunk))
				c.edge = c.s.from
			}
		}
		if c.i = len(c.s.rows) - 1; key != nil {
			c.i = c.s.find(key) - 1
		}
		if c.i >= 0 {
			return c.here()
		}
		if key = c.s.from; len(key) == 0 || c.b.r.err != nil {
			return c.nowhere()
		}
	}
}

// grow sets how many rows the next read brings.
func (c *cursor) grow(key []byte) {
	if c.edge != nil && bytes.Equal(key, c.edge) {
		c.chunk = min(16*max(c.chunk, firstChunk), lastChunk)
	} else {
		c.chunk = firstChunk
	}
}

// take goes on in what was read.
func (c *cursor) take(s *span) {
	if c.s = s; c.chunk <= keptChunk && c.b.r.err == nil {
		c.s = c.b.t.known.learn(s)
	}
}

// here returns the row where c stands.
func (c *cursor) here() ([]byte, []byte) {
	at := c.s.rows[c.i]
	if c.b.r.err != nil || !bytes.HasPrefix(at.key, c.b.prefix) {
		return c.nowhere()
	}
	if c.b.nested {
		return at.key, nil
	}
	return at.key[len(c.b.prefix):], at.value
}

func (c *cursor) nowhere() ([]byte, []byte) {
	c.s = nil
	return nil, nil
}
