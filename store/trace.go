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
type spot struct{ bucket, inner, key string }

func (a spot) compare(b spot) int {
	first := func(s spot) string { return cmp.Or(s.inner, s.key) }
	second := func(s spot) string {
		if s.inner == "" {
			return ""
		}
		return s.key
	}
	return cmp.Or(strings.Compare(a.bucket, b.bucket), strings.Compare(first(a), first(b)), strings.Compare(second(a), second(b)))
}

// trace is the spots that were written while state.db is being copied: they must be copied again. The
// writer merges, the compaction takes. Spots that the copy has not come to yet are forgotten, so what
// is kept is bounded: beyond traceLimit the writer stops applying records until it is less, which
// costs lag and no acknowledgement.
type trace struct {
	mu    sync.Mutex
	spots map[spot]struct{}
	at    spot  // how far the copy has come …
	whole bool  // … or that it has come to the end
	lost  error // something was written that cannot be followed
	hold  atomic.Bool
}

func newTrace() *trace { return &trace{spots: make(map[spot]struct{})} }

// full reports whether the writer had better leave the inbox alone for now. A nil trace never is.
func (t *trace) full() bool {
	if t == nil {
		return false
	}
	if t.hold.Load() {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.spots) > traceLimit
}

// merge adds what a transaction touched, once that is committed.
func (t *trace) merge(touched []spot) {
	if t == nil || len(touched) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range touched {
		if s == (spot{}) {
			t.lost = errUntraced
		}
		t.spots[s] = struct{}{}
	}
}

var errUntraced = errors.New("something was written to a bucket that compaction does not know")

// reached says how far the copy has come, and forgets the spots behind at: it comes to them yet.
func (t *trace) reached(at spot, whole bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at, t.whole = at, whole
	for s := range t.spots {
		if t.ahead(s) {
			delete(t.spots, s)
		}
	}
}

func (t *trace) ahead(s spot) bool { return !t.whole && s.compare(t.at) > 0 }

// take removes the spots that the copy has passed and returns them, if there are at least n in all.
// Those ahead stay: copied now, and deleted before the copy comes to them, they would stay for ever.
func (t *trace) take(n int) (spots []spot, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost != nil || len(t.spots) < n {
		return nil, t.lost
	}
	for s := range t.spots {
		if !t.ahead(s) {
			spots = append(spots, s)
			delete(t.spots, s)
		}
	}
	slices.SortFunc(spots, spot.compare)
	return spots, nil
}

func (t *trace) length() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.spots)
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
	if at != (spot{}) { // else the empty spot says that something was lost
		at.key = string(key)
	}
	b.touched = append(b.touched, at)
}

// noteDrop remembers that a bucket within a bucket is dropped whole.
func (b *batch) noteDrop(bucket, inner []byte) {
	if !b.tracing {
		return
	}
	b.touched = append(b.touched, spot{bucket: string(bucket), inner: string(inner)})
	b.buckets = nil // it may be made again
}

// whereabouts names a bucket. bbolt hands out one *Bucket for each bucket of a transaction.
func (b *batch) whereabouts(to *bolt.Bucket) (at spot) {
	if b.buckets == nil {
		b.buckets = make(map[*bolt.Bucket]spot)
	}
	for _, name := range append([][]byte{bucketMeta}, stateBuckets...) {
		if bucket := b.tx.Bucket(name); bucket == to {
			at = spot{bucket: string(name)}
		}
	}
	days := b.tx.Bucket(bucketMessages)
	c := days.Cursor()
	for k, _ := c.First(); k != nil && at == (spot{}); k, _ = c.Next() {
		if days.Bucket(bytes.Clone(k)) == to {
			at = spot{bucket: string(bucketMessages), inner: string(k)}
		}
	}
	b.buckets[to] = at
	return at
}
