package store

import (
	"bytes"
	"cmp"
	"time"

	bolt "go.etcd.io/bbolt"
)

// How a compaction copies: a slice of the file at a time, or single keys again, in short read transactions.

// item is a key to copy.
type item struct {
	at    dirtyKey
	value []byte
	gone  bool // the key, or the inner bucket, is no more
}

// readSlice copies what follows after, in order: at most sliceBytes, for at most sliceTime.
func readSlice(db *stateDB, after dirtyKey) (items []item, done bool, err error) {
	r := slicer{until: time.Now().Add(sliceTime)}
	err = db.View(func(tx *bolt.Tx) error {
		c := tx.Cursor()
		for name, _ := c.Seek([]byte(after.bucket)); name != nil; name, _ = c.Next() {
			from := dirtyKey{bucket: string(name)}
			if from.bucket == after.bucket {
				from = after
			}
			if !r.bucket(tx.Bucket(name), from) {
				return nil
			}
		}
		done = true
		return nil
	})
	return r.items, done, err
}

// slicer gathers the items of a slice. Its methods report whether there is room for more.
type slicer struct {
	items []item
	bytes int
	until time.Time
}

func (r *slicer) add(i item) bool {
	r.items = append(r.items, i)
	r.bytes += len(i.at.key) + len(i.value) + 64
	return r.bytes < sliceBytes && (len(r.items)%64 != 0 || time.Now().Before(r.until))
}

// bucket gathers what follows after within its bucket.
func (r *slicer) bucket(b *bolt.Bucket, after dirtyKey) bool {
	c := b.Cursor()
	k, v := c.Seek([]byte(cmp.Or(after.inner, after.key)))
	if after.inner == "" && string(k) == after.key && k != nil {
		k, v = c.Next()
	}
	for ; k != nil; k, v = c.Next() {
		at := dirtyKey{bucket: after.bucket, key: string(k)}
		if v != nil {
			if !r.add(item{at: at, value: bytes.Clone(v)}) {
				return false
			}
			continue
		}
		inner := dirtyKey{bucket: after.bucket, inner: string(k)}
		if inner.inner == after.inner {
			inner.key = after.key
		}
		if !r.inner(b.Bucket(k), inner) {
			return false
		}
	}
	return true
}

// inner gathers what follows after within an inner bucket, the bucket itself first.
func (r *slicer) inner(b *bolt.Bucket, after dirtyKey) bool {
	c := b.Cursor()
	k, v := c.Seek([]byte(after.key))
	switch {
	case after.key == "":
		if !r.add(item{at: after}) {
			return false
		}
	case string(k) == after.key:
		k, v = c.Next()
	}
	for ; k != nil; k, v = c.Next() {
		at := after
		at.key = string(k)
		if !r.add(item{at: at, value: bytes.Clone(v)}) {
			return false
		}
	}
	return true
}

// readSpots reads what spots hold now.
func readSpots(db *stateDB, spots []dirtyKey) (items []item, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		for _, at := range spots {
			b := tx.Bucket([]byte(at.bucket))
			if at.inner != "" {
				b = b.Bucket([]byte(at.inner))
			}
			switch {
			case at.key == "": // dropped, and perhaps made again since
				items = append(items, item{at: at, gone: true})
				if b != nil {
					items = append(items, wholeBucket(b, at)...)
				}
			case b == nil: // went with its bucket
			default:
				v := b.Get([]byte(at.key))
				items = append(items, item{at: at, value: bytes.Clone(v), gone: v == nil})
			}
		}
		return nil
	})
	return items, err
}

// wholeBucket reads an inner bucket that was dropped and made again within one round, which takes a
// message received days ago: it is small.
func wholeBucket(b *bolt.Bucket, at dirtyKey) []item {
	items := []item{{at: at}}
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		items = append(items, item{at: dirtyKey{at.bucket, at.inner, string(k)}, value: bytes.Clone(v)})
	}
	return items
}

func (i *item) write(b *bolt.Bucket) (err error) {
	if i.at.inner != "" {
		inner := []byte(i.at.inner)
		if i.at.key == "" && i.gone {
			if b.Bucket(inner) == nil {
				return nil
			}
			return b.DeleteBucket(inner)
		}
		b.FillPercent = compactFill
		if b, err = b.CreateBucketIfNotExists(inner); err != nil || i.at.key == "" {
			return err
		}
	}
	b.FillPercent = compactFill
	if i.gone {
		return b.Delete([]byte(i.at.key))
	}
	return b.Put([]byte(i.at.key), i.value)
}
