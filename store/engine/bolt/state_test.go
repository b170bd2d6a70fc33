package bolt

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/boltfile"
)

var names = [][]byte{[]byte("days"), []byte("jobs"), []byte("rows")}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newFile is a state of three buckets, and its path.
func newFile(t *testing.T) (*State, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	must(t, Create(path, 7, names, func(tx engine.Tx) error { return tx.Bucket([]byte("rows")).Put([]byte("first"), []byte("1")) }))
	s, err := Open(path, 1<<28, false) // a writer that must grow the map would wait for the readers of these tests
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s, path
}

func put(t *testing.T, s *State, key, value string) {
	t.Helper()
	must(t, s.Update(func(tx engine.Tx) error { return tx.Bucket([]byte("rows")).Put([]byte(key), []byte(value)) }))
}

func get(t *testing.T, s *State, key string) (value string) {
	t.Helper()
	must(t, s.View(func(tx engine.Tx) error { value = string(tx.Bucket([]byte("rows")).Get([]byte(key))); return nil }))
	return value
}

func TestAFileIsMadeWholeOrNotAtAll(t *testing.T) {
	s, _ := newFile(t)
	if epoch, err := s.Epoch(); err != nil || epoch != 7 || get(t, s, "first") != "1" {
		t.Errorf("its epoch is %d, %v", epoch, err)
	}
	path, refused := filepath.Join(t.TempDir(), "state.db"), errors.New("refused")
	if err := Create(path, 7, names, func(engine.Tx) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that could not be filled is there: %v", err)
	}
}

func TestATransactionIsWrittenWholeOrNotAtAll(t *testing.T) {
	s, path := newFile(t)
	refused := errors.New("refused")
	err := s.Update(func(tx engine.Tx) error {
		if !tx.Writable() {
			t.Error("it cannot be written")
		}
		must(t, tx.Bucket([]byte("rows")).Put([]byte("k"), []byte("v")))
		return refused
	})
	if !errors.Is(err, refused) || get(t, s, "k") != "" {
		t.Errorf("%v, and the key is %q", err, get(t, s, "k"))
	}
	put(t, s, "k", "v")
	if s.Path() != path || s.DB().Path() != path || s.FreelistBytes.Load() == 0 {
		t.Errorf("it is called %s, and wrote %d bytes of freelists", s.Path(), s.FreelistBytes.Load())
	}
	must(t, s.Close())
	if err := s.View(func(engine.Tx) error { return nil }); !errors.Is(err, domain.ErrClosed) {
		t.Errorf("a closed state: %v", err)
	}
	again, err := Open(path, 1<<20, true)
	must(t, err)
	defer again.Close()
	if get(t, again, "k") != "v" {
		t.Error("what was committed is lost")
	}
	if err := again.Update(func(engine.Tx) error { return nil }); err == nil {
		t.Error("a file that was opened to read is written")
	}
}

func TestAReaderSeesOneMoment(t *testing.T) {
	s, _ := newFile(t)
	put(t, s, "k", "old")
	must(t, s.View(func(tx engine.Tx) error {
		if tx.Writable() || tx.Check() != nil || tx.Bucket([]byte("none")) != nil {
			t.Error("a reader can write, or finds damage, or a bucket that is not there")
		}
		put(t, s, "k", "new")
		if got := tx.Bucket([]byte("rows")).Get([]byte("k")); string(got) != "old" {
			t.Errorf("it sees %s", got)
		}
		return nil
	}))
	if get(t, s, "k") != "new" {
		t.Error("the next one does not see what was written")
	}
}

func TestABucketIsAMapInOrder(t *testing.T) {
	s, _ := newFile(t)
	must(t, s.Update(func(tx engine.Tx) error {
		b := tx.Bucket([]byte("rows"))
		key := []byte("b")
		must(t, b.Put(key, []byte("2")))
		key[0] = 'a' // the caller may use it again
		must(t, b.Put(key, []byte("1")))
		must(t, b.Put([]byte("c"), nil))
		must(t, b.Delete([]byte("first")))
		return b.Delete([]byte("none"))
	}))
	must(t, s.View(func(tx engine.Tx) error {
		b := tx.Bucket([]byte("rows"))
		var keys []string
		must(t, b.ForEach(func(k, v []byte) error { keys = append(keys, string(k)+string(v)); return nil }))
		if !slices.Equal(keys, []string{"a1", "b2", "c"}) || engine.Count(b) != 3 || b.Get([]byte("first")) != nil {
			t.Errorf("it has %v", keys)
		}
		c := b.Cursor()
		for _, step := range []struct {
			move func() ([]byte, []byte)
			want string
		}{
			{c.First, "a"}, {c.Next, "b"}, {c.Last, "c"}, {c.Prev, "b"}, {func() ([]byte, []byte) { return c.Seek([]byte("aa")) }, "b"},
			{func() ([]byte, []byte) { return c.Seek([]byte("d")) }, ""},
		} {
			if k, _ := step.move(); string(k) != step.want {
				t.Errorf("the cursor is at %q, want %q", k, step.want)
			}
		}
		stop := errors.New("stop")
		if err := b.ForEach(func(_, _ []byte) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("%v", err)
		}
		return nil
	}))
}

func TestABucketHasInnerOnes(t *testing.T) {
	s, _ := newFile(t)
	must(t, s.Update(func(tx engine.Tx) error {
		b := tx.Bucket([]byte("days"))
		if b.Inner([]byte("1")) != nil {
			t.Error("an inner bucket is there before it was made")
		}
		name := []byte("1")
		inner, err := b.MakeInner(name)
		must(t, err)
		name[0] = '2'
		must(t, inner.Put([]byte("k"), []byte("v")))
		again, err := b.MakeInner([]byte("1"))
		must(t, err)
		if string(again.Get([]byte("k"))) != "v" {
			t.Error("making it again loses what it has")
		}
		_, err = b.MakeInner([]byte("2"))
		must(t, err)
		return b.DropInner([]byte("2"))
	}))
	must(t, s.View(func(tx engine.Tx) error {
		b := tx.Bucket([]byte("days"))
		if k, v := b.Cursor().First(); string(k) != "1" || v != nil || b.Inner([]byte("2")) != nil || string(b.Inner([]byte("1")).Get([]byte("k"))) != "v" {
			t.Errorf("it has %q", k)
		}
		return nil
	}))
	if err := s.Update(func(tx engine.Tx) error {
		must(t, tx.Bucket([]byte("days")).Put([]byte("flat"), []byte("v")))
		_, err := tx.Bucket([]byte("days")).MakeInner([]byte("flat"))
		return err
	}); err == nil {
		t.Error("a key became a bucket")
	}
}

// TestWhatIsWrittenIsNotedWhileItIsTraced, and only what was committed.
func TestWhatIsWrittenIsNotedWhileItIsTraced(t *testing.T) {
	s, _ := newFile(t)
	put(t, s, "before", "1")
	set := newDirtySet()
	set.reached(DirtyKey{}, true)
	s.Trace(set)
	must(t, s.Update(func(tx engine.Tx) error {
		must(t, tx.Bucket([]byte("rows")).Put([]byte("k"), []byte("v")))
		must(t, tx.Bucket([]byte("rows")).Delete([]byte("first")))
		inner, err := tx.Bucket([]byte("days")).MakeInner([]byte("1"))
		must(t, err)
		must(t, inner.Put([]byte("id"), []byte{}))
		return tx.Bucket([]byte("days")).DropInner([]byte("1"))
	}))
	want := []DirtyKey{{"days", "1", ""}, {"days", "1", "id"}, {string(boltfile.BucketMeta), "", string(boltfile.MetaSeal)}, {"rows", "", "first"}, {"rows", "", "k"}}
	if got := set.take(1); !slices.Equal(got, want) {
		t.Errorf("noted are %v\nwant %v", got, want)
	}
	s.Trace(nil)
	put(t, s, "after", "1")
	if set.Length() != 0 {
		t.Errorf("%d are noted after the end", set.Length())
	}
}

func TestADirtySetStopsTheWriterWhenItIsFull(t *testing.T) {
	was := DirtySetLimit
	DirtySetLimit = 2
	t.Cleanup(func() { DirtySetLimit = was })
	var none *DirtySet
	none.Merge([]DirtyKey{{Key: "a"}})
	if none.Full() {
		t.Error("without a copy it is full")
	}
	set := newDirtySet()
	set.Merge(nil)
	for i, want := range []bool{false, false, true} {
		set.Merge([]DirtyKey{{Bucket: "rows", Key: string(rune('a' + i))}})
		if set.Full() != want || set.Length() != i+1 {
			t.Errorf("with %d keys it is full: %v", set.Length(), set.Full())
		}
	}
	set.reached(DirtyKey{}, true)
	if got := set.take(4); len(got) != 0 || set.Length() != 3 {
		t.Errorf("fewer than asked for are taken: %v", got)
	}
	if got := set.take(3); len(got) != 3 || set.Full() {
		t.Errorf("taken are %v", got)
	}
	set.hold.Store(true)
	if !set.Full() {
		t.Error("a copy that cannot catch up stops nobody")
	}
}

func TestDirtyKeysSortAsAWalk(t *testing.T) {
	want := []DirtyKey{{"a", "", "k"}, {"a", "m", ""}, {"a", "m", "a"}, {"a", "m", "b"}, {"a", "n", ""}, {"a", "", "z"}, {"b", "", "a"}}
	for i := range want {
		for j := range want {
			if got := want[i].compare(want[j]); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%v and %v compare as %d", want[i], want[j], got)
			}
		}
	}
}

func TestAnotherFileTakesThePlaceOfTheState(t *testing.T) {
	s, _ := newFile(t)
	other, path := newFile(t)
	put(t, other, "first", "2")
	s.Trace(newDirtySet())
	if put(t, s, "x", "y"); s.FreelistBytes.Load() == 0 {
		t.Error("a commit wrote no freelist")
	}
	was := s.Replace(other)
	if get(t, s, "first") != "2" || s.Path() != path || s.FreelistBytes.Load() != 0 || s.dirty != nil {
		t.Errorf("it is %s", s.Path())
	}
	if get(t, was, "first") != "1" {
		t.Error("the one that was is another")
	}
	must(t, was.Close())
	if get(t, s, "first") != "2" {
		t.Error("closing the one that was closes the new one")
	}
}

func TestASnapshotIsOneMoment(t *testing.T) {
	s, _ := newFile(t)
	path := filepath.Join(t.TempDir(), "copy.db")
	must(t, s.Snapshot(func(tx engine.Tx, size int64, file func(io.Writer) error) error {
		put(t, s, "first", "2")
		var b bytes.Buffer
		must(t, file(&b))
		if int64(b.Len()) != size || string(tx.Bucket([]byte("rows")).Get([]byte("first"))) != "1" {
			t.Errorf("%d bytes of %d", b.Len(), size)
		}
		return os.WriteFile(path, b.Bytes(), 0o600)
	}))
	again, err := Open(path, 0, false)
	must(t, err)
	defer again.Close()
	if get(t, again, "first") != "1" {
		t.Errorf("the copy has %s", get(t, again, "first"))
	}
}

func TestAFileSaysHowMuchOfItIsLive(t *testing.T) {
	s, _ := newFile(t)
	for i := range 2 {
		must(t, s.Update(func(tx engine.Tx) error {
			for k := range 2000 {
				key := []byte{byte(k >> 8), byte(k)}
				if i == 0 {
					must(t, tx.Bucket([]byte("rows")).Put(key, make([]byte, 200)))
				} else {
					must(t, tx.Bucket([]byte("rows")).Delete(key))
				}
			}
			return nil
		}))
		put(t, s, "x", "y") // frees what the transaction before left
		size, live, err := s.Fill()
		must(t, err)
		if i == 0 && (live < size/2 || live > size) || i == 1 && live > size/2 {
			t.Errorf("round %d: %d of %d bytes are live", i, live, size)
		}
	}
}

func TestBucketsAreAddedOnce(t *testing.T) {
	s, _ := newFile(t)
	must(t, s.AddBuckets([]byte("rows"), []byte("late")))
	if get(t, s, "first") != "1" {
		t.Error("adding a bucket that is there empties it")
	}
	must(t, s.View(func(tx engine.Tx) error {
		if tx.Bucket([]byte("late")) == nil {
			t.Error("it was not added")
		}
		return nil
	}))
	if err := s.AddBuckets([]byte("never"), nil); err == nil {
		t.Error("a bucket without a name was added")
	}
	must(t, s.View(func(tx engine.Tx) error {
		if tx.Bucket([]byte("never")) != nil {
			t.Error("some were added, and not all")
		}
		return nil
	}))
}

func TestAFreshFileIsWrittenPieceByPiece(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fresh.db")
	must(t, os.WriteFile(path, []byte("left by a crash"), 0o600))
	s, err := Fresh(path, 0, 9, names)
	must(t, err)
	tx, err := s.Begin()
	must(t, err)
	must(t, tx.Bucket([]byte("rows")).Put([]byte("k"), []byte("v")))
	must(t, tx.Commit())
	must(t, s.Sync())
	if get(t, s, "k") != "v" {
		t.Error("what was committed is lost")
	}
	must(t, s.Close())
}
