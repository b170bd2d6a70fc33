package state

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
)

var (
	DirtySetLimit = 1 << 17 // of a trace: about 20 MB at the usual length of keys
)

// A spot is where a value is in state.db: a bucket, a bucket within it or none, and a key. Without a
// key it is the inner bucket itself. Spots sort as a walk through the file meets them.
type DirtyKey struct{ Bucket, Inner, Key string }

func (a DirtyKey) compare(b DirtyKey) int {
	first := func(s DirtyKey) string { return cmp.Or(s.Inner, s.Key) }
	second := func(s DirtyKey) string {
		if s.Inner == "" {
			return ""
		}
		return s.Key
	}
	return cmp.Or(strings.Compare(a.Bucket, b.Bucket), strings.Compare(first(a), first(b)), strings.Compare(second(a), second(b)))
}

// DirtySet is the spots that were written while state.db is being copied: they must be copied again. The
// writer merges, the compaction takes. Spots that the copy has not come to yet are forgotten, so what
// is kept is bounded: beyond dirtySetLimit the writer stops applying records until it is less, which
// costs lag and no acknowledgement.
type DirtySet struct {
	mu    sync.Mutex
	keys  map[DirtyKey]struct{}
	at    DirtyKey // how far the copy has come …
	whole bool     // … or that it has come to the end
	lost  error    // something was written that cannot be followed
	Hold  atomic.Bool
}

func NewDirtySet() *DirtySet { return &DirtySet{keys: make(map[DirtyKey]struct{})} }

// Full reports whether the writer had better leave the inbox alone for now. A nil trace never is.
func (t *DirtySet) Full() bool {
	if t == nil {
		return false
	}
	if t.Hold.Load() {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.keys) > DirtySetLimit
}

// Merge adds what a transaction touched, once that is committed.
func (t *DirtySet) Merge(touched []DirtyKey) {
	if t == nil || len(touched) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range touched {
		if s == (DirtyKey{}) {
			t.lost = ErrNoDirtySet
		}
		t.keys[s] = struct{}{}
	}
}

var ErrNoDirtySet = errors.New("something was written to a bucket that compaction does not know")

// Reached says how far the copy has come, and forgets the spots behind at: it comes to them yet.
func (t *DirtySet) Reached(at DirtyKey, whole bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at, t.whole = at, whole
	for s := range t.keys {
		if t.ahead(s) {
			delete(t.keys, s)
		}
	}
}

func (t *DirtySet) ahead(s DirtyKey) bool { return !t.whole && s.compare(t.at) > 0 }

// Take removes the spots that the copy has passed and returns them, if there are at least n in all.
// Those ahead stay: copied now, and deleted before the copy comes to them, they would stay for ever.
func (t *DirtySet) Take(n int) (spots []DirtyKey, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost != nil || len(t.keys) < n {
		return nil, t.lost
	}
	for s := range t.keys {
		if !t.ahead(s) {
			spots = append(spots, s)
			delete(t.keys, s)
		}
	}
	slices.SortFunc(spots, DirtyKey.compare)
	return spots, nil
}

func (t *DirtySet) Length() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.keys)
}

// note remembers that a key is written.
func (tx *Tx) note(to *bolt.Bucket, key []byte) {
	if !tx.Tracing {
		return
	}
	at, known := tx.buckets[to]
	if !known {
		at = tx.whereabouts(to)
	}
	if at != (DirtyKey{}) { // else the empty spot says that something was lost
		at.Key = string(key)
	}
	tx.Touched = append(tx.Touched, at)
}

// NoteDrop remembers that a bucket within a bucket is dropped whole.
func (tx *Tx) NoteDrop(bucket, inner []byte) {
	if !tx.Tracing {
		return
	}
	tx.Touched = append(tx.Touched, DirtyKey{Bucket: string(bucket), Inner: string(inner)})
	tx.buckets = nil // it may be made again
}

// whereabouts names a bucket. bbolt hands out one *Bucket for each bucket of a transaction.
func (tx *Tx) whereabouts(to *bolt.Bucket) (at DirtyKey) {
	if tx.buckets == nil {
		tx.buckets = make(map[*bolt.Bucket]DirtyKey)
	}
	for _, name := range append([][]byte{BucketMeta}, StateBuckets...) {
		if bucket := tx.Raw.Bucket(name); bucket == to {
			at = DirtyKey{Bucket: string(name)}
		}
	}
	days := tx.Raw.Bucket(BucketMessages)
	c := days.Cursor()
	for k, _ := c.First(); k != nil && at == (DirtyKey{}); k, _ = c.Next() {
		if days.Bucket(bytes.Clone(k)) == to {
			at = DirtyKey{Bucket: string(BucketMessages), Inner: string(k)}
		}
	}
	tx.buckets[to] = at
	return at
}
