package boltpage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"personasync/store/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// makeFile makes bbolt write a file in several commits. It has branch pages, values longer than a page, inline
// and nested buckets, and free pages.
func makeFile(t testing.TB) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "x.db")
	commit(t, path, func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("many"))
		must(t, err)
		for i := range 900 {
			must(t, b.Put(fmt.Appendf(nil, "key %05d", i), bytes.Repeat([]byte{byte(i)}, 1+i%90)))
		}
		long, err := tx.CreateBucket([]byte("long"))
		must(t, err)
		must(t, long.Put([]byte("value"), bytes.Repeat([]byte("x"), 3*os.Getpagesize())))
		small, err := tx.CreateBucket([]byte("small"))
		must(t, err)
		inner, err := small.CreateBucket([]byte("inner"))
		must(t, errors.Join(err, small.SetSequence(7)))
		return inner.Put([]byte("a"), []byte("1"))
	})
	for range 3 {
		commit(t, path, func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte("many"))
			for i := 0; i < 900; i += 3 {
				must(t, b.Delete(fmt.Appendf(nil, "key %05d", i)))
			}
			return b.Put([]byte("last"), fmt.Append(nil, tx.ID()))
		})
	}
	return path
}

func commit(t testing.TB, path string, do func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, errors.Join(db.Update(do), db.Close()))
}

// read lists the file's content as bbolt reads it: bucket paths, and key paths with their values.
func read(t testing.TB, path string) map[string]string {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	must(t, err)
	entries := make(map[string]string)
	must(t, errors.Join(db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error { return list(string(name), b, entries) })
	}), db.Close()))
	return entries
}

func list(path string, b *bolt.Bucket, entries map[string]string) error {
	entries[path] = fmt.Sprint("bucket ", b.Sequence())
	return b.ForEach(func(k, v []byte) error {
		if v == nil {
			return list(path+"/"+string(k), b.Bucket(k), entries)
		}
		entries[path+"/"+string(k)] = string(v)
		return nil
	})
}

// walk reads the file from its newest meta page.
func walk(t testing.TB, path string) (entries map[string]string, faults []string, w *Walk) {
	t.Helper()
	file, err := Open(path)
	must(t, err)
	defer file.Close()
	m, ok := file.Newest()
	if !ok {
		t.Fatal("no valid meta page")
	}
	entries = make(map[string]string)
	w = &Walk{
		File: file, Meta: m, Fault: func(err error) { faults = append(faults, err.Error()) },
		Bucket: func(path []string, sequence uint64) {
			entries[strings.Join(path, "/")] = fmt.Sprint("bucket ", sequence)
		},
		Leaf: func(_ uint64, path []string, list []Element) {
			for _, e := range list {
				if !e.IsBucket() {
					entries[strings.Join(path, "/")+"/"+string(e.Key)] = string(e.Value)
				}
			}
		},
	}
	w.Run()
	return entries, faults, w
}

func TestAWalkReadsWhatBboltReads(t *testing.T) {
	path := makeFile(t)
	want := read(t, path)
	got, faults, w := walk(t, path)
	if len(faults) > 0 || w.Unreachable != 0 {
		t.Errorf("faults in a sound file: %q", faults)
	}
	if len(want) < 600 || !maps.Equal(got, want) {
		t.Errorf("%d entries, bbolt reads %d", len(got), len(want))
	}
}

// damage overwrites bytes of the file.
func damage(t testing.TB, path string, at int64, with ...byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(with, at)
	must(t, errors.Join(err, f.Close()))
}

// find returns the first used page for which is returns true.
func find(t testing.TB, path string, is func(*Page) bool) (id uint64, pageSize int64) {
	t.Helper()
	_, _, w := walk(t, path)
	file, err := Open(path)
	must(t, err)
	defer file.Close()
	for id := uint64(2); id < w.Meta.Pages; id++ {
		if !w.Seen.Has(id) || w.Free.Has(id) {
			continue
		}
		if g, err := file.Read(id); err == nil && is(g) {
			return id, file.PageSize
		}
	}
	t.Fatal("no such page")
	return 0, 0
}

func leafOf(n int) func(*Page) bool { return func(g *Page) bool { return g.IsLeaf() && g.count > n } }
func branchOf(n int) func(*Page) bool {
	return func(g *Page) bool { return g.flags == pageBranch && g.count > n }
}
func freelist(g *Page) bool { return g.flags == pageFreelist }

// number encodes a number of four bytes as it is in the file.
func number(n uint32) []byte { return byteOrder.AppendUint32(nil, n) }

// keyOf returns the offset of the key of entry i.
func keyOf(i int) func(*Page) int64 {
	return func(g *Page) int64 {
		_, from, _, _ := g.element(i)
		return int64(from)
	}
}

func byteAt(n int64) func(*Page) int64 { return func(*Page) int64 { return n } }

func TestEachKindOfDamageIsAFault(t *testing.T) {
	for name, c := range map[string]struct {
		page        func(*Page) bool
		at          func(*Page) int64
		with        []byte
		want        string
		unreachable bool
	}{
		"a page that says it is another":    {leafOf(3), byteAt(0), []byte{99}, "says it is page", true},
		"a page of no known kind":           {leafOf(3), byteAt(8), []byte{0xF0}, "of no known kind", true},
		"a count that is too high":          {leafOf(3), byteAt(10), []byte{0xFF, 0xFF}, "is out of place", true},
		"an overflow beyond the file":       {leafOf(3), byteAt(12), number(1 << 30), "pages long", true},
		"a key that is longer than it was":  {leafOf(3), byteAt(pageHeader + 8), number(1 << 20), "is out of place", true},
		"an offset that leads elsewhere":    {leafOf(3), byteAt(pageHeader + 4), number(4), "is out of place", true},
		"another first key than its parent": {branchOf(1), keyOf(0), []byte{0}, "begins with another key", true},
		"keys out of order":                 {leafOf(3), keyOf(1), []byte{0}, "out of order", true},
		"a pointer that leads back":         {branchOf(1), byteAt(pageHeader + 8), number(0), "a pointer leads to page", true},
		"a pointer beyond the file":         {branchOf(1), byteAt(pageHeader + 8), number(1 << 30), "a pointer leads to page", true},
		"a bucket that is cut short":        {leafOf(3), byteAt(pageHeader), number(bucketElement), "is cut short", true},
		"a freelist that is too long":       {freelist, byteAt(10), []byte{0xF0, 0x0F}, "freelist is cut short", false},
		"a freelist with a meta page in it": {freelist, byteAt(pageHeader), number(1), "freelist is wrong", false},
		"a freelist that is another's page": {freelist, byteAt(8), []byte{pageLeaf}, "should be the freelist", false},
	} {
		t.Run(name, func(t *testing.T) {
			path := makeFile(t)
			id, size := find(t, path, c.page)
			file, err := Open(path)
			must(t, err)
			g, err := file.Read(id)
			must(t, err)
			file.Close()
			damage(t, path, int64(id)*size+c.at(g), c.with...)
			_, faults, w := walk(t, path)
			if !strings.Contains(strings.Join(faults, "; "), c.want) {
				t.Errorf("faults %q, want %q", faults, c.want)
			}
			if (w.Unreachable > 0) != c.unreachable {
				t.Errorf("%d faults that hide a part of the tree: %q", w.Unreachable, faults)
			}
		})
	}
}

// bbolt would reuse a page that is both in use and free, and overwrite it.
func TestAUsedPageOnTheFreelistIsAFault(t *testing.T) {
	path := makeFile(t)
	used, _ := find(t, path, leafOf(3))
	list, size := find(t, path, freelist)
	file, err := Open(path)
	must(t, err)
	g, err := file.Read(list)
	must(t, err)
	file.Close()
	ids := []uint64{used}
	for i := range g.count {
		if id := byteOrder.Uint64(g.data[pageHeader+8*i:]); id != used {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	body := binary.NativeEndian.AppendUint16(nil, uint16(len(ids)))
	damage(t, path, int64(list)*size+10, body...)
	for i, id := range ids {
		damage(t, path, int64(list)*size+pageHeader+8*int64(i), binary.NativeEndian.AppendUint64(nil, id)...)
	}
	if _, faults, w := walk(t, path); len(faults) == 0 || w.Unreachable == 0 {
		t.Errorf("faults %q, %d of them hide a part of the tree", faults, w.Unreachable)
	}
}

// A leaf with a wrong layout still yields its correct entries.
func TestRemainsOfALeaf(t *testing.T) {
	path := makeFile(t)
	id, size := find(t, path, leafOf(20))
	file, err := Open(path)
	must(t, err)
	g, err := file.Read(id)
	must(t, err)
	whole, err := g.Elements()
	must(t, err)
	file.Close()

	damage(t, path, int64(id)*size+pageHeader+5*elementSize+8, number(1<<20)...) // the length of a key
	file, err = Open(path)
	must(t, err)
	defer file.Close()
	if g, err = file.Read(id); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Elements(); err == nil {
		t.Fatal("the damage is not seen")
	}
	list, of := g.Remains()
	if of != len(whole) || len(list) != len(whole)-1 {
		t.Fatalf("%d of %d entries remain, want all of %d but one", len(list), of, len(whole))
	}
	for i, e := range list {
		was := whole[i]
		if i >= 5 {
			was = whole[i+1] // the sixth is missing
		}
		if !bytes.Equal(e.Key, was.Key) || !bytes.Equal(e.Value, was.Value) {
			t.Errorf("entry %d is %q, was %q", i, e.Key, was.Key)
		}
	}
}

func TestGlance(t *testing.T) {
	path := makeFile(t)
	glance := func() string {
		file, err := Open(path)
		must(t, err)
		defer file.Close()
		if err := file.Glance(); err != nil {
			return err.Error()
		}
		return ""
	}
	if got := glance(); got != "" {
		t.Errorf("a sound file: %s", got)
	}
	body, err := os.ReadFile(path)
	must(t, err)
	size := int64(os.Getpagesize())
	damage(t, path, size+pageHeader+16, 0xFF)
	if got := glance(); !strings.Contains(got, "one of the two meta pages") {
		t.Errorf("one meta page hit: %q", got)
	}
	damage(t, path, pageHeader+16, 0xFF)
	if got := glance(); !strings.Contains(got, "neither meta page") {
		t.Errorf("both meta pages hit: %q", got)
	}
	must(t, os.WriteFile(path, body[:4*size], 0o600))
	if got := glance(); !strings.Contains(got, "cut off") {
		t.Errorf("cut off: %q", got)
	}
}

// The page size of the file is used, not that of the machine.
func TestAFileOfAnotherPageSize(t *testing.T) {
	for _, size := range []int{1024, 4096, 16384} {
		path := filepath.Join(t.TempDir(), "x.db")
		db, err := bolt.Open(path, 0o600, &bolt.Options{PageSize: size})
		must(t, err)
		must(t, errors.Join(db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("b")); return err }), db.Close()))
		got, faults, w := walk(t, path)
		if w.File.PageSize != int64(size) || len(faults) > 0 || got["b"] != "bucket 0" {
			t.Errorf("pages of %d bytes: read as %d, %q, faults %q", size, w.File.PageSize, got, faults)
		}
	}
}

func TestRollBackBringsBackTheCommitBefore(t *testing.T) {
	path := makeFile(t)
	before := read(t, path)
	commit(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte("many")).Put([]byte("torn"), []byte("1")) })
	file, err := Open(path)
	must(t, err)
	newer, older := file.Metas()
	file.Close()
	if newer.Txid != older.Txid+1 {
		t.Fatalf("heads %d and %d", newer.Txid, older.Txid)
	}
	after := read(t, path)
	must(t, RollBack(path, newer.Txid-1))
	must(t, RollBack(path, newer.Txid+1))
	if !maps.Equal(read(t, path), after) {
		t.Fatal("a commit that is not the newest was rolled back")
	}
	for range 2 { // the second call has nothing to do
		must(t, RollBack(path, newer.Txid))
		if !maps.Equal(read(t, path), before) {
			t.Fatal("the file does not end with the commit before")
		}
	}
	commit(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte("many")).Put([]byte("next"), []byte("2")) })
	before["many/next"] = "2"
	if got, faults, _ := walk(t, path); !maps.Equal(got, before) || len(faults) > 0 {
		t.Errorf("after another commit: faults %q", faults)
	}
}

func TestRollBackWithoutAnOlderCommit(t *testing.T) {
	path := makeFile(t)
	file, err := Open(path)
	must(t, err)
	newer, _ := file.Metas()
	at := int64(1-newer.Txid%2) * file.PageSize
	file.Close()
	damage(t, path, at+pageHeader+16, 0xFF)
	was, err := os.ReadFile(path)
	must(t, err)
	if err := RollBack(path, newer.Txid); !errors.Is(err, wire.ErrDamaged) {
		t.Errorf("rolled back to a meta page that is not valid: %v", err)
	}
	if is, err := os.ReadFile(path); err != nil || !bytes.Equal(is, was) {
		t.Errorf("the file was changed: %v", err)
	}
}

func TestSet(t *testing.T) {
	s := NewSet(100)
	for _, id := range []uint64{0, 63, 64, 99} {
		if s.Has(id) {
			t.Errorf("%d is in an empty set", id)
		}
		if s.Add(id); !s.Has(id) {
			t.Errorf("%d is not in the set", id)
		}
	}
	if s.Has(1) || s.Has(62) || s.Has(65) {
		t.Error("a neighbour is in the set")
	}
	s.Add(1 << 40)
	if s.Has(1 << 40) {
		t.Error("a page beyond the file is in the set")
	}
	s.AddPage(&Page{id: 10, overflow: 2})
	if s.Has(9) || !s.Has(10) || !s.Has(12) || s.Has(13) {
		t.Error("a page and its overflow are pages 10 to 12")
	}
}

// FuzzPages gives the reader arbitrary bytes.
func FuzzPages(f *testing.F) {
	whole := makeFile(f)
	body, err := os.ReadFile(whole)
	must(f, err)
	for _, at := range []int{0, 4096, 8192, 8200, 12288} {
		f.Add(at, []byte{0xff, 0, 1, 2})
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, at int, blow []byte) {
		damaged := bytes.Clone(body)
		if at < 0 || at > len(damaged) {
			return
		}
		copy(damaged[at:], blow)
		path := filepath.Join(dir, "x.db")
		must(t, os.WriteFile(path, damaged, 0o600))
		file, err := Open(path)
		must(t, err)
		defer file.Close()
		if m, ok := file.Newest(); ok {
			w := Walk{File: file, Meta: m, Fault: func(error) {}, Leaf: func(uint64, []string, []Element) {}}
			w.Run()
		}
		for id := range file.Pages() {
			if g, _ := file.Read(id); g != nil {
				_, _ = g.Elements()
				g.Remains()
			}
		}
	})
}

// TestAPageThatIsNeitherUsedNorFreeIsAFault: bbolt would never use it again. It hides nothing of the tree.
func TestAPageThatIsNeitherUsedNorFreeIsAFault(t *testing.T) {
	path := makeFile(t)
	id, size := find(t, path, freelist)
	file, err := Open(path)
	must(t, err)
	g, err := file.Read(id)
	must(t, err)
	file.Close()
	lost := byteOrder.Uint64(g.data[pageHeader+8*(g.count-1):])
	damage(t, path, int64(id)*size+10, byteOrder.AppendUint16(nil, uint16(g.count-1))...)
	_, faults, w := walk(t, path)
	if want := fmt.Sprintf("page %d is neither used nor free, or both", lost); !slices.Equal(faults, []string{want}) || w.Unreachable != 0 {
		t.Errorf("faults %q, %d of them hide a part of the tree; want %q", faults, w.Unreachable, want)
	}
	damage(t, path, int64(id)*size+10, byteOrder.AppendUint16(nil, uint16(g.count))...)
	damage(t, path, int64(id)*size+pageHeader+8*int64(g.count-1), byteOrder.AppendUint64(nil, w.Meta.Pages)...)
	if err := Glance(path); err == nil || !strings.Contains(err.Error(), "of the freelist is wrong") {
		t.Errorf("a free page behind the end of the file: %v", err)
	}
}

// TestAFileWithoutAFreelistIsNotOurs: we always write it.
func TestAFileWithoutAFreelistIsNotOurs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoFreelistSync: true})
	must(t, err)
	must(t, errors.Join(db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("b")); return err }), db.Close()))
	if err := Glance(path); err == nil || !strings.Contains(err.Error(), "x.db: the freelist is not in the file") {
		t.Errorf("%v", err)
	}
	got, faults, w := walk(t, path)
	if !slices.Equal(faults, []string{"the freelist is not in the file"}) || w.Unreachable != 0 || got["b"] != "bucket 0" {
		t.Errorf("faults %q, read %q", faults, got)
	}
}

func TestAFileThatIsNotThereIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	for what, err := range map[string]error{"a glance": Glance(path), "a rollback": RollBack(path, 1)} {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestRemainsOfALeafWhoseCountIsWrong: the offset of its first entry says how many there are.
func TestRemainsOfALeafWhoseCountIsWrong(t *testing.T) {
	for _, count := range []uint16{0, 1, 3, 0xFFFF} {
		path := makeFile(t)
		id, size := find(t, path, leafOf(20))
		file, err := Open(path)
		must(t, err)
		g, err := file.Read(id)
		must(t, err)
		whole, err := g.Elements()
		must(t, err)
		file.Close()
		damage(t, path, int64(id)*size+10, byteOrder.AppendUint16(nil, count)...)
		file, err = Open(path)
		must(t, err)
		g, err = file.Read(id)
		must(t, err)
		file.Close()
		if list, of := g.Remains(); of != len(whole) || len(list) != len(whole) {
			t.Errorf("with a count of %d there remain %d of %d entries, want all of %d", count, len(list), of, len(whole))
		}
	}
}
