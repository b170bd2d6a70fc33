package wal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
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
	in.SetMaxBytes(1)
	for i := range 4 {
		must(t, in.Append(t.Context(), frame(fmt.Sprint(i+1))))
	}
	if got := namesIn(t, in, 1); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
		t.Errorf("read %v", got)
	}
	for _, s := range in.Segments() {
		if Number(s.path) == 3 {
			t.Error("a file that is not ours was written to")
		}
	}
	if body, err := os.ReadFile(Path(dir, 3)); err != nil || string(body) != "not ours" {
		t.Errorf("the file that was in the way is %q, %v", body, err)
	}
	in.Close()
	must(t, os.Remove(Path(dir, 3)))
	if in = open(t, dir); in.Next() != 5 || in.Last() != 4 {
		t.Errorf("after a restart the last record is %d, the next %d", in.Last(), in.Next())
	}
}

// TestBehindIsTheShareOfEachFile that is still to be applied.
func TestBehindIsTheShareOfEachFile(t *testing.T) {
	in := open(t, t.TempDir())
	defer in.Close()
	must(t, in.Append(t.Context(), frame("1"), frame("2"), frame("3"), frame("4")))
	all := boltfile.OnDiskAt(in.Segments()[0].path)
	for applied, want := range map[uint64]int64{0: all, 1: all * 3 / 4, 2: all / 2, 4: 0, 9: 0} {
		if got := in.UnappliedBytes(applied); got != want {
			t.Errorf("with %d of 4 records applied %d of %d bytes are behind, want %d", applied, got, all, want)
		}
	}
	if in.IsApplied(3, 0) || !in.IsApplied(4, 0) || in.IsApplied(4, 1<<40) {
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
	first, last := in.Segments()[0].path, in.Segments()[1].path
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
	before := in.Finished()
	must(t, in.Probe(t.Context()))
	if in.Finished() == before || in.Last() != 1 || in.Next() != 2 {
		t.Errorf("%d transactions more, the last record is %d, the next %d", in.Finished()-before, in.Last(), in.Next())
	}
	in.Close()
	if err := in.Probe(t.Context()); !errors.Is(err, domain.ErrClosed) {
		t.Errorf("a closed log answers %v", err)
	}
}

// TestOtherRecordsAreCountedOnlyOnceTheyAreTaken, and never as events.
func TestOtherRecordsAreCountedOnlyOnceTheyAreTaken(t *testing.T) {
	in := open(t, t.TempDir())
	must(t, in.AppendOther(t.Context(), frame("rules"), frame("order")))
	must(t, in.Append(t.Context(), frame("event")))
	if n := in.Others(); n != 2 {
		t.Errorf("%d records that are no events, want 2", n)
	}
	if n := in.Events(); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
	in.Close()
	if err := in.AppendOther(t.Context(), frame("late")); !errors.Is(err, domain.ErrClosed) || in.Others() != 2 {
		t.Errorf("refused with %v, and %d are counted", err, in.Others())
	}
}

// TestAnOrderIsNoEventAtAnyTime: while an order was on its way to the disk the count of events was lower by its
// records, so a batch that ended behind it took them for events. Apply then rested, and an import of 200,000 users
// took a minute instead of two seconds.
func TestAnOrderIsNoEventAtAnyTime(t *testing.T) {
	in := open(t, t.TempDir())
	defer in.Close()
	must(t, in.Append(t.Context(), frame("event")))
	asked := 0
	check := func() {
		if asked++; in.Events() != 1 {
			t.Errorf("with an order on its way %d events have come, 1 before", in.Events())
		}
	}
	in.hooks.Refuse = func() error { check(); return nil }
	in.hooks.AfterCommit = in.hooks.Refuse
	must(t, in.AppendOther(t.Context(), frame("order"), frame("order")))
	if check(); asked != 3 {
		t.Errorf("the count was looked at %d times", asked)
	}
}

// blankGone is an edit that blanks the records of "gone".
func blankGone(frames [][]byte) (edited uint64, err error) {
	for i := range frames {
		if bytes.Equal(frames[i], frame("gone")) {
			frames[i] = frame("blank")
			edited++
		}
	}
	return edited, nil
}

// TestRewrite: a forget writes a segment anew. Reading goes on in the new one, and its last commit is whole.
func TestRewrite(t *testing.T) {
	dir := t.TempDir()
	in := open(t, dir)
	defer func() { in.Close() }()
	must(t, in.Append(t.Context(), frame("gone"), frame("stays"), frame("gone")))
	must(t, in.RotateNow())
	must(t, in.Append(t.Context(), frame("stays")))
	must(t, in.RotateNow())
	must(t, in.Append(t.Context(), frame("gone")))
	untouched, err := os.Stat(in.Segments()[1].path)
	must(t, err)
	if n, err := in.Rewrite(t.Context(), blankGone); n != 2 || err != nil {
		t.Errorf("%d records were rewritten, %v", n, err)
	}
	if now, err := os.Stat(in.Segments()[1].path); err != nil || !os.SameFile(untouched, now) {
		t.Errorf("a segment without such records was written anew, %v", err)
	}
	want := []string{"blank", "stays", "blank", "stays", "gone"}
	if got := namesIn(t, in, 1); !slices.Equal(got, want) {
		t.Errorf("read %v", got)
	}
	if body, err := os.ReadFile(Path(dir, 1)); err != nil || bytes.Contains(body, []byte("gone")) {
		t.Errorf("the record is still in the file, %v", err)
	}
	in.Close()
	if taken, err := RollBackUnfinished(dir, 0); len(taken) > 0 || err != nil {
		t.Errorf("rolled back: %v, %v", taken, err)
	}
	if _, whole := lastCommit(t, Path(dir, 1)); !whole {
		t.Error("the last commit of the file that was written anew is not whole")
	}
	in = open(t, dir)
	if got := namesIn(t, in, 1); !slices.Equal(got, want) {
		t.Errorf("after a restart: %v", got)
	}
}

// lastCommit reads how the newest meta page of a segment judges its last commit.
func lastCommit(t *testing.T, path string) (last uint64, whole bool) {
	t.Helper()
	file, err := boltpage.Open(path)
	must(t, err)
	defer file.Close()
	newest, _ := file.Metas()
	return commitIn(file, newest)
}

// TestASegmentThatIsTrimmedWhileItIsReadIsNoFailure: a forget failed when a prune took away a file of more than
// one slice between two of them, and so did a check.
func TestASegmentThatIsTrimmedWhileItIsReadIsNoFailure(t *testing.T) {
	for name, when := range map[string]int{"between two slices": 1, "while it is copied": 12, "before it is exchanged": 18} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			in := open(t, dir)
			defer in.Close()
			large := string(bytes.Repeat([]byte("x"), rewriteSlice/5))
			for range 3 {
				must(t, in.Append(t.Context(), frame("gone"), frame(large), frame(large)))
			}
			must(t, in.RotateNow())
			s := in.Segments()[0]
			calls := 0
			_, err := in.Rewrite(t.Context(), func(frames [][]byte) (uint64, error) {
				if calls++; calls == when {
					must(t, in.Trim(9, noon.Add(100*time.Hour), time.Hour, 0))
				}
				return blankGone(frames)
			})
			must(t, err)
			if calls < when || len(in.Segments()) != 1 {
				t.Fatalf("nothing was trimmed within %d calls", calls)
			}
			if left, err := filepath.Glob(filepath.Join(dir, "inbox-00000001*")); len(left) > 0 || err != nil {
				t.Errorf("a file that was trimmed came back, or left something behind: %v", left)
			}
			if _, err := s.Chunks(func(_, _ []byte, _ uint64) error { return nil }); !errors.Is(err, ErrTrimmed) {
				t.Errorf("a check reads it: %v", err)
			}
		})
	}
}

// TestTrimDoesNotStopTheLogWhileASegmentIsRead: it waited for the check of a file with the list of segments locked,
// and no record was acknowledged meanwhile.
func TestTrimDoesNotStopTheLogWhileASegmentIsRead(t *testing.T) {
	in := open(t, t.TempDir())
	defer in.Close()
	must(t, in.Append(t.Context(), frame("1")))
	must(t, in.RotateNow())
	s := in.Segments()[0]
	trimmed := make(chan error, 1)
	_, err := s.Chunks(func(_, _ []byte, _ uint64) error {
		go func() { trimmed <- in.Trim(1, noon.Add(100*time.Hour), time.Hour, 0) }()
		for boltfile.Size(s.path) > 0 {
			time.Sleep(time.Millisecond)
		}
		appended := make(chan error, 1)
		go func() { appended <- in.Append(t.Context(), frame("2")) }()
		select {
		case err := <-appended:
			return err
		case <-time.After(time.Minute):
			return errors.New("no record is acknowledged while a segment is read")
		}
	})
	must(t, err)
	must(t, <-trimmed)
}

// TestAnAppliedRecordIsNotRolledBack: records are applied once they are flushed, so what is not whole of them is
// damage, which salvage repairs.
func TestAnAppliedRecordIsNotRolledBack(t *testing.T) {
	dir := t.TempDir()
	in := open(t, dir)
	must(t, in.Append(t.Context(), frame("first")))
	path := in.Segments()[0].path
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
