package bolt

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

var (
	DirtySetLimit = 1 << 17 // of a trace: about 20 MB at the usual length of keys
)

// DirtyKey is where a value is in the file: a bucket, a bucket within it or none, and a key. Without a key it is
// the inner bucket itself. They sort as a walk through the file meets them.
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

// DirtySet is the keys that were written while the file is being copied: they must be copied again. The writer
// merges, the copy takes; both may at once. Keys that the copy has not come to yet are forgotten, so what is kept is
// bounded: beyond DirtySetLimit the writer stops applying records until there are less, which costs lag and no
// acknowledgement.
type DirtySet struct {
	mu    sync.Mutex
	keys  map[DirtyKey]struct{}
	at    DirtyKey // how far the copy has come …
	whole bool     // … or that it has come to the end
	hold  atomic.Bool
}

func NewDirtySet() *DirtySet { return &DirtySet{keys: make(map[DirtyKey]struct{})} }

// Full reports whether the writer had better leave the inbox alone for now. A nil trace never is.
func (t *DirtySet) Full() bool {
	if t == nil {
		return false
	}
	if t.hold.Load() {
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
		t.keys[s] = struct{}{}
	}
}

// reached says how far the copy has come, and forgets the spots behind at: it comes to them yet.
func (t *DirtySet) reached(at DirtyKey, whole bool) {
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

// take removes the spots that the copy has passed and returns them, if there are at least n in all.
// Those ahead stay: copied now, and deleted before the copy comes to them, they would stay for ever.
func (t *DirtySet) take(n int) (keys []DirtyKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.keys) < n {
		return nil
	}
	for s := range t.keys {
		if !t.ahead(s) {
			keys = append(keys, s)
			delete(t.keys, s)
		}
	}
	slices.SortFunc(keys, DirtyKey.compare)
	return keys
}

// Length returns how many keys are noted.
func (t *DirtySet) Length() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.keys)
}
