package bolt

import (
	"bytes"
	"iter"

	"go.etcd.io/bbolt"

	"personasync/store/engine"
	"personasync/store/internal/boltfile"
)

// tx is a transaction on a file. While a compaction copies the file, it notes the keys that are written.
type tx struct {
	*bbolt.Tx
	tracing bool
	touched []DirtyKey
}

// Bucket implements engine.Tx.
func (t *tx) Bucket(name []byte) engine.Bucket {
	b := t.Tx.Bucket(name)
	if b == nil {
		return nil
	}
	if bytes.Equal(name, engine.BucketJournal) {
		b.FillPercent = 1
	}
	return &bucket{Bucket: b, tx: t, at: DirtyKey{Bucket: string(name)}}
}

// Check implements engine.Tx.
func (t *tx) Check() error { return boltfile.Check(t.Tx) }

// note remembers that something is written.
func (t *tx) note(at DirtyKey) {
	if t.tracing {
		t.touched = append(t.touched, at)
	}
}

// bucket is a bucket of the top level, or one within it.
type bucket struct {
	*bbolt.Bucket
	tx *tx
	at DirtyKey // without a key
}

// Put implements engine.Bucket.
func (b *bucket) Put(key, value []byte) error {
	b.note(key)
	return b.Bucket.Put(key, value)
}

// Delete implements engine.Bucket.
func (b *bucket) Delete(key []byte) error {
	b.note(key)
	return b.Bucket.Delete(key)
}

func (b *bucket) note(key []byte) {
	if b.tx.tracing {
		at := b.at
		at.Key = string(key)
		b.tx.note(at)
	}
}

// Cursor implements engine.Bucket.
func (b *bucket) Cursor() engine.Cursor { return cursor{b.Bucket.Cursor()} }

type cursor struct{ *bbolt.Cursor }

// Within implements engine.Cursor. The next key is as near as any.
func (cursor) Within([]byte) {}

// Want implements engine.Bucket. The file is in memory as far as it can be.
func (b *bucket) Want(iter.Seq2[[]byte, []byte]) {}

// Inner implements engine.Bucket.
func (b *bucket) Inner(name []byte) engine.Bucket {
	inner := b.Bucket.Bucket(name)
	if inner == nil {
		return nil
	}
	return b.within(name, inner)
}

// MakeInner implements engine.Bucket.
func (b *bucket) MakeInner(name []byte) (engine.Bucket, error) {
	if inner := b.Inner(name); inner != nil {
		return inner, nil
	}
	inner, err := b.Bucket.CreateBucket(bytes.Clone(name))
	if err != nil {
		return nil, err
	}
	return b.within(name, inner), nil
}

// DropInner implements engine.Bucket.
func (b *bucket) DropInner(name []byte) error {
	b.tx.note(DirtyKey{Bucket: b.at.Bucket, Inner: string(name)})
	return b.Bucket.DeleteBucket(name)
}

func (b *bucket) within(name []byte, inner *bbolt.Bucket) *bucket {
	return &bucket{Bucket: inner, tx: b.tx, at: DirtyKey{Bucket: b.at.Bucket, Inner: string(name)}}
}
