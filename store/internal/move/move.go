package move

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"

	"personasync/store/engine"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// Store is one side of a move.
type Store struct {
	State   engine.State
	Records Records
}

// Records is the inbox of a side.
type Records interface {
	engine.Log
	First() uint64 // number of the oldest record, 0 without any
	Next() uint64  // number that the next record gets
}

// Part is a bucket, or the inbox, and what its entries come to.
type Part struct {
	Name    string `json:"name"`
	Entries int64  `json:"entries"`
	Bytes   int64  `json:"bytes"`  // of keys and values
	Sum     string `json:"sha256"` // of every key and value in order, the same on every engine
}

// portionBytes is about how much is read, and then written, in one transaction.
const portionBytes = 1 << 20

// Epoch returns the epoch of a state.
func Epoch(s engine.State) (epoch uint32, err error) {
	err = s.View(func(tx engine.Tx) error {
		text := tx.Bucket(state.BucketMeta).Get(engine.MetaEpoch)
		if len(text) != 4 {
			return wire.ErrDamaged
		}
		epoch = binary.BigEndian.Uint32(text)
		return nil
	})
	return epoch, err
}

// Copy copies a store, its records from the number first on, into an empty one, and sums up both. It returns what they have
// in common, or an error if anything differs. progress may be nil; it counts bytes.
func Copy(ctx context.Context, from, to *Store, first uint64, progress func(done, total int64)) ([]Part, error) {
	was, err := Sums(ctx, from, first)
	if err != nil {
		return nil, err
	}
	c := &copying{ctx: ctx, from: from, to: to, progress: progress}
	for _, p := range was {
		c.total += p.Bytes
	}
	if err = c.state(); err == nil {
		err = c.inbox(first)
	}
	if err != nil {
		return nil, err
	}
	is, err := Sums(ctx, to, first)
	if err == nil {
		err = compare(was, is)
	}
	return was, err
}

// copying is one Copy.
type copying struct {
	ctx         context.Context
	from, to    *Store
	done, total int64
	progress    func(done, total int64)
}

func (c *copying) tell(bytes int64) {
	if c.done += bytes; c.progress != nil {
		c.progress(min(c.done, c.total), c.total)
	}
}

// state copies every bucket.
func (c *copying) state() error {
	for _, name := range buckets() {
		err := walk(c.ctx, c.from.State, name, func(list []entry) error {
			return c.to.State.Update(func(tx engine.Tx) error {
				b := tx.Bucket(name)
				for _, e := range list {
					if err := e.put(b); err != nil {
						return fmt.Errorf("bucket %s: %w", name, err)
					}
					c.tell(e.size())
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Sums sums up every bucket of a store, and last its records from the number first on.
func Sums(ctx context.Context, s *Store, first uint64) (parts []Part, err error) {
	for _, name := range buckets() {
		sum := newSummer(string(name))
		err := walk(ctx, s.State, name, func(list []entry) error {
			for _, e := range list {
				if e.key != nil { // an inner bucket without a key may be kept or not
					sum.add(e.inner, e.key, e.value)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		parts = append(parts, sum.part())
	}
	records, err := inboxSum(ctx, s.Records, first)
	return append(parts, records), err
}

// compare returns an error that names the first part in which the copy is not what was copied.
func compare(from, to []Part) error {
	for i := range from {
		if a, b := from[i], to[i]; a != b {
			return fmt.Errorf("the copy of %s is not the same: %d entries of %d bytes and sum %.12s became %d of %d and %.12s",
				a.Name, a.Entries, a.Bytes, a.Sum, b.Entries, b.Bytes, b.Sum)
		}
	}
	return nil
}

func buckets() [][]byte { return append([][]byte{state.BucketMeta}, state.StateBuckets...) }

// ownKeys are the keys of meta that belong to the engine and to the place, and not to the store. Without its home a state
// settles wherever it is opened next.
func ownKey(key []byte) bool {
	return bytes.Equal(key, boltfile.MetaSeal) || bytes.Equal(key, state.MetaHome)
}

// entry is a key with its value, in a bucket or in one within it. One without a key is an inner bucket.
type entry struct{ inner, key, value []byte }

func (e *entry) size() int64 { return int64(len(e.inner) + len(e.key) + len(e.value)) }

func (e *entry) put(b engine.Bucket) (err error) {
	if e.inner != nil {
		if b, err = b.MakeInner(e.inner); err != nil || e.key == nil {
			return err
		}
	}
	return b.Put(e.key, e.value)
}

// walk hands out the entries of a bucket in order, in portions of which each was read in a transaction of its own: no
// reader lasts, which an engine may end or pay for.
func walk(ctx context.Context, s engine.State, name []byte, each func([]entry) error) error {
	for at := (entry{}); ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var list []entry
		err := s.View(func(tx engine.Tx) error {
			b := tx.Bucket(name)
			if b == nil {
				return nil
			}
			r := reading{meta: bytes.Equal(name, state.BucketMeta)}
			r.from(b, at)
			list = r.list
			return nil
		})
		if err != nil || len(list) == 0 {
			return err
		}
		if err := each(list); err != nil {
			return err
		}
		at = list[len(list)-1]
	}
}

// reading is a portion as it is read.
type reading struct {
	meta  bool
	list  []entry
	bytes int64
}

// from reads on behind the entry at.
func (r *reading) from(b engine.Bucket, at entry) {
	last := at.key
	if at.inner != nil {
		if r.inside(b.Inner(at.inner), at.inner, at.key) {
			return
		}
		last = at.inner
	}
	c := b.Cursor()
	for k, v := behind(c, last); k != nil; k, v = c.Next() {
		switch {
		case v == nil:
			name := bytes.Clone(k)
			if r.take(entry{inner: name}) || r.inside(b.Inner(name), name, nil) {
				return
			}
		case r.meta && ownKey(k):
		case r.take(entry{key: bytes.Clone(k), value: bytes.Clone(v)}):
			return
		}
	}
}

// inside reads an inner bucket on behind the key last, and reports whether the portion is full.
func (r *reading) inside(b engine.Bucket, name, last []byte) (full bool) {
	c := b.Cursor()
	for k, v := behind(c, last); k != nil; k, v = c.Next() {
		if r.take(entry{inner: name, key: bytes.Clone(k), value: bytes.Clone(v)}) {
			return true
		}
	}
	return false
}

func (r *reading) take(e entry) (full bool) {
	r.list = append(r.list, e)
	r.bytes += e.size() + 64
	return r.bytes >= portionBytes
}

// behind moves a cursor to the first key behind last, or to the first one.
func behind(c engine.Cursor, last []byte) (k, v []byte) {
	if last == nil {
		return c.First()
	}
	if k, v = c.Seek(last); bytes.Equal(k, last) {
		return c.Next()
	}
	return k, v
}

// summer sums entries up.
type summer struct {
	name           string
	hash           hash.Hash
	entries, bytes int64
}

func newSummer(name string) *summer { return &summer{name: name, hash: sha256.New()} }

// add hashes the fields of an entry with their lengths, so that no two lists of entries have the same bytes.
func (s *summer) add(fields ...[]byte) {
	for _, f := range fields {
		s.hash.Write(binary.AppendUvarint(nil, uint64(len(f))))
		s.hash.Write(f)
		s.bytes += int64(len(f))
	}
	s.entries++
}

func (s *summer) part() Part {
	return Part{Name: s.name, Entries: s.entries, Bytes: s.bytes, Sum: hex.EncodeToString(s.hash.Sum(nil))}
}
