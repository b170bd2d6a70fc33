package bolt

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

var (
	// DirtySetLimit is how many keys a DirtySet has before the writer stops applying: about 20 MB. Tests lower it.
	DirtySetLimit = 1 << 17
)

// DirtyKey is the place of a value: a bucket, an inner bucket or "", and a key. Without a key it is the inner bucket itself.
// They sort in the order of a walk through the file.
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

// DirtySet has the keys that were written since a Copy copied them and that it must copy again. The writer merges and the
// copy takes, concurrently. Keys that the copy has not reached yet are left out. Beyond DirtySetLimit the writer stops
// applying records until there are fewer, which costs lag and delays no acknowledgement.
type DirtySet struct {
	mu    sync.Mutex
	keys  map[DirtyKey]struct{}
	at    DirtyKey // how far the copy has come …
	whole bool     // … or that it has come to the end
	hold  atomic.Bool
}

// newDirtySet returns an empty set of a copy that has not begun.
func newDirtySet() *DirtySet { return &DirtySet{keys: make(map[DirtyKey]struct{})} }

// Full reports whether the writer is to stop applying. A nil set is never full.
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

// Merge adds the keys that a transaction wrote, once it is committed.
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

// reached sets how far the copy has come, and removes the keys behind at, which it will still reach.
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

// take removes the keys that the copy has passed and returns them, if there are at least n in all. The keys ahead stay: a
// key that is copied now, and deleted before the copy reaches it, would stay in the copy forever.
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
