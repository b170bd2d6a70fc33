package postgres

import (
	"bytes"
)

// cursor walks a bucket. It reads few rows at first, because most only look one up, and more each time that it goes on
// from where the last read ended.
type cursor struct {
	b     *bucket
	s     *span // where it stands; nil: nowhere
	i     int   // the row in s
	chunk int   // rows of the last read
	edge  []byte
}

const (
	firstChunk = 4
	keptChunk  = 64 // a transaction keeps what smaller reads brought; a long walk would fill the memory
	lastChunk  = 1024
)

// First implements engine.Cursor.
func (c *cursor) First() (key, value []byte) { return c.seek(present(c.b.prefix)) }

// Last implements engine.Cursor.
func (c *cursor) Last() (key, value []byte) { return c.seekBefore(beyond(c.b.prefix)) }

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
