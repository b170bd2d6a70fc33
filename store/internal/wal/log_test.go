package wal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"personasync/store/internal/groupcommit"
	"personasync/store/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// frame is a record of these tests: its receipt, and a name.
func frame(name string) []byte {
	return wire.Seal(wire.AppendString(wire.AppendTime([]byte{1}, noon), name), 0)
}

var plain = Records{
	Weigh: func(frame []byte) int { return len(frame) },
	Check: func(frame []byte) error { _, err := wire.Unseal(frame, 1); return err },
	Lost:  wire.Seal([]byte{1}, 0),
	Received: func(frame []byte, was int64) int64 {
		r := wire.NewReader(frame[1:])
		return r.Time().UnixNano()
	},
}

func open(t testing.TB, dir string) *Log {
	t.Helper()
	in, err := Open(dir, Config{Epoch: 7, First: 1, Records: plain})
	must(t, err)
	return in
}

// namesIn reads all records from number from on, one at a time.
func namesIn(t testing.TB, in *Log, from uint64) (names []string) {
	t.Helper()
	for {
		records, err := in.Read(from, 1)
		must(t, err)
		if len(records) == 0 {
			return names
		}
		for _, rec := range records {
			if rec.Seq < from {
				t.Fatalf("record %d was read for %d", rec.Seq, from)
			}
			from = rec.Seq + 1
			r, err := wire.Unseal(rec.Frame, 1)
			must(t, err)
			r.Time()
			names = append(names, r.Text())
		}
	}
}

func TestSegmentsAreChainedAndTrimmed(t *testing.T) {
	dir := t.TempDir()
	in := open(t, dir)
	defer func() { in.Close() }()
	for i := range 3 {
		must(t, in.Append(t.Context(), frame(fmt.Sprint(2*i+1)), frame(fmt.Sprint(2*i+2))))
	}
	must(t, in.RotateNow())
	must(t, in.RotateNow()) // the last one is empty: there is nothing to do
	must(t, in.Append(t.Context(), frame("7")))
	if got := namesIn(t, in, 1); !slices.Equal(got, []string{"1", "2", "3", "4", "5", "6", "7"}) {
		t.Errorf("read %v", got)
	}
	if got := namesIn(t, in, 6); !slices.Equal(got, []string{"6", "7"}) {
		t.Errorf("read from 6: %v", got)
	}
	must(t, in.Trim(5, noon.Add(100*time.Hour), time.Hour, 0)) // record 6 is not applied
	if len(in.Segments()) != 2 {
		t.Error("a segment with a record not yet applied was removed")
	}
	must(t, in.Trim(6, noon.Add(time.Hour), time.Hour, 0))
	if len(in.Segments()) != 2 {
		t.Error("a segment was removed before its time")
	}
	must(t, in.Trim(6, noon.Add(100*time.Hour), 0, 0))
	if len(in.Segments()) != 2 {
		t.Error("a segment was removed without a limit")
	}
	must(t, in.Trim(7, noon.Add(100*time.Hour), time.Hour, 0))
	if list := in.Segments(); len(list) != 1 || in.Oldest() != 2 || in.First() != 7 {
		t.Errorf("%d segments, the oldest is %d and begins with record %d", len(list), in.Oldest(), in.First())
	}
	in.Close()
	if in = open(t, dir); in.Next() != 8 {
		t.Errorf("next record after reopening: %d", in.Next())
	}
}

// TestAnOrderAtTheEndOfASegmentEndsNoRetention: a segment whose last chunk was of orders, which have no receipt, was
// removed at the next start, with all events received before them.
func TestAnOrderAtTheEndOfASegmentEndsNoRetention(t *testing.T) {
	order := wire.Seal([]byte{2}, 0)
	records := plain
	records.Received = func(frame []byte, was int64) int64 {
		if bytes.Equal(frame, order) {
			return was
		}
		return plain.Received(frame, was)
	}
	dir := t.TempDir()
	reopen := func() *Log {
		in, err := Open(dir, Config{Epoch: 7, First: 1, Records: records})
		must(t, err)
		return in
	}
	in := reopen()
	must(t, in.Append(t.Context(), frame("1"), frame("2")))
	for range 3 {
		must(t, in.AppendOther(t.Context(), order))
	}
	must(t, in.RotateNow())
	must(t, in.Append(t.Context(), frame("6")))
	in.Close()

	in = reopen()
	defer in.Close()
	must(t, in.Trim(6, noon.Add(time.Hour), time.Hour, 0))
	if in.First() != 1 {
		t.Errorf("the first record is %d: events were removed before their time", in.First())
	}
	must(t, in.Trim(6, noon.Add(time.Hour+1), time.Hour, 0))
	if in.First() != 6 {
		t.Errorf("the first record is %d: a segment stayed beyond its time", in.First())
	}
}

// TestHooksAreAsked: each may refuse, and what it refuses is not acknowledged.
func TestHooksAreAsked(t *testing.T) {
	in := open(t, t.TempDir())
	defer in.Close()
	no := errors.New("no")
	in.hooks.Refuse = func() error { return no }
	if err := in.Append(t.Context(), frame("a")); !errors.Is(err, no) || in.Last() != 0 {
		t.Errorf("refused: %v, and the last record is %d", err, in.Last())
	}
	in.hooks = Hooks{AfterCommit: func() error { return no }}
	if err := in.Append(t.Context(), frame("b")); !errors.Is(err, no) {
		t.Errorf("acknowledged although the owner does not find it: %v", err)
	}
	in.hooks = Hooks{Home: func() error { return no }}
	if err := in.RotateNow(); !errors.Is(err, no) || len(in.Segments()) != 1 {
		t.Errorf("a file was made where nothing may be: %v", err)
	}
	if err := in.Trim(9, noon, 0, 1); !errors.Is(err, no) {
		t.Errorf("a file was removed where nothing may be: %v", err)
	}
}

// TestASegmentThatCannotBeRemovedCanStillBeRead: it was closed first, and every look at its records failed
// from then on.
func TestASegmentThatCannotBeRemovedCanStillBeRead(t *testing.T) {
	dir := t.TempDir()
	in := open(t, dir)
	defer in.Close()
	must(t, in.Append(t.Context(), frame("ann")))
	must(t, in.RotateNow())
	home, err := os.Stat(dir)
	must(t, err)
	first := in.segments[0]
	first.path, first.info = dir, home // which is not empty
	if err := in.Trim(1, noon.Add(100*time.Hour), time.Hour, 0); err == nil {
		t.Fatal("it was removed")
	}
	if _, err := in.Read(1, 1); err != nil {
		t.Errorf("a file that is still there cannot be read: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestACommitThatFailedAfterItsHeadWasWrittenLosesNothing: the disk took the head of a file and did not
// confirm it, so the callers are told to come again while the records are there. What was received after
// that got the same numbers, and was passed over.
func TestACommitThatFailedAfterItsHeadWasWrittenLosesNothing(t *testing.T) {
	in := open(t, t.TempDir())
	defer in.Close()
	must(t, in.Append(t.Context(), frame("ann")))
	group := groupcommit.Group{groupcommit.NewRequest(frame("bob"), frame("cid")), groupcommit.NewRequest(frame("dan"))}
	in.Hold()
	s := in.segments[0]
	_, err := s.write(in.Next(), group, nil) // committed, and nobody knows
	must(t, err)
	if records, err := in.Read(in.Next(), 1<<20); err != nil || len(records) != 0 {
		t.Errorf("%d records are read that nobody counted yet, %v", len(records), err)
	}
	if s.readMeta(); s.unsyncedTxid == 0 {
		t.Error("a head that is in the file goes unnoticed")
	}
	in.Release()
	must(t, in.Append(t.Context(), frame("bob"), frame("cid"), frame("dan"))) // the callers come again
	must(t, in.Append(t.Context(), frame("eve")))
	if got := namesIn(t, in, 1); !slices.Equal(got, []string{"ann", "bob", "cid", "dan", "eve"}) {
		t.Errorf("read %v", got)
	}
}

// TestACommitInDoubtDoesNotStayBehindInAFullFile: it made the file as large as files get, so the next one took
// over, with the same numbers. The commit that nobody was answered for stayed.
func TestACommitInDoubtDoesNotStayBehindInAFullFile(t *testing.T) {
	dir := t.TempDir()
	in := open(t, dir)
	defer func() { in.Close() }()
	must(t, in.Append(t.Context(), frame("ann")))
	in.Hold()
	s := in.segments[0]
	_, err := s.write(in.Next(), groupcommit.Group{groupcommit.NewRequest(frame("bob"))}, nil)
	must(t, err)
	s.unsyncedTxid = s.txid
	in.SetMaxBytes(1)
	in.Release()
	must(t, in.Append(t.Context(), frame("cid")))
	if n := len(in.Segments()); n != 2 {
		t.Fatalf("%d files", n)
	}
	in.Close()
	in = open(t, dir)
	must(t, in.Append(t.Context(), frame("dan")))
	if got := namesIn(t, in, 1); !slices.Equal(got, []string{"ann", "cid", "dan"}) {
		t.Errorf("read %v", got)
	}
}

// TestNamesOfSegments: a copy that somebody made beside one is none.
func TestNamesOfSegments(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]uint64{
		"inbox-00000001.db": 1, "inbox-123456789.db": 123456789, "inbox-1.db": 0, "inbox-00000000.db": 0,
		"inbox-00000001.db.new": 0, "inbox-00000001 (copy).db": 0, "state.db": 0, "inbox-99999999999999.db": 0,
	} {
		path := filepath.Join(dir, name)
		if got := Number(path); got != want {
			t.Errorf("%s has the number %d, want %d", name, got, want)
		}
		must(t, os.WriteFile(path, nil, 0o600))
	}
	must(t, os.Mkdir(Path(dir, 5), 0o700))
	paths, strays, err := Files(dir)
	if want := []string{Path(dir, 1), Path(dir, 123456789)}; err != nil || !slices.Equal(paths, want) {
		t.Errorf("files %v, %v", paths, err)
	}
	if len(strays) != 5 {
		t.Errorf("called like one, and none: %q", strays)
	}
}

// TestAnotherEpochIsRefused: a file of another store would be applied as if it were ours.
func TestAnotherEpochIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir).Close()
	if _, err := Open(dir, Config{Epoch: 8, First: 1, Records: plain}); err == nil {
		t.Error("opened with another epoch")
	}
	in, err := OpenReadOnly(dir, 7, plain)
	must(t, err)
	in.CloseFiles()
}

// TestLargeRecordsAndChunks: a record larger than a chunk has one for itself, and numbers go on.
func TestLargeRecordsAndChunks(t *testing.T) {
	in := open(t, t.TempDir())
	defer in.Close()
	large := string(bytes.Repeat([]byte("x"), 2*chunkBytes))
	must(t, in.Append(t.Context(), frame("a"), frame(large), frame("b")))
	if got := namesIn(t, in, 1); !slices.Equal(got, []string{"a", large, "b"}) {
		t.Errorf("%d records of lengths other than they were written", len(got))
	}
	if records, err := in.Read(2, 1<<20); err != nil || len(records) != 2 || records[0].Seq != 2 {
		t.Errorf("from the second on: %d records, %v", len(records), err)
	}
}
