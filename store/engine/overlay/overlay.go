package overlay

import (
	"bytes"
	"iter"
	"maps"
	"slices"
	"strings"

	"personasync/store/engine"
)

// Tx is an overlay. Unlike a transaction on a file it is never committed.
type Tx struct {
	base    engine.Tx // nil: there is none
	buckets map[string]*bucket
}

var _ engine.Tx = (*Tx)(nil)

// Over returns an overlay that has what base has.
func Over(base engine.Tx) *Tx { return &Tx{base: base, buckets: make(map[string]*bucket)} }

// Empty returns an overlay that has these buckets, and nothing in them.
func Empty(buckets ...[]byte) *Tx {
	t := Over(nil)
	for _, name := range buckets {
		t.buckets[string(name)] = new(bucket)
	}
	return t
}

// Writable implements engine.Tx.
func (t *Tx) Writable() bool { return true }

// Check implements engine.Tx.
func (t *Tx) Check() error {
	if t.base == nil {
		return nil
	}
	return t.base.Check()
}

// Bucket implements engine.Tx.
func (t *Tx) Bucket(name []byte) engine.Bucket {
	b := t.buckets[string(name)]
	if b == nil && t.base != nil {
		if below := t.base.Bucket(name); below != nil {
			b = &bucket{base: below}
			t.buckets[string(name)] = b
		}
	}
	if b == nil {
		return nil
	}
	return b
}

// Change is what an overlay has of a key, which may be that of an inner bucket. A nil Value says that the key is gone,
// and if it named an inner bucket, all that was in it.
type Change struct {
	Bucket, Inner, Key string // Inner is "" at the top level
	Value              []byte
}

// Changes returns what was written, by bucket and key. An inner bucket that was made comes as a key without a value's
// bytes; if the overlay has nothing of what was below it, it comes as a key that is gone before.
func (t *Tx) Changes() iter.Seq[Change] {
	return func(yield func(Change) bool) {
		for _, name := range slices.Sorted(maps.Keys(t.buckets)) {
			if !t.buckets[name].changes(Change{Bucket: name}, yield) {
				return
			}
		}
	}
}

// changes yields those of a bucket, which c names.
func (b *bucket) changes(c Change, yield func(Change) bool) bool {
	for _, e := range b.entries {
		if c.Key, c.Value = e.key, e.value; e.inner == nil {
			if !yield(c) {
				return false
			}
			continue
		}
		made := Change{Bucket: c.Bucket, Key: e.key, Value: []byte{}}
		if e.inner.base == nil && (!yield(Change{Bucket: c.Bucket, Key: e.key}) || !yield(made)) ||
			!e.inner.changes(Change{Bucket: c.Bucket, Inner: e.key}, yield) {
			return false
		}
	}
	return true
}

// bucket is a bucket of the overlay. Its entries hide those of its base.
type bucket struct {
	base    engine.Bucket // nil: there is none
	entries []*entry      // sorted by key
}

// entry is a key that was written.
type entry struct {
	key     string
	value   []byte
	inner   *bucket // the key names a bucket
	deleted bool
}

// find returns the place of the first entry not before key, and whether it is of key. Most keys are written in order.
func (b *bucket) find(key []byte) (int, bool) {
	if n := len(b.entries); n > 0 && b.entries[n-1].key < string(key) {
		return n, false
	}
	return slices.BinarySearchFunc(b.entries, key, func(e *entry, key []byte) int { return strings.Compare(e.key, string(key)) })
}

// entry returns the entry of a key, and adds it on first use.
func (b *bucket) entry(key []byte) *entry {
	at, known := b.find(key)
	if !known {
		b.entries = slices.Insert(b.entries, at, &entry{key: string(key)})
	}
	return b.entries[at]
}

// Get implements engine.Bucket.
func (b *bucket) Get(key []byte) []byte {
	if at, known := b.find(key); known {
		return b.entries[at].value
	}
	if b.base == nil {
		return nil
	}
	return b.base.Get(key)
}

// Put implements engine.Bucket.
func (b *bucket) Put(key, value []byte) error {
	if value == nil {
		value = []byte{} // a nil value would read as no key
	}
	e := b.entry(key)
	*e = entry{key: e.key, value: value}
	return nil
}

// Delete implements engine.Bucket.
func (b *bucket) Delete(key []byte) error {
	e := b.entry(key)
	*e = entry{key: e.key, deleted: true}
	return nil
}

// Cursor implements engine.Bucket.
func (b *bucket) Cursor() engine.Cursor {
	c := &cursor{bucket: b}
	if b.base != nil {
		c.base = b.base.Cursor()
	}
	return c
}

// Want implements engine.Bucket.
func (b *bucket) Want(ranges iter.Seq2[[]byte, []byte]) {
	if b.base != nil {
		b.base.Want(ranges)
	}
}

// ForEach implements engine.Bucket.
func (b *bucket) ForEach(f func(key, value []byte) error) error {
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if err := f(k, v); err != nil {
			return err
		}
	}
	return nil
}

// Inner implements engine.Bucket. A bucket of the base gets an entry, so that it is the same bucket every time.
func (b *bucket) Inner(name []byte) engine.Bucket {
	if at, known := b.find(name); known {
		if inner := b.entries[at].inner; inner != nil {
			return inner
		}
		return nil
	}
	if b.base == nil {
		return nil
	}
	below := b.base.Inner(name)
	if below == nil {
		return nil
	}
	e := b.entry(name)
	e.inner = &bucket{base: below}
	return e.inner
}

// MakeInner implements engine.Bucket.
func (b *bucket) MakeInner(name []byte) (engine.Bucket, error) {
	if inner := b.Inner(name); inner != nil {
		return inner, nil
	}
	e := b.entry(name)
	*e = entry{key: e.key, inner: new(bucket)}
	return e.inner, nil
}

// DropInner implements engine.Bucket.
func (b *bucket) DropInner(name []byte) error { return b.Delete(name) }

// cursor walks a bucket and its base together. It remembers the key where it stands, and not a place in the entries, so
// that a write in between does not move it.
type cursor struct {
	bucket *bucket
	base   engine.Cursor // nil: there is none
	at     []byte        // nil: nowhere
}

// Within implements engine.Cursor.
func (c *cursor) Within(prefix []byte) {
	if c.base != nil {
		c.base.Within(prefix)
	}
}

// First implements engine.Cursor.
func (c *cursor) First() (key, value []byte) { return c.forward(nil, true) }

// Seek implements engine.Cursor.
func (c *cursor) Seek(key []byte) (found, value []byte) { return c.forward(key, true) }

// Next implements engine.Cursor.
func (c *cursor) Next() (key, value []byte) {
	if c.at == nil {
		return nil, nil
	}
	return c.forward(c.at, false)
}

// Last implements engine.Cursor.
func (c *cursor) Last() (key, value []byte) {
	var k, v []byte
	if c.base != nil {
		k, v = c.base.Last()
	}
	return c.backward(len(c.bucket.entries)-1, k, v)
}

// Prev implements engine.Cursor.
func (c *cursor) Prev() (key, value []byte) {
	at, _ := c.bucket.find(c.at)
	var k, v []byte
	if c.base != nil {
		if found, _ := c.base.Seek(c.at); found == nil {
			k, v = c.base.Last()
		} else {
			k, v = c.base.Prev()
		}
	}
	return c.backward(at-1, k, v)
}

// forward goes to the first key from a key on, which itself counts only if it is included.
func (c *cursor) forward(from []byte, included bool) ([]byte, []byte) {
	at, known := c.bucket.find(from)
	if known && !included {
		at++
	}
	var k, v []byte
	if c.base != nil {
		if k, v = c.base.Seek(from); k != nil && !included && bytes.Equal(k, from) {
			k, v = c.base.Next()
		}
	}
	for ; at < len(c.bucket.entries); at++ {
		e := c.bucket.entries[at]
		if k != nil && string(k) < e.key {
			break
		}
		if k != nil && string(k) == e.key {
			k, v = c.base.Next()
		}
		if !e.deleted {
			return c.stand([]byte(e.key), e.value)
		}
	}
	return c.stand(k, v)
}

// backward goes to the last key among the entries up to a place and the base's key k.
func (c *cursor) backward(at int, k, v []byte) ([]byte, []byte) {
	for ; at >= 0; at-- {
		e := c.bucket.entries[at]
		if k != nil && string(k) > e.key {
			break
		}
		if k != nil && string(k) == e.key {
			k, v = c.base.Prev()
		}
		if !e.deleted {
			return c.stand([]byte(e.key), e.value)
		}
	}
	return c.stand(k, v)
}

func (c *cursor) stand(k, v []byte) ([]byte, []byte) {
	c.at = bytes.Clone(k)
	return k, v
}
