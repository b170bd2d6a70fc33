package snapshot

import (
	"bytes"
	"cmp"
	"time"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/state"
)

const (
	// sliceBytes and sliceTime bound one read transaction, and with it how long a page stays that the
	// writer no longer needs. sliceTime is half of what a reader may take: the check is between keys.
	sliceTime = 25 * time.Millisecond

	// compactFill packs pages tighter than a file that grew at random, where they are two thirds full,
	// and leaves room for a row to grow without splitting its page.
	compactFill = 0.9
)

// Tests make these small, so that a small file takes many slices and rounds.
var (
	SliceBytes = 1 << 20
)

// How a compaction copies: a slice of the file at a time, or single keys again, in short read transactions.

// Item is a key to copy.
type Item struct {
	At    state.DirtyKey
	Value []byte
	gone  bool // the key, or the inner bucket, is no more
}

// ReadSlice copies what follows after, in order: at most sliceBytes, for at most sliceTime.
func ReadSlice(db *state.StateDB, after state.DirtyKey) (items []Item, done bool, err error) {
	r := slicer{until: time.Now().Add(sliceTime)}
	err = db.View(func(tx *bolt.Tx) error {
		c := tx.Cursor()
		for name, _ := c.Seek([]byte(after.Bucket)); name != nil; name, _ = c.Next() {
			from := state.DirtyKey{Bucket: string(name)}
			if from.Bucket == after.Bucket {
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
	items []Item
	bytes int
	until time.Time
}

func (r *slicer) add(i Item) bool {
	r.items = append(r.items, i)
	r.bytes += len(i.At.Key) + len(i.Value) + 64
	return r.bytes < SliceBytes && (len(r.items)%64 != 0 || time.Now().Before(r.until))
}

// bucket gathers what follows after within its bucket.
func (r *slicer) bucket(b *bolt.Bucket, after state.DirtyKey) bool {
	c := b.Cursor()
	k, v := c.Seek([]byte(cmp.Or(after.Inner, after.Key)))
	if after.Inner == "" && string(k) == after.Key && k != nil {
		k, v = c.Next()
	}
	for ; k != nil; k, v = c.Next() {
		at := state.DirtyKey{Bucket: after.Bucket, Key: string(k)}
		if v != nil {
			if !r.add(Item{At: at, Value: bytes.Clone(v)}) {
				return false
			}
			continue
		}
		inner := state.DirtyKey{Bucket: after.Bucket, Inner: string(k)}
		if inner.Inner == after.Inner {
			inner.Key = after.Key
		}
		if !r.inner(b.Bucket(k), inner) {
			return false
		}
	}
	return true
}

// inner gathers what follows after within an inner bucket, the bucket itself first.
func (r *slicer) inner(b *bolt.Bucket, after state.DirtyKey) bool {
	c := b.Cursor()
	k, v := c.Seek([]byte(after.Key))
	switch {
	case after.Key == "":
		if !r.add(Item{At: after}) {
			return false
		}
	case string(k) == after.Key:
		k, v = c.Next()
	}
	for ; k != nil; k, v = c.Next() {
		at := after
		at.Key = string(k)
		if !r.add(Item{At: at, Value: bytes.Clone(v)}) {
			return false
		}
	}
	return true
}

// ReadSpots reads what spots hold now.
func ReadSpots(db *state.StateDB, spots []state.DirtyKey) (items []Item, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		for _, at := range spots {
			b := tx.Bucket([]byte(at.Bucket))
			if at.Inner != "" {
				b = b.Bucket([]byte(at.Inner))
			}
			switch {
			case at.Key == "": // dropped, and perhaps made again since
				items = append(items, Item{At: at, gone: true})
				if b != nil {
					items = append(items, wholeBucket(b, at)...)
				}
			case b == nil: // went with its bucket
			default:
				v := b.Get([]byte(at.Key))
				items = append(items, Item{At: at, Value: bytes.Clone(v), gone: v == nil})
			}
		}
		return nil
	})
	return items, err
}

// wholeBucket reads an inner bucket that was dropped and made again within one round, which takes a
// message received days ago: it is small.
func wholeBucket(b *bolt.Bucket, at state.DirtyKey) []Item {
	items := []Item{{At: at}}
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		items = append(items, Item{At: state.DirtyKey{Bucket: at.Bucket, Inner: at.Inner, Key: string(k)}, Value: bytes.Clone(v)})
	}
	return items
}

func (i *Item) Write(b *bolt.Bucket) (err error) {
	if i.At.Inner != "" {
		inner := []byte(i.At.Inner)
		if i.At.Key == "" && i.gone {
			if b.Bucket(inner) == nil {
				return nil
			}
			return b.DeleteBucket(inner)
		}
		b.FillPercent = compactFill
		if b, err = b.CreateBucketIfNotExists(inner); err != nil || i.At.Key == "" {
			return err
		}
	}
	b.FillPercent = compactFill
	if i.gone {
		return b.Delete([]byte(i.At.Key))
	}
	return b.Put([]byte(i.At.Key), i.Value)
}
