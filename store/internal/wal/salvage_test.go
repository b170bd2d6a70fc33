package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"personasync/store/engine"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/wire"
)

// stocked makes a log of two segments: n records named by their numbers in the first, and one in the second.
func stocked(t *testing.T, n int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	in := open(t, dir)
	defer in.Close()
	for i := range n {
		must(t, in.Append(t.Context(), frame(fmt.Sprintf("record %d, long enough to fill pages with a few dozens", i+1))))
	}
	must(t, in.RotateNow())
	must(t, in.Append(t.Context(), frame("last")))
	return dir
}

// leaves returns the pages that hold the chunks of a segment, in order.
func leaves(t *testing.T, path string) (pages []uint64) {
	t.Helper()
	file, err := boltpage.Open(path)
	must(t, err)
	defer file.Close()
	m, _ := file.Newest()
	w := boltpage.Walk{
		File: file, Meta: m, Fault: func(err error) { t.Fatal(err) },
		Leaf: func(page uint64, path []string, _ []boltpage.Element) {
			if len(path) > 0 && path[0] == string(bucketRecords) {
				pages = append(pages, page)
			}
		},
	}
	w.Run()
	return pages
}

// overwrite writes b at an offset of a file.
func overwrite(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(b, at)
	must(t, errors.Join(err, f.Close()))
}

// salvaged salvages segment 1 of dir, puts the result in place and returns the records that a log then reads.
func salvaged(t *testing.T, dir string, epoch uint32, applied uint64) (*Salvaged, []engine.Record) {
	t.Helper()
	path := Path(dir, 1)
	found, err := Salvage(path, epoch, applied, 0, plain)
	must(t, err)
	must(t, os.Rename(boltfile.NewPath(path), path))
	in := open(t, dir)
	defer in.Close()
	records, err := in.Read(1, 1<<30)
	must(t, err)
	for i, r := range records {
		if r.Seq != uint64(i+1) {
			t.Fatalf("record %d follows record %d", r.Seq, i)
		}
	}
	return found, records
}

// TestASalvageReplacesLostRecords: a page of records is gone. The others keep their numbers, and stand-ins take the
// places of the lost ones.
func TestASalvageReplacesLostRecords(t *testing.T) {
	const n = 300
	dir := stocked(t, n)
	pages := leaves(t, Path(dir, 1))
	if len(pages) < 3 {
		t.Fatalf("the records are on %d pages", len(pages))
	}
	overwrite(t, Path(dir, 1), int64(pages[1])*int64(os.Getpagesize()), make([]byte, os.Getpagesize()))
	found, records := salvaged(t, dir, 7, 0)
	if len(records) != n || len(found.Lost) != 1 || found.EdgeLost {
		t.Fatalf("%d records, lost %v, edge %v", len(records), found.Lost, found.EdgeLost)
	}
	if _, whole := lastCommit(t, Path(dir, 1)); !whole {
		t.Error("the last commit of the new segment is not whole")
	}
	lost := found.Lost[0]
	if lost.First < 2 || lost.Last < lost.First || found.Records+lost.Last-lost.First+1 != n {
		t.Errorf("saved %d, lost %v of %d", found.Records, lost, n)
	}
	for _, r := range records {
		if gone := r.Seq >= lost.First && r.Seq <= lost.Last; gone != slices.Equal(r.Frame, plain.Lost) {
			t.Errorf("record %d is %q", r.Seq, r.Frame)
		}
	}
}

// TestASalvageKnowsTheLastNumberAssigned: the right edge of the tree is lost, and the bucket says how far it went.
func TestASalvageKnowsTheLastNumberAssigned(t *testing.T) {
	const n = 300
	dir := stocked(t, n)
	pages := leaves(t, Path(dir, 1))
	overwrite(t, Path(dir, 1), int64(pages[len(pages)-1])*int64(os.Getpagesize()), make([]byte, os.Getpagesize()))
	found, records := salvaged(t, dir, 7, 0)
	if len(records) != n || len(found.Lost) != 1 || found.Lost[0].Last != n {
		t.Errorf("%d records of %d, lost %v", len(records), n, found.Lost)
	}
}

// TestTheNewestFileGoesAsFarAsTheStateHasApplied: its end and the number of the last record are lost. A record that took
// a number again would not be applied.
func TestTheNewestFileGoesAsFarAsTheStateHasApplied(t *testing.T) {
	const n = 300
	dir := t.TempDir()
	in := open(t, dir)
	for i := range n {
		must(t, in.Append(t.Context(), frame(fmt.Sprintf("record %d, long enough to fill pages with a few dozens", i+1))))
	}
	in.Close()
	path := Path(dir, 1)
	file, err := boltpage.Open(path)
	must(t, err)
	m, _ := file.Newest()
	file.Close()
	pages := leaves(t, path)
	for _, page := range []uint64{pages[len(pages)-1], m.Root} {
		overwrite(t, path, int64(page)*int64(os.Getpagesize()), make([]byte, os.Getpagesize()))
	}
	found, records := salvaged(t, dir, 7, n)
	if len(records) != n || len(found.Lost) != 1 || found.Lost[0].Last != n {
		t.Errorf("%d records of %d, lost %v", len(records), n, found.Lost)
	}
}

// TestRecordsOfFilesThatAreGoneAreLost, unless the state has applied them.
func TestRecordsOfFilesThatAreGoneAreLost(t *testing.T) {
	for applied, want := range map[uint64][]Range{2: {{3, 4}}, 3: {{4, 4}}, 4: nil, 5: nil} {
		dir := stocked(t, 4)
		must(t, os.Remove(Path(dir, 1)))
		found, err := Salvage(Path(dir, 2), 7, applied, 5, plain)
		must(t, err)
		if !slices.Equal(found.Lost, want) || found.Records != 1 {
			t.Errorf("applied up to %d: %d saved, lost %v, want %v", applied, found.Records, found.Lost, want)
		}
	}
}

// TestASalvageKeepsARecordThatIsCorrupt: the caller parks it with its bytes, which may say whose it was.
func TestASalvageKeepsARecordThatIsCorrupt(t *testing.T) {
	dir := stocked(t, 3)
	path := Path(dir, 1)
	body, err := os.ReadFile(path)
	must(t, err)
	for at := range body {
		if slices.Equal(body[at:min(len(body), at+8)], []byte("record 2")) {
			overwrite(t, path, int64(at), []byte("recOrd 2"))
		}
	}
	found, records := salvaged(t, dir, 7, 0)
	if found.Records != 3 || len(found.Lost) > 0 {
		t.Errorf("%+v", found)
	}
	if _, err := wire.Unseal(records[1].Frame, 1); !errors.Is(err, wire.ErrDamaged) {
		t.Errorf("record 2 is %v", err)
	}
}

// TestASalvageSavesTheRecordsAroundABreak: a length in the middle of a chunk is wrong, so nobody knows where the records
// behind it begin.
func TestASalvageSavesTheRecordsAroundABreak(t *testing.T) {
	dir := t.TempDir()
	in := open(t, dir)
	must(t, in.Append(t.Context(), frame("one"), frame("two"), frame("three"), frame("four")))
	must(t, in.RotateNow())
	in.Close()
	path := Path(dir, 1)
	body, err := os.ReadFile(path)
	must(t, err)
	whole := wire.AppendBytes(nil, frame("two"))
	for at := range body {
		if slices.Equal(body[at:min(len(body), at+len(whole))], whole) {
			overwrite(t, path, int64(at), []byte{whole[0] + 1})
		}
	}
	found, records := salvaged(t, dir, 7, 0)
	if found.Records != 3 || !slices.Equal(found.Lost, []Range{{2, 2}}) || len(records) != 4 {
		t.Fatalf("%+v, %d records", found, len(records))
	}
	for i, want := range [][]byte{frame("one"), plain.Lost, frame("three"), frame("four")} {
		if !slices.Equal(records[i].Frame, want) {
			t.Errorf("record %d is %q", i+1, records[i].Frame)
		}
	}
}

// TestRecordsBehindABreakAreNumberedByTheNextChunk: not by the last number assigned, which is far behind.
func TestRecordsBehindABreakAreNumberedByTheNextChunk(t *testing.T) {
	dir := t.TempDir()
	in := open(t, dir)
	must(t, in.Append(t.Context(), frame("one"), frame("two"), frame("three"), frame("four")))
	must(t, in.Append(t.Context(), frame("five"), frame("six")))
	must(t, in.RotateNow())
	in.Close()
	path := Path(dir, 1)
	body, err := os.ReadFile(path)
	must(t, err)
	whole := wire.AppendBytes(nil, frame("two"))
	for at := range body {
		if slices.Equal(body[at:min(len(body), at+len(whole))], whole) {
			overwrite(t, path, int64(at), []byte{whole[0] + 1})
		}
	}
	found, records := salvaged(t, dir, 7, 0)
	if found.Records != 5 || !slices.Equal(found.Lost, []Range{{2, 2}}) || len(records) != 6 {
		t.Fatalf("%+v, %d records", found, len(records))
	}
	for i, want := range [][]byte{frame("one"), plain.Lost, frame("three"), frame("four"), frame("five"), frame("six")} {
		if !slices.Equal(records[i].Frame, want) {
			t.Errorf("record %d is %q", i+1, records[i].Frame)
		}
	}
}

// TestASalvageKeepsTheReadableEntriesOfAPage: one entry of a page that the tree does not reach points outside of it.
func TestASalvageKeepsTheReadableEntriesOfAPage(t *testing.T) {
	const n = 200
	dir := stocked(t, n)
	path := Path(dir, 1)
	pages := leaves(t, path)
	file, err := boltpage.Open(path)
	must(t, err)
	size := file.PageSize
	file.Close()
	page := int64(pages[1]) * int64(size)
	const header, entry = 16, 16 // of a page, and of an entry; the entry's bytes 4 to 8 say where its key is
	overwrite(t, path, page+header+entry+4, []byte{0xff, 0xff, 0xff, 0x7f})
	found, records := salvaged(t, dir, 7, 0)
	if found.Entries != 1 || found.Records != n-1 || len(found.Lost) != 1 || len(records) != n {
		t.Fatalf("%+v, %d records", found, len(records))
	}
	for _, r := range records {
		if gone := found.Lost[0] == (Range{r.Seq, r.Seq}); gone != slices.Equal(r.Frame, plain.Lost) {
			t.Errorf("record %d is %q", r.Seq, r.Frame)
		}
	}
}

// TestASalvageRefuses a segment of another store, and one that says nothing.
func TestASalvageRefuses(t *testing.T) {
	dir := stocked(t, 3)
	if _, err := Salvage(Path(dir, 1), 8, 0, 0, plain); !errors.Is(err, boltfile.ErrForeign) {
		t.Errorf("a segment of another store: %v", err)
	}
	must(t, os.WriteFile(Path(dir, 1), make([]byte, 1<<16), 0o600))
	for epoch := range uint32(2) {
		if _, err := Salvage(Path(dir, 1), epoch, 0, 0, plain); !errors.Is(err, boltfile.ErrUnsalvageable) {
			t.Errorf("zeros, with epoch %d: %v", epoch, err)
		}
	}
	if found, _ := ReadExtent(Path(dir, 2)); found.First != 4 {
		t.Errorf("the next segment begins with %d", found.First)
	}
}

// TestRenumbering puts chunks, given by key and number of records, where their numbers belong.
func TestRenumbering(t *testing.T) {
	chunk := func(key, count uint64) placement { return placement{key: key, count: count} }
	const far = 1 << 50
	for name, tc := range map[string]struct {
		n    renumbering
		list []placement
		at   []uint64 // where the chunks that move go
		lost []Range
		next uint64
	}{
		"in order":                          {renumbering{next: 1, assigned: 5}, []placement{chunk(1, 2), chunk(3, 3)}, nil, nil, 6},
		"a hole":                            {renumbering{next: 1, assigned: 9}, []placement{chunk(1, 2), chunk(6, 4)}, nil, []Range{{3, 5}}, 10},
		"the last ones are missing":         {renumbering{next: 1, assigned: 9}, []placement{chunk(1, 2)}, nil, []Range{{3, 9}}, 10},
		"all are missing":                   {renumbering{assigned: 3}, nil, nil, []Range{{1, 3}}, 4},
		"the first number is unknown":       {renumbering{assigned: 9}, []placement{chunk(4, 6)}, nil, nil, 10},
		"a damaged key between its own":     {renumbering{next: 1, assigned: 6}, []placement{chunk(1, 2), chunk(5, 2), chunk(5, 2)}, []uint64{3}, nil, 7},
		"a key that cannot be, and a hole":  {renumbering{next: 1, assigned: 6}, []placement{chunk(1, 2), chunk(5, 2), chunk(far, 2)}, []uint64{3}, nil, 7},
		"a key that cannot be, and no hole": {renumbering{next: 1, assigned: 4}, []placement{chunk(1, 2), chunk(3, 2), chunk(far, 1)}, []uint64{5}, nil, 6},
		"an older attempt":                  {renumbering{next: 1, assigned: 5}, []placement{chunk(1, 3), chunk(2, 4)}, []uint64{4}, nil, 6},
		"a restore":                         {renumbering{next: 1, assigned: 3*RestoreJump + 1}, []placement{chunk(1, 2), chunk(3*RestoreJump, 2)}, nil, nil, 3*RestoreJump + 2},
	} {
		t.Run(name, func(t *testing.T) {
			n := tc.n
			n.most = 1000
			for i := range tc.list {
				n.place(tc.list, i)
			}
			n.fill()
			var at []uint64
			for _, m := range n.moves {
				at = append(at, m.at)
			}
			if !slices.Equal(at, tc.at) || !slices.Equal(n.lost, tc.lost) || n.next != tc.next {
				t.Errorf("moved to %v, lost %v, next %d; want %v, %v, %d", at, n.lost, n.next, tc.at, tc.lost, tc.next)
			}
		})
	}
}

// TestAHoleLargerThanTheSegmentIsPassed: whole files before it are missing. Its chunks must not take the numbers of the hole.
func TestAHoleLargerThanTheSegmentIsPassed(t *testing.T) {
	chunk := func(key, count uint64) placement { return placement{key: key, count: count} }
	for name, tc := range map[string]struct {
		next, assigned uint64
		list           []placement
		want           uint64
	}{
		"the last number agrees":                 {1, 5001, []placement{chunk(5000, 2)}, 5000},
		"the last number is unknown":             {1, 0, []placement{chunk(5000, 2)}, 11},
		"the hole is behind what is applied":     {20, 0, []placement{chunk(5000, 2)}, 20},
		"a hole that stand-ins can fill":         {1, 501, []placement{chunk(500, 2)}, 1},
		"a key that is damaged, between its own": {1, 5, []placement{chunk(5000, 2), chunk(3, 3)}, 1},
		"the first number is unknown":            {0, 5001, []placement{chunk(5000, 2)}, 0},
		"no chunks":                              {1, 5001, nil, 1},
	} {
		n := renumbering{next: tc.next, assigned: tc.assigned, most: 1000}
		if n.passHole(tc.list, 10); n.next != tc.want {
			t.Errorf("%s: next is %d, want %d", name, n.next, tc.want)
		}
	}
}

// TestReadRuns: a gap in the numbers begins another run.
func TestReadRuns(t *testing.T) {
	dir := stocked(t, 3)
	must(t, func() error {
		in, err := Open(dir, Config{Epoch: 7, First: 9, Records: plain})
		must(t, err)
		defer in.Close()
		return in.Append(t.Context(), frame("9"), frame("10"))
	}())
	if runs, err := ReadRuns(Path(dir, 2)); err != nil || !slices.Equal(runs, []Range{{4, 4}, {9, 10}}) {
		t.Errorf("runs %v, %v", runs, err)
	}
	if _, err := ReadRuns(filepath.Join(dir, "inbox-x.db")); err == nil {
		t.Error("another file has runs")
	}
}

// TestAnUnreadableSegmentThatIsAppliedIsReplaced: the start asked for a restore, which takes the state back, although the state had
// every record. Where one may not be applied, an operator decides.
func TestAnUnreadableSegmentThatIsAppliedIsReplaced(t *testing.T) {
	for _, c := range []struct {
		name          string
		number        uint64 // of the segment that is unreadable
		applied, last uint64 // 4 records are in the first, and one in the second
		ok            bool
	}{
		{"the older, applied", 1, 4, 0, true},
		{"the older, not all applied", 1, 3, 0, false},
		{"the newest, applied at a clean stop", 2, 5, 5, true},
		{"the newest, not all applied at a clean stop", 2, 4, 5, false},
		{"the newest, after a kill", 2, 5, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := stocked(t, 4)
			path := Path(dir, c.number)
			info, err := os.Stat(path)
			must(t, err)
			overwrite(t, path, 0, make([]byte, info.Size()))
			found, err := Salvage(path, 7, c.applied, c.last, plain)
			if !c.ok {
				if !errors.Is(err, boltfile.ErrUnsalvageable) {
					t.Fatalf("%+v, %v", found, err)
				}
				return
			}
			must(t, err)
			must(t, os.Rename(boltfile.NewPath(path), path))
			in := open(t, dir)
			defer in.Close()
			if in.Next() != 6 || found.EdgeLost {
				t.Errorf("the next record is %d, the edge is lost: %v", in.Next(), found.EdgeLost)
			}
		})
	}
}
