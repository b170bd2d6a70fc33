package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/wire"
)

// TestManySendersShareCommits: each sender's records keep their order and stay together, all are there after a
// restart, and there are fewer commits than requests.
func TestManySendersShareCommits(t *testing.T) {
	dir := t.TempDir()
	in := open(t, dir)
	const senders, each = 16, 10
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				if err := in.Append(t.Context(), frame(fmt.Sprintf("%d/%d/a", s, i)), frame(fmt.Sprintf("%d/%d/b", s, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	want := namesIn(t, in, 1)
	in.Close()
	in = open(t, dir)
	defer in.Close()
	got := namesIn(t, in, 1)
	if !slices.Equal(got, want) || len(got) != 2*senders*each {
		t.Fatalf("%d records after a restart, %d before", len(got), len(want))
	}
	next := make(map[string]int)
	for i := 0; i < len(got); i += 2 {
		sender, rest, _ := strings.Cut(got[i], "/")
		if rest != fmt.Sprintf("%d/a", next[sender]) || got[i+1] != fmt.Sprintf("%s/%d/b", sender, next[sender]) {
			t.Fatalf("record %d is %s, followed by %s", i+1, got[i], got[i+1])
		}
		next[sender]++
	}
}

// TestAFullSegmentGivesWay: numbers go on, and a name that somebody took is left alone.
func TestAFullSegmentGivesWay(t *testing.T) {
	dir := t.TempDir()
	in := open(t, dir)
	defer func() { in.Close() }()
	must(t, os.WriteFile(Path(dir, 3), []byte("not ours"), 0o600))
	in.MaxBytes.Store(1)
	for i := range 4 {
		must(t, in.Append(t.Context(), frame(fmt.Sprint(i+1))))
	}
	if got := namesIn(t, in, 1); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
		t.Errorf("read %v", got)
	}
	for _, s := range in.List() {
		if Number(s.Path) == 3 {
			t.Error("a file that is not ours was written to")
		}
	}
	if body, err := os.ReadFile(Path(dir, 3)); err != nil || string(body) != "not ours" {
		t.Errorf("the file that was in the way is %q, %v", body, err)
	}
	in.Close()
	must(t, os.Remove(Path(dir, 3)))
	if in = open(t, dir); in.Next.Load() != 5 || in.Last() != 4 {
		t.Errorf("after a restart the last record is %d, the next %d", in.Last(), in.Next.Load())
	}
}

// TestBehindIsTheShareOfEachFile that is still to be applied.
func TestBehindIsTheShareOfEachFile(t *testing.T) {
	in := open(t, t.TempDir())
	defer in.Close()
	must(t, in.Append(t.Context(), frame("1"), frame("2"), frame("3"), frame("4")))
	all := boltfile.OnDiskAt(in.List()[0].Path)
	for applied, want := range map[uint64]int64{0: all, 1: all * 3 / 4, 2: all / 2, 4: 0, 9: 0} {
		if got := in.Behind(applied); got != want {
			t.Errorf("with %d of 4 records applied %d of %d bytes are behind, want %d", applied, got, all, want)
		}
	}
	if in.Idles(3, 0) || !in.Idles(4, 0) || in.Idles(4, 1<<40) {
		t.Error("a file idles once all of its records are applied and it is large")
	}
}

// TestCompareFiles: only a file whose records are applied, and which is not written to, may be gone.
func TestCompareFiles(t *testing.T) {
	in := open(t, t.TempDir())
	defer in.Close()
	must(t, in.Append(t.Context(), frame("1")))
	must(t, in.RotateNow())
	must(t, in.Append(t.Context(), frame("2")))
	first, last := in.List()[0].Path, in.List()[1].Path
	must(t, in.CompareFiles(0))
	must(t, os.Rename(first, first+".moved"))
	if err := in.CompareFiles(0); !errors.Is(err, boltfile.ErrMoved) {
		t.Errorf("a file that is not applied is gone: %v", err)
	}
	must(t, in.CompareFiles(1))
	must(t, os.Rename(last, last+".moved"))
	if err := in.CompareFiles(2); !errors.Is(err, boltfile.ErrMoved) {
		t.Errorf("the file that is written to is gone: %v", err)
	}
	must(t, os.WriteFile(last, nil, 0o600))
	if err := in.CompareFiles(2); !errors.Is(err, boltfile.ErrMoved) {
		t.Errorf("another file has its name: %v", err)
	}
}

// TestAProbeWritesNoRecord: it shows that commits come to an end.
func TestAProbeWritesNoRecord(t *testing.T) {
	in := open(t, t.TempDir())
	must(t, in.Append(t.Context(), frame("1")))
	before := in.Finished.Load()
	must(t, in.Probe(t.Context()))
	if in.Finished.Load() == before || in.Last() != 1 || in.Next.Load() != 2 {
		t.Errorf("%d transactions more, the last record is %d, the next %d", in.Finished.Load()-before, in.Last(), in.Next.Load())
	}
	in.Close()
	if err := in.Probe(t.Context()); !errors.Is(err, domain.ErrClosed) {
		t.Errorf("a closed log answers %v", err)
	}
}

// TestOtherRecordsAreCountedOnlyOnceTheyAreTaken, and orders are no events.
func TestOtherRecordsAreCountedOnlyOnceTheyAreTaken(t *testing.T) {
	in := open(t, t.TempDir())
	must(t, in.AppendOther(t.Context(), frame("rules"), frame("order")))
	in.Ordered.Add(1)
	if n := in.Others.Load(); n != 2 {
		t.Errorf("%d records that are no events, want 2", n)
	}
	if n := in.Events(); n != 2 { // the next number, without the order
		t.Errorf("events count to %d, want 2", n)
	}
	in.Close()
	if err := in.AppendOther(t.Context(), frame("late")); !errors.Is(err, domain.ErrClosed) || in.Others.Load() != 2 {
		t.Errorf("refused with %v, and %d are counted", err, in.Others.Load())
	}
}

// exchanged writes chunks of a segment anew, with another name in each record.
func exchanged(t testing.TB, in *Log, s *Segment) (path string, db *bolt.DB) {
	t.Helper()
	path = s.Path + ".new"
	must(t, boltfile.Fill(path, func(db *bolt.DB) error {
		must(t, boltfile.Init(db, in.Epoch, BucketRecords))
		list, more, err := in.Chunks(s, 0, 1<<20)
		if err != nil || more {
			t.Fatalf("more %v, %v", more, err)
		}
		return db.Update(func(tx *bolt.Tx) error {
			for _, c := range list {
				var out []byte
				f := Frames{Rest: c.Bytes}
				for f.Next() {
					out = wire.AppendBytes(out, frame("blank"))
				}
				must(t, errors.Join(f.Err, tx.Bucket(BucketRecords).Put([]byte{0, 0, 0, 0, 0, 0, 0, byte(c.First)}, out)))
			}
			return errors.Join(tx.Bucket(BucketRecords).SetSequence(s.Last), StampTxid(tx))
		})
	}))
	db, err := OpenFile(path, false)
	must(t, err)
	return path, db
}

// TestExchange: a forget writes a file anew. Reading goes on in the new one, and its last commit is whole.
func TestExchange(t *testing.T) {
	dir := t.TempDir()
	in := open(t, dir)
	defer func() { in.Close() }()
	in.Hooks.Naming = new(sync.Mutex)
	must(t, in.Append(t.Context(), frame("gone"), frame("gone")))
	must(t, in.RotateNow())
	must(t, in.Append(t.Context(), frame("stays")))
	s := in.List()[0]
	path, db := exchanged(t, in, s)
	must(t, in.Exchange(s, db, path))
	want := []string{"blank", "blank", "stays"}
	if got := namesIn(t, in, 1); !slices.Equal(got, want) {
		t.Errorf("read %v", got)
	}
	in.Close()
	if taken, err := RollBackUnfinished(dir, 0); len(taken) > 0 || err != nil {
		t.Errorf("rolled back: %v, %v", taken, err)
	}
	in = open(t, dir)
	in.Hooks.Naming = new(sync.Mutex)
	if got := namesIn(t, in, 1); !slices.Equal(got, want) {
		t.Errorf("after a restart: %v", got)
	}

	s = in.List()[0]
	path, db = exchanged(t, in, s)
	must(t, in.Trim(3, noon.Add(100*time.Hour), time.Hour, 0)) // pruned meanwhile
	must(t, in.Exchange(s, db, path))
	if left, err := filepath.Glob(filepath.Join(dir, "*.new")); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v", left)
	}
	if _, err := os.Stat(s.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that was pruned came back: %v", err)
	}
}

// TestFramesOfAChunkThatIsCutShort: what is before the cut is read, and Err says that something is missing.
func TestFramesOfAChunkThatIsCutShort(t *testing.T) {
	chunk := wire.AppendBytes(wire.AppendBytes(nil, frame("a")), frame("b"))
	for cut := range len(chunk) {
		n, f := 0, Frames{Rest: chunk[:len(chunk)-cut]}
		for f.Next() {
			n++
		}
		whole := cut == 0 || cut == len(chunk)/2 // two records of one length
		if want := (len(chunk) - cut) / (len(chunk) / 2); n != want || whole != (f.Err == nil) {
			t.Errorf("%d bytes cut off: %d records, want %d, %v", cut, n, want, f.Err)
		}
	}
}

// TestAnAppliedRecordIsNotRolledBack: records are applied once they are flushed, so what is not whole of them is
// damage, which salvage repairs.
func TestAnAppliedRecordIsNotRolledBack(t *testing.T) {
	dir := t.TempDir()
	in := open(t, dir)
	must(t, in.Append(t.Context(), frame("first")))
	path := in.List()[0].Path
	before, err := os.ReadFile(path)
	must(t, err)
	must(t, in.Append(t.Context(), frame("second")))
	after, err := os.ReadFile(path)
	must(t, err)
	in.Close()
	copy(after[2*os.Getpagesize():], before[2*os.Getpagesize():]) // the heads arrived, the pages did not
	must(t, os.WriteFile(path, after, 0o600))
	if taken, err := RollBackUnfinished(dir, 2); len(taken) > 0 || err != nil {
		t.Errorf("rolled back: %v, %v", taken, err)
	}
	taken, err := RollBackUnfinished(dir, 1)
	if want := []string{filepath.Base(path)}; err != nil || !slices.Equal(taken, want) {
		t.Errorf("rolled back %v, %v", taken, err)
	}
	in = open(t, dir)
	defer in.Close()
	if got := namesIn(t, in, 1); !slices.Equal(got, []string{"first"}) {
		t.Errorf("read %v", got)
	}
}
