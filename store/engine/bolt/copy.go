package bolt

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"personasync/store/crashpoint"

	"go.etcd.io/bbolt"
)

// Copy copies a state into another file, without its free pages, while the state is at work:
//
//	All      every key in order, a slice at a time, so that no read transaction lasts and no writer waits
//	CatchUp  the keys that were written since they were copied, in rounds, until few are left
//	Last     between two transactions: the last keys
//
// The state notes the keys that it writes from Trace on. The caller calls that between two transactions.
type Copy struct {
	from, to *State
	dirty    *DirtySet
	progress func(done, total int64)
	done     int64
	total    int64
}

const (
	// slicePause is the shortest pause after each slice. Usually it is as long as the slice took. A slice's fsync delays
	// those of acknowledgements.
	slicePause = 5 * time.Millisecond

	// LastKeys is how many keys Last may have to copy, which takes some milliseconds. If as much is written as is copied,
	// so that Rounds rounds do not get there, applying stops for the last ones.
	LastKeys = 1000
	Rounds   = 8
)

// NewCopy creates the file of the copy at path, with the buckets of s. progress may be nil; it counts bytes up to total.
func (s *State) NewCopy(path string, mmap int, total int64, progress func(done, total int64)) (*Copy, error) {
	os.Remove(path)
	to, err := Open(path, mmap, false)
	if err != nil {
		return nil, err
	}
	var names [][]byte
	err = s.view(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
			names = append(names, bytes.Clone(name))
			return nil
		})
	})
	if err == nil {
		err = to.AddBuckets(names...)
	}
	if err != nil {
		return nil, errors.Join(err, to.Close(), os.Remove(path))
	}
	return &Copy{from: s, to: to, dirty: newDirtySet(), progress: progress, total: total}, nil
}

// Dirty is what State.Trace is to be given.
func (c *Copy) Dirty() *DirtySet { return c.dirty }

// Done returns the copy. It is complete after Last.
func (c *Copy) Done() *State { return c.to }

// All copies every key once. It copies the changed ones again when there are too many of them.
func (c *Copy) All(ctx context.Context) error {
	for at, done := (DirtyKey{}), false; !done; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		var items []item
		var err error
		begun := time.Now()
		if items, done, err = readSlice(c.from, at); err != nil {
			return err
		}
		if err := c.write(items); err != nil {
			return err
		}
		if len(items) > 0 {
			at = items[len(items)-1].at
		}
		c.dirty.reached(at, done)
		if err := c.replay(ctx, DirtySetLimit/2); err != nil {
			return err
		}
		c.tell(items)
		time.Sleep(max(slicePause, time.Since(begun)))
	}
	crashpoint.Reach(crashpoint.CompactionCopied)
	return nil
}

func (c *Copy) tell(items []item) {
	for i := range items {
		c.done += int64(len(items[i].at.Key) + len(items[i].value))
	}
	if c.progress != nil {
		c.progress(min(c.done, c.total), c.total)
	}
}

// CatchUp copies the changed keys until few are left.
func (c *Copy) CatchUp(ctx context.Context) error {
	for round := 0; c.dirty.Length() > LastKeys; round++ {
		if round == Rounds {
			c.dirty.hold.Store(true)
		}
		if err := c.replay(ctx, 1); err != nil {
			return err
		}
	}
	crashpoint.Reach(crashpoint.CompactionReplayed)
	return nil
}

// Last copies the last keys that changed. Nothing may be written meanwhile, or after it.
func (c *Copy) Last() error { return c.replay(context.Background(), 1) }

// replay copies the noted keys again, if there are at least n.
func (c *Copy) replay(ctx context.Context, n int) error {
	for rest := range slices.Chunk(c.dirty.take(n), 2000) {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		items, err := readKeys(c.from, rest)
		if err == nil {
			err = c.write(items)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// write puts items into the copy, in one transaction.
func (c *Copy) write(items []item) error {
	if len(items) == 0 {
		return nil
	}
	return c.to.db.Load().Update(func(tx *bbolt.Tx) error {
		for i := range items {
			if err := items[i].write(tx.Bucket([]byte(items[i].at.Bucket))); err != nil {
				return err
			}
		}
		return nil
	})
}

const (
	// SliceBytes and sliceTime limit one read transaction, and so how long the pages stay that the writer frees
	// meanwhile. sliceTime is half of the time that a reader may take, because it is checked between keys.
	sliceTime = 25 * time.Millisecond

	// compactFill packs pages tighter than in a file that grew at random, where they are two thirds full. It leaves room
	// for a row to grow without splitting its page.
	compactFill = 0.9
)

// SliceBytes is about how many bytes one read transaction of a Copy reads. Tests make it small, so that a small file takes
// many.
var SliceBytes = 1 << 20

// item is a key to copy.
type item struct {
	at    DirtyKey
	value []byte
	gone  bool // the key, or the inner bucket, was deleted
}

// readSlice copies the keys that follow after, in order: about SliceBytes, for at most sliceTime.
func readSlice(db *State, after DirtyKey) (items []item, done bool, err error) {
	r := slicer{until: time.Now().Add(sliceTime)}
	err = db.view(func(tx *bbolt.Tx) error {
		c := tx.Cursor()
		for name, _ := c.Seek([]byte(after.Bucket)); name != nil; name, _ = c.Next() {
			from := DirtyKey{Bucket: string(name)}
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

// slicer collects the items of a slice. Its methods report whether there is room for more.
type slicer struct {
	items []item
	bytes int
	until time.Time
}

func (r *slicer) add(i item) bool {
	r.items = append(r.items, i)
	r.bytes += len(i.at.Key) + len(i.value) + 64
	return r.bytes < SliceBytes && (len(r.items)%64 != 0 || time.Now().Before(r.until))
}

// bucket collects the keys that follow after within its bucket.
func (r *slicer) bucket(b *bbolt.Bucket, after DirtyKey) bool {
	c := b.Cursor()
	k, v := c.Seek([]byte(cmp.Or(after.Inner, after.Key)))
	if after.Inner == "" && string(k) == after.Key && k != nil {
		k, v = c.Next()
	}
	for ; k != nil; k, v = c.Next() {
		at := DirtyKey{Bucket: after.Bucket, Key: string(k)}
		if v != nil {
			if !r.add(item{at: at, value: bytes.Clone(v)}) {
				return false
			}
			continue
		}
		inner := DirtyKey{Bucket: after.Bucket, Inner: string(k)}
		if inner.Inner == after.Inner {
			inner.Key = after.Key
		}
		if !r.inner(b.Bucket(k), inner) {
			return false
		}
	}
	return true
}

// inner collects the keys that follow after within an inner bucket, the bucket itself first.
func (r *slicer) inner(b *bbolt.Bucket, after DirtyKey) bool {
	c := b.Cursor()
	k, v := c.Seek([]byte(after.Key))
	switch {
	case after.Key == "":
		if !r.add(item{at: after}) {
			return false
		}
	case string(k) == after.Key:
		k, v = c.Next()
	}
	for ; k != nil; k, v = c.Next() {
		at := after
		at.Key = string(k)
		if !r.add(item{at: at, value: bytes.Clone(v)}) {
			return false
		}
	}
	return true
}

// readKeys reads the values that keys have now.
func readKeys(db *State, keys []DirtyKey) (items []item, err error) {
	err = db.view(func(tx *bbolt.Tx) error {
		for _, at := range keys {
			b := tx.Bucket([]byte(at.Bucket))
			if at.Inner != "" {
				b = b.Bucket([]byte(at.Inner))
			}
			switch {
			case at.Key == "": // dropped, and perhaps created again since
				items = append(items, item{at: at, gone: true})
				if b != nil {
					items = append(items, wholeBucket(b, at)...)
				}
			case b == nil: // went with its bucket
			default:
				v := b.Get([]byte(at.Key))
				items = append(items, item{at: at, value: bytes.Clone(v), gone: v == nil})
			}
		}
		return nil
	})
	return items, err
}

// wholeBucket reads an inner bucket that was dropped and created again within one round. Only a message received days ago
// does that, so it is small.
func wholeBucket(b *bbolt.Bucket, at DirtyKey) []item {
	items := []item{{at: at}}
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		items = append(items, item{at: DirtyKey{Bucket: at.Bucket, Inner: at.Inner, Key: string(k)}, value: bytes.Clone(v)})
	}
	return items
}

// write puts the item into the copy.
func (i *item) write(b *bbolt.Bucket) (err error) {
	if i.at.Inner != "" {
		inner := []byte(i.at.Inner)
		if i.at.Key == "" && i.gone {
			if b.Bucket(inner) == nil {
				return nil
			}
			return b.DeleteBucket(inner)
		}
		b.FillPercent = compactFill
		if b, err = b.CreateBucketIfNotExists(inner); err != nil || i.at.Key == "" {
			return err
		}
	}
	b.FillPercent = compactFill
	if i.gone {
		return b.Delete([]byte(i.at.Key))
	}
	return b.Put([]byte(i.at.Key), i.value)
}
