package overlay

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"personasync/store/engine"
	"personasync/store/internal/wire"
)

var name = []byte("b")

// reads lists a bucket in all the ways there are.
func reads(b engine.Bucket) string {
	var out strings.Builder
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		fmt.Fprintf(&out, "%s=%s ", k, v)
	}
	for k, v := c.Last(); k != nil; k, v = c.Prev() {
		fmt.Fprintf(&out, "%s=%s ", k, v)
	}
	for i := range 12 {
		key := []byte(fmt.Sprint("k", i))
		k, _ := c.Seek(key)
		fmt.Fprintf(&out, "%s:%s,%s ", key, b.Get(key), k)
		n, _ := c.Next()
		k, _ = c.Seek(key)
		p, _ := c.Prev()
		fmt.Fprintf(&out, "%s<%s<%s ", p, k, n)
	}
	_ = b.ForEach(func(k, v []byte) error { fmt.Fprintf(&out, "%s ", k); return nil })
	return out.String()
}

// TestAnOverlayReadsAsIfItsWritesWereCommitted writes at random to an overlay on another one, and to one without a base.
func TestAnOverlayReadsAsIfItsWritesWereCommitted(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		write := func(n int, to ...engine.Bucket) {
			for range n {
				key, value, remove := []byte(fmt.Sprint("k", r.IntN(12))), []byte(fmt.Sprint(r.IntN(100))), r.IntN(3) == 0
				for _, b := range to {
					if remove {
						_ = b.Delete(key)
					} else {
						_ = b.Put(key, value)
					}
				}
			}
		}
		base, model := Empty(name), Empty(name)
		write(10, base.Bucket(name), model.Bucket(name))
		before := reads(base.Bucket(name))
		over := Over(base)
		for range 8 {
			write(3, over.Bucket(name), model.Bucket(name))
			if got, want := reads(over.Bucket(name)), reads(model.Bucket(name)); got != want {
				t.Fatalf("seed %d: read\n%s\nwant\n%s", seed, got, want)
			}
		}
		if after := reads(base.Bucket(name)); after != before {
			t.Fatalf("seed %d: the base was written: %s, was %s", seed, after, before)
		}
	}
}

// TestEmptyAgreesWithAMap holds the overlay without a base, the model of the test above, against a sorted map.
func TestEmptyAgreesWithAMap(t *testing.T) {
	b, model := Empty(name).Bucket(name), map[string]string{}
	r := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		key, value := fmt.Sprint("k", r.IntN(40)), fmt.Sprint(r.IntN(100))
		if r.IntN(3) == 0 {
			delete(model, key)
			_ = b.Delete([]byte(key))
		} else {
			model[key] = value
			_ = b.Put([]byte(key), []byte(value))
		}
		var keys, got []string
		for k := range model {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		c := b.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			got = append(got, string(k))
			if model[string(k)] != string(v) {
				t.Fatalf("%s is %s, want %s", k, v, model[string(k)])
			}
		}
		if !slices.Equal(got, keys) {
			t.Fatalf("keys %v, want %v", got, keys)
		}
		got = got[:0]
		for k, v := c.Last(); k != nil; k, v = c.Prev() {
			got = append(got, string(k))
			if model[string(k)] != string(v) {
				t.Fatalf("%s is %s, want %s", k, v, model[string(k)])
			}
		}
		if slices.Reverse(got); !slices.Equal(got, keys) {
			t.Fatalf("from the end there are %v, want %v", got, keys)
		}
	}
}

func TestInnerBuckets(t *testing.T) {
	base := Empty(name)
	below, _ := base.Bucket(name).MakeInner([]byte("day"))
	_ = below.Put([]byte("k"), []byte("v"))
	over := Over(base)
	day := over.Bucket(name).Inner([]byte("day"))
	_ = day.Put([]byte("l"), []byte("w"))
	if again := over.Bucket(name).Inner([]byte("day")); string(again.Get([]byte("k")))+string(again.Get([]byte("l"))) != "vw" {
		t.Error("an inner bucket is another one the second time")
	}
	if below.Get([]byte("l")) != nil {
		t.Error("the base was written")
	}
	_ = over.Bucket(name).DropInner([]byte("day"))
	if over.Bucket(name).Inner([]byte("day")) != nil || over.Bucket([]byte("none")) != nil {
		t.Error("a bucket that does not exist was found")
	}
	fresh, _ := over.Bucket(name).MakeInner([]byte("day"))
	if engine.Count(fresh) != 0 {
		t.Error("a bucket that was dropped and made again has keys")
	}
}

// TestAnOverlayKeepsTheWordOfABucket over a base and without one: a nil value is a key, a cursor that came to an end stays there, and a
// walk ends with the error of its caller.
func TestAnOverlayKeepsTheWordOfABucket(t *testing.T) {
	for what, b := range map[string]engine.Bucket{"over another": Over(Empty(name)).Bucket(name), "without a base": Empty(name).Bucket(name)} {
		_ = b.Put([]byte("k"), nil)
		if b.Get([]byte("k")) == nil {
			t.Errorf("%s: a key with a nil value is none", what)
		}
		c := b.Cursor()
		for _, step := range []func() ([]byte, []byte){c.Next, c.Prev} {
			c.First()
			for range 2 {
				if k, _ := step(); k != nil {
					t.Errorf("%s: behind the end comes %q", what, k)
				}
			}
		}
		stopped := errors.New("stopped")
		if err := b.ForEach(func(_, _ []byte) error { return stopped }); !errors.Is(err, stopped) {
			t.Errorf("%s: a walk that is stopped ends with %v", what, err)
		}
		if b.Inner([]byte("none")) != nil {
			t.Errorf("%s: an inner bucket that does not exist was found", what)
		}
		day, _ := b.MakeInner([]byte("day"))
		_ = day.Put([]byte("k"), []byte("v"))
		if day, _ = b.MakeInner([]byte("day")); string(day.Get([]byte("k"))) != "v" {
			t.Errorf("%s: making an inner bucket again empties it", what)
		}
	}
}

// hinted is a base that notes the hints that it is given.
type hinted struct {
	engine.Tx
	hints string
}

func (h *hinted) Bucket(name []byte) engine.Bucket { return hintedBucket{h.Tx.Bucket(name), h} }

type hintedBucket struct {
	engine.Bucket
	h *hinted
}

func (b hintedBucket) Want(iter.Seq2[[]byte, []byte]) { b.h.hints += "want " }
func (b hintedBucket) Cursor() engine.Cursor          { return hintedCursor{b.Bucket.Cursor(), b.h} }

type hintedCursor struct {
	engine.Cursor
	h *hinted
}

func (c hintedCursor) Within(prefix []byte) { c.h.hints += string(prefix) }

// TestHintsComeToTheBase: to PostgreSQL each read that nobody asked for before is a round trip.
func TestHintsComeToTheBase(t *testing.T) {
	h := &hinted{Tx: Empty(name)}
	for _, tx := range []*Tx{Over(h), Empty(name)} {
		b := tx.Bucket(name)
		b.Want(nil)
		b.Cursor().Within([]byte("ann"))
	}
	if h.hints != "want ann" {
		t.Errorf("the base is told %q", h.hints)
	}
}

// TestChangesAreAllThatWasWritten: in the order of buckets and keys. A bucket that replaces another one begins with its end.
func TestChangesAreAllThatWasWritten(t *testing.T) {
	base := Empty([]byte("a"), name, []byte("c"))
	for _, key := range []string{"k1", "k2", "k3"} {
		_ = base.Bucket(name).Put([]byte(key), []byte("below"))
	}
	for _, day := range []string{"d1", "d2", "d3"} {
		inner, _ := base.Bucket(name).MakeInner([]byte(day))
		_ = inner.Put([]byte("k"), []byte("below"))
	}
	over := Over(base)
	_ = over.Bucket([]byte("a")).Put([]byte("z"), []byte("1"))
	b := over.Bucket(name)
	_ = b.Put([]byte("k2"), []byte("2"))
	_ = b.Delete([]byte("k1"))
	_ = b.Put([]byte("k0"), []byte("3"))
	_ = b.Inner([]byte("d1")).Put([]byte("l"), []byte("4"))
	_ = b.DropInner([]byte("d2"))
	_ = b.DropInner([]byte("d3"))
	for _, day := range []string{"d3", "d4"} {
		inner, _ := b.MakeInner([]byte(day))
		_ = inner.Put([]byte("k"), []byte("5"))
	}
	_ = over.Bucket([]byte("c")).Put([]byte("z"), []byte("6"))
	var got []string
	for c := range over.Changes() {
		value := string(c.Value)
		if c.Value == nil {
			value = "gone"
		}
		got = append(got, fmt.Sprintf("%s/%s/%s=%s", c.Bucket, c.Inner, c.Key, value))
	}
	want := []string{"a//z=1", "b/d1/l=4", "b//d2=gone", "b//d3=gone", "b//d3=", "b/d3/k=5", "b//d4=gone", "b//d4=", "b/d4/k=5", "b//k0=3", "b//k1=gone", "b//k2=2", "c//z=6"}
	if !slices.Equal(got, want) {
		t.Errorf("changes\n%q\nwant\n%q", got, want)
	}
	for last := range want { // a caller may end anywhere
		at := 0
		for range over.Changes() {
			if at == last {
				break
			}
			at++
		}
	}
}

type damaged struct{ engine.Tx }

func (damaged) Check() error { return wire.ErrDamaged }

// TestAnOverlayIsAsSoundAsWhatIsBelowIt: a preview on damaged totals says so, and does not show them.
func TestAnOverlayIsAsSoundAsWhatIsBelowIt(t *testing.T) {
	empty := Empty(name)
	if err := empty.Check(); err != nil || !empty.Writable() {
		t.Errorf("an empty one: %v, writable %v", err, empty.Writable())
	}
	if err := Over(damaged{empty}).Check(); !errors.Is(err, wire.ErrDamaged) {
		t.Errorf("over a damaged state: %v", err)
	}
}
