package store

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

// A spot is where a value is in state.db: a bucket, a bucket within it or none, and a key. Without a
// key it is the inner bucket itself. Spots sort as a walk through the file meets them.
type dirtyKey struct{ bucket, inner, key string }

func (a dirtyKey) compare(b dirtyKey) int {
	first := func(s dirtyKey) string { return cmp.Or(s.inner, s.key) }
	second := func(s dirtyKey) string {
		if s.inner == "" {
			return ""
		}
		return s.key
	}
	return cmp.Or(strings.Compare(a.bucket, b.bucket), strings.Compare(first(a), first(b)), strings.Compare(second(a), second(b)))
}

// dirtySet is the spots that were written while state.db is being copied: they must be copied again. The
// writer merges, the compaction takes. Spots that the copy has not come to yet are forgotten, so what
// is kept is bounded: beyond dirtySetLimit the writer stops applying records until it is less, which
// costs lag and no acknowledgement.
type dirtySet struct {
	mu    sync.Mutex
	keys  map[dirtyKey]struct{}
	at    dirtyKey // how far the copy has come …
	whole bool     // … or that it has come to the end
	lost  error    // something was written that cannot be followed
	hold  atomic.Bool
}

func newDirtySet() *dirtySet { return &dirtySet{keys: make(map[dirtyKey]struct{})} }

// full reports whether the writer had better leave the inbox alone for now. A nil trace never is.
func (t *dirtySet) full() bool {
	if t == nil {
		return false
	}
	if t.hold.Load() {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.keys) > dirtySetLimit
}

// merge adds what a transaction touched, once that is committed.
func (t *dirtySet) merge(touched []dirtyKey) {
	if t == nil || len(touched) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range touched {
		if s == (dirtyKey{}) {
			t.lost = errNoDirtySet
		}
		t.keys[s] = struct{}{}
	}
}

var errNoDirtySet = errors.New("something was written to a bucket that compaction does not know")

// reached says how far the copy has come, and forgets the spots behind at: it comes to them yet.
func (t *dirtySet) reached(at dirtyKey, whole bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at, t.whole = at, whole
	for s := range t.keys {
		if t.ahead(s) {
			delete(t.keys, s)
		}
	}
}

func (t *dirtySet) ahead(s dirtyKey) bool { return !t.whole && s.compare(t.at) > 0 }

// take removes the spots that the copy has passed and returns them, if there are at least n in all.
// Those ahead stay: copied now, and deleted before the copy comes to them, they would stay for ever.
func (t *dirtySet) take(n int) (spots []dirtyKey, err error) {
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
	slices.SortFunc(spots, dirtyKey.compare)
	return spots, nil
}

func (t *dirtySet) length() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.keys)
}

// note remembers that a key is written.
func (b *batch) note(to *bolt.Bucket, key []byte) {
	if !b.tracing {
		return
	}
	at, known := b.buckets[to]
	if !known {
		at = b.whereabouts(to)
	}
	if at != (dirtyKey{}) { // else the empty spot says that something was lost
		at.key = string(key)
	}
	b.touched = append(b.touched, at)
}

// noteDrop remembers that a bucket within a bucket is dropped whole.
func (b *batch) noteDrop(bucket, inner []byte) {
	if !b.tracing {
		return
	}
	b.touched = append(b.touched, dirtyKey{bucket: string(bucket), inner: string(inner)})
	b.buckets = nil // it may be made again
}

// whereabouts names a bucket. bbolt hands out one *Bucket for each bucket of a transaction.
func (b *batch) whereabouts(to *bolt.Bucket) (at dirtyKey) {
	if b.buckets == nil {
		b.buckets = make(map[*bolt.Bucket]dirtyKey)
	}
	for _, name := range append([][]byte{bucketMeta}, stateBuckets...) {
		if bucket := b.tx.Bucket(name); bucket == to {
			at = dirtyKey{bucket: string(name)}
		}
	}
	days := b.tx.Bucket(bucketMessages)
	c := days.Cursor()
	for k, _ := c.First(); k != nil && at == (dirtyKey{}); k, _ = c.Next() {
		if days.Bucket(bytes.Clone(k)) == to {
			at = dirtyKey{bucket: string(bucketMessages), inner: string(k)}
		}
	}
	b.buckets[to] = at
	return at
}
