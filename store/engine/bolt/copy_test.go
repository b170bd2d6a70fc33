package bolt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/boltfile"
)

// content is every key of a state and its value. An inner bucket is a key without a value.
func content(t *testing.T, s *State) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, s.View(func(tx engine.Tx) error {
		for _, name := range append(names, boltfile.BucketMeta) {
			b := tx.Bucket(name)
			must(t, b.ForEach(func(k, v []byte) error {
				all[fmt.Sprintf("%s/%s", name, k)] = string(v)
				if v != nil {
					return nil
				}
				return b.Inner(k).ForEach(func(id, v []byte) error {
					all[fmt.Sprintf("%s/%s/%s", name, k, id)] = string(v)
					return nil
				})
			}))
		}
		return nil
	}))
	return all
}

// scribble makes random writes in one transaction: keys, inner buckets and their keys, set and deleted.
func scribble(t *testing.T, s *State, random *rand.Rand, n int) {
	t.Helper()
	must(t, s.Update(func(tx engine.Tx) error {
		for range n {
			key := fmt.Appendf(nil, "%03d", random.IntN(300))
			value := fmt.Appendf(nil, "%d", random.Uint64())
			rows, days := tx.Bucket([]byte("rows")), tx.Bucket([]byte("days"))
			day := fmt.Appendf(nil, "day%d", random.IntN(6))
			switch random.IntN(8) {
			case 0, 1, 2:
				must(t, rows.Put(key, value))
			case 3:
				must(t, rows.Delete(key))
			case 4, 5:
				inner, err := days.MakeInner(day)
				must(t, err)
				must(t, inner.Put(key, value))
			case 6:
				if inner := days.Inner(day); inner != nil {
					must(t, inner.Delete(key))
				}
			case 7:
				if days.Inner(day) != nil && random.IntN(4) == 0 {
					must(t, days.DropInner(day))
				}
			}
		}
		return nil
	}))
}

// TestACopyIsTheStateAtItsEnd: whatever is written while it is made, slice by slice.
func TestACopyIsTheStateAtItsEnd(t *testing.T) {
	was := SliceBytes
	t.Cleanup(func() { SliceBytes = was })
	for seed := range uint64(8) {
		SliceBytes = 500 << seed
		random := rand.New(rand.NewPCG(seed, 1))
		s, _ := newFile(t)
		scribble(t, s, random, 2000)
		var last int64
		c, err := s.NewCopy(filepath.Join(t.TempDir(), "copy.db"), 0, 50_000, func(done, total int64) {
			if done < last || done > total {
				t.Errorf("progress is %d after %d of %d", done, last, total)
			}
			last = done
			scribble(t, s, random, 20)
		})
		must(t, err)
		s.Trace(c.Dirty())
		must(t, c.All(t.Context()))
		scribble(t, s, random, 2*LastKeys)
		must(t, c.CatchUp(t.Context()))
		if n := c.Dirty().Length(); n > LastKeys {
			t.Errorf("%d keys are left for the last step", n)
		}
		scribble(t, s, random, 50)
		must(t, c.Last())
		if want, got := content(t, s), content(t, c.Done()); !maps.Equal(want, got) {
			for k, v := range want {
				if w, is := got[k]; !is || w != v {
					t.Errorf("slices of %d: %s is %q in the copy, want %q", SliceBytes, k, w, v)
				}
			}
			for k := range got {
				if _, is := want[k]; !is {
					t.Errorf("slices of %d: %s is in the copy alone", SliceBytes, k)
				}
			}
		}
		if epoch, err := c.Done().Epoch(); err != nil || epoch != 7 || last == 0 {
			t.Errorf("the copy has epoch %d, %v; progress ended at %d", epoch, err, last)
		}
		must(t, c.Done().Close())
	}
}

// TestSlicesHaveEveryKeyOnce: they end anywhere, within inner buckets too, and the next one goes on behind. Writes that go on
// meanwhile would hide a key that was passed over.
func TestSlicesHaveEveryKeyOnce(t *testing.T) {
	s, _ := newFile(t)
	want := []string{}
	must(t, s.Update(func(tx engine.Tx) error {
		for day := range 4 {
			name := fmt.Appendf(nil, "day%d", day)
			inner, err := tx.Bucket([]byte("days")).MakeInner(name)
			must(t, err)
			want = append(want, fmt.Sprintf("days/%s/", name))
			for k := range 9 * day { // the first is empty
				key := fmt.Appendf(nil, "%03d", k)
				must(t, inner.Put(key, []byte("v")))
				want = append(want, fmt.Sprintf("days/%s/%s", name, key))
			}
		}
		for k := range 9 {
			key := fmt.Appendf(nil, "%03d", k)
			must(t, tx.Bucket([]byte("rows")).Put(key, []byte("v")))
			want = append(want, fmt.Sprintf("rows//%s", key))
		}
		return nil
	}))
	want = append(want, "rows//first")
	was := SliceBytes
	t.Cleanup(func() { SliceBytes = was })
	for SliceBytes = 150; SliceBytes < 2000; SliceBytes += 97 {
		var got []string
		for at, done := (DirtyKey{}), false; !done && len(got) <= 2*len(want); {
			var items []item
			var err error
			items, done, err = readSlice(s, at)
			must(t, err)
			for _, i := range items {
				again := i.at == at && at.Key == "" // an inner bucket that ended a slice begins the next one, which changes nothing
				if at = i.at; at.Bucket != string(boltfile.BucketMeta) && !again {
					got = append(got, fmt.Sprintf("%s/%s/%s", at.Bucket, at.Inner, at.Key))
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("slices of %d bytes have\n%q\nwant\n%q", SliceBytes, got, want)
		}
	}
}

func TestACopyEndsWhenItIsCancelled(t *testing.T) {
	s, _ := newFile(t)
	scribble(t, s, rand.New(rand.NewPCG(1, 2)), 500)
	stopped := errors.New("the agent stops")
	ctx, cancel := context.WithCancelCause(t.Context())
	c, err := s.NewCopy(filepath.Join(t.TempDir(), "copy.db"), 0, 1, func(int64, int64) { cancel(stopped) })
	must(t, err)
	defer c.Done().Close()
	was := SliceBytes
	SliceBytes = 200
	t.Cleanup(func() { SliceBytes = was })
	if err := c.All(ctx); !errors.Is(err, stopped) {
		t.Errorf("it ends with %v", err)
	}
	c.Dirty().reached(DirtyKey{}, true)
	for i := range LastKeys + 1 {
		c.Dirty().Merge([]DirtyKey{{Bucket: "rows", Key: fmt.Sprint(i)}})
	}
	if err := c.CatchUp(ctx); !errors.Is(err, stopped) {
		t.Errorf("catching up ends with %v", err)
	}
}

// TestACopyThatFailsSaysSo, at whichever step, and a compaction then keeps the file that it has.
func TestACopyThatFailsSaysSo(t *testing.T) {
	many := func(c *Copy) {
		for i := range LastKeys + 1 {
			c.Dirty().Merge([]DirtyKey{{Bucket: "rows", Key: fmt.Sprint(i)}})
		}
	}
	steps := map[string]func(*Copy) error{
		"all":         func(c *Copy) error { return c.All(t.Context()) },
		"catching up": func(c *Copy) error { c.Dirty().reached(DirtyKey{}, true); many(c); return c.CatchUp(t.Context()) },
		"last":        func(c *Copy) error { c.Dirty().reached(DirtyKey{}, true); many(c); return c.Last() },
	}
	for name, step := range steps {
		for which, broken := range map[string]func(*Copy) *State{"read": func(c *Copy) *State { return c.from }, "written": func(c *Copy) *State { return c.to }} {
			s, _ := newFile(t)
			scribble(t, s, rand.New(rand.NewPCG(1, 2)), 50)
			c, err := s.NewCopy(filepath.Join(t.TempDir(), "copy.db"), 0, 1, nil)
			must(t, err)
			must(t, broken(c).Close())
			if err := step(c); err == nil {
				t.Errorf("%s: the file that is %s is closed, and nothing is wrong", name, which)
			}
			c.Done().Close()
		}
	}
}

// ending ends after some looks at it.
type ending struct {
	context.Context
	looks int
}

func (e *ending) Err() error {
	if e.looks--; e.looks < 0 {
		return context.Canceled
	}
	return nil
}

// TestChangedKeysThatAreNotCopiedAgainFailTheCopy: they are no longer noted, so nobody else copies them.
func TestChangedKeysThatAreNotCopiedAgainFailTheCopy(t *testing.T) {
	was := DirtySetLimit
	t.Cleanup(func() { DirtySetLimit = was })
	DirtySetLimit = 2
	s, _ := newFile(t)
	c, err := s.NewCopy(filepath.Join(t.TempDir(), "copy.db"), 0, 1, nil)
	must(t, err)
	defer c.Done().Close()
	c.Dirty().Merge([]DirtyKey{{Bucket: "rows", Key: "first"}})
	if err := c.All(&ending{context.Background(), 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("the copy ends with %v", err)
	}
}

// TestACopyThatCannotBeginLeavesNoFile, and takes the place of one that a crash left.
func TestACopyThatCannotBeginLeavesNoFile(t *testing.T) {
	s, _ := newFile(t)
	if c, err := s.NewCopy(filepath.Join(t.TempDir(), "none", "copy.db"), 0, 1, nil); err == nil || c != nil {
		t.Errorf("in a folder that does not exist: %v", err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	must(t, os.WriteFile(path, []byte("left by a crash"), 0o600))
	c, err := s.NewCopy(path, 0, 1, nil)
	must(t, err)
	must(t, c.All(t.Context())) // nobody asks for its progress
	if got := get(t, c.Done(), "first"); got != "1" {
		t.Errorf("the copy has %q", got)
	}
	must(t, c.Done().Close())
	must(t, s.Close())
	if c, err := s.NewCopy(path, 0, 1, nil); !errors.Is(err, domain.ErrClosed) || c != nil {
		t.Errorf("of a state that is closed: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a copy that did not begin is there: %v", err)
	}
}
