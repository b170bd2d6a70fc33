package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/boltpage"
	"personasync/store/internal/groupcommit"
)

const sector = 512

// tornSegment makes an inbox file, and returns its bytes after each of n commits, with how many records
// were acknowledged by then.
func tornSegment(t *testing.T, n int, r *rand.Rand) (path string, images [][]byte, last []uint64) {
	path = Path(fastDir(t), 1)
	s, err := createSegment(filepath.Dir(path), 1, 7, plain)
	must(t, err)
	defer s.db.Close()
	next := uint64(1)
	keep := func() {
		body, err := os.ReadFile(path)
		must(t, err)
		images, last = append(images, body[:used(t, path)]), append(last, next-1)
	}
	keep()
	for i := range n {
		req := groupcommit.NewRequest()
		for j := range r.IntN(40) { // a commit may bring nothing
			req.Frames = append(req.Frames, frame(fmt.Sprint("user-", i, "-", j)))
		}
		_, err := s.write(next, groupcommit.Group{req}, nil)
		must(t, err)
		next += uint64(len(req.Frames))
		keep()
	}
	return path, images, last
}

// differing lists the sectors in which two images differ; one that is shorter ends in zeros.
func differing(a, b []byte) (list []int) {
	at := func(image []byte, from int) []byte {
		s := make([]byte, sector)
		if from < len(image) {
			copy(s, image[from:])
		}
		return s
	}
	for from := 0; from < max(len(a), len(b)); from += sector {
		if !bytes.Equal(at(a, from), at(b, from)) {
			list = append(list, from)
		}
	}
	return list
}

// TestACommitOfTheInboxIsWholeOrTakenBack has the machine go down within the flush of every one of many
// commits: any sectors of it may have arrived, whatever the order. The commit before must be there to the
// last record, and the one that was cut off wholly or not at all.
func TestACommitOfTheInboxIsWholeOrTakenBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	path, images, last := tornSegment(t, 60, r)
	cuts, took := 0, 0
	try := func(i int, arrived []int) {
		body := slices.Clone(images[i-1])
		body = append(body, make([]byte, max(0, len(images[i])-len(body)))...)
		for _, from := range arrived {
			copy(body[from:from+sector], images[i][from:])
		}
		must(t, os.WriteFile(path, body, 0o600))
		cuts++
		taken, err := rollBackIfUnfinished(path, "", 0)
		must(t, err)
		want := last[i-1]
		if len(arrived) == len(differing(images[i-1], images[i])) {
			want = last[i]
		}
		if taken {
			took++
		}
		s, err := openSegment(path, 0, false, plain)
		if err != nil {
			t.Fatalf("commit %d, sectors %v: %v", i, arrived, err)
		}
		defer s.db.Close()
		if s.last != want && !(s.last == last[i] && !taken) || s.lastAssigned != max(s.last, s.lastAssigned) {
			t.Errorf("commit %d, sectors %v: the last record is %d, want %d", i, arrived, s.last, want)
		}
		if records, err := s.read(1, 1<<30); err != nil || uint64(len(records)) != s.last {
			t.Errorf("commit %d: %d records of %d, %v", i, len(records), s.last, err)
		}
		// It goes on from there, and what it writes is sound.
		_, err = s.write(s.lastAssigned+1, groupcommit.Group{groupcommit.NewRequest(frame("next"))}, nil)
		must(t, err)
		must(t, s.db.View(func(tx *bolt.Tx) error {
			for err := range tx.Check() {
				return err
			}
			return nil
		}))
	}
	for i := 1; i < len(images); i++ {
		all := differing(images[i-1], images[i])
		try(i, all)
		try(i, nil)
		for range 20 {
			some := slices.DeleteFunc(slices.Clone(all), func(int) bool { return r.IntN(4) == 0 })
			try(i, some)
		}
		for _, missing := range all {
			try(i, slices.DeleteFunc(slices.Clone(all), func(from int) bool { return from == missing }))
		}
	}
	t.Logf("%d cuts, %d commits taken back", cuts, took)
	if took < cuts/4 {
		t.Error("too few commits were torn for this to say anything")
	}
}

// TestOnlyTheTwoNewestFilesAreRolledBack: the next file is made while the one before is written to, so that no older one
// can have a torn tail. There it is damage, which a check finds.
func TestOnlyTheTwoNewestFilesAreRolledBack(t *testing.T) {
	path, images, last := tornSegment(t, 2, rand.New(rand.NewPCG(1, 2)))
	_, first, _ := tornSegment(t, 1, rand.New(rand.NewPCG(1, 2)))
	whole, torn, tornFirst := images[2], tornAt(images[1], images[2]), tornAt(first[0], first[1])
	for _, tc := range []struct {
		files   [][]byte
		applied uint64
		taken   int // its number, 0 for none
	}{
		{[][]byte{torn}, 0, 1},
		{[][]byte{torn}, last[2], 0}, // the state has applied a record of that commit
		{[][]byte{torn, whole}, 0, 1},
		{[][]byte{whole, torn}, 0, 2},
		{[][]byte{torn, whole, whole}, 0, 0},
		{[][]byte{whole, torn, whole}, 0, 2},
		{[][]byte{whole, whole, torn}, 0, 3},
		{[][]byte{whole, tornFirst}, last[2], 2}, // it goes on behind the records of the first file
		{[][]byte{whole, tornFirst}, last[2] + 1, 0},
	} {
		dir := filepath.Dir(path)
		var want []string
		for i, body := range tc.files {
			must(t, os.WriteFile(Path(dir, uint64(i+1)), body, 0o600))
			if i+1 == tc.taken {
				want = append(want, filepath.Base(Path(dir, uint64(i+1))))
			}
		}
		if taken, err := RollBackUnfinished(dir, tc.applied); err != nil || !slices.Equal(taken, want) {
			t.Errorf("of %d files, applied up to %d, %v is taken back, want %v, %v", len(tc.files), tc.applied, taken, want, err)
		}
	}
}

// tornAt is the image after a commit whose last sector did not arrive.
func tornAt(before, after []byte) []byte {
	torn := slices.Concat(before, make([]byte, max(0, len(after)-len(before))))
	changed := differing(before, after)
	for _, from := range changed[:len(changed)-1] {
		copy(torn[from:from+sector], after[from:])
	}
	return torn
}

// TestAnOlderPageInANewersPlaceIsNoticed: a root that did not arrive may look like one, of an older
// commit, and lead to all of that.
func TestAnOlderPageInANewersPlaceIsNoticed(t *testing.T) {
	path, images, last := tornSegment(t, 60, rand.New(rand.NewPCG(3, 4)))
	met := 0
	for i := 1; i < len(images); i++ {
		for j := range i {
			if openImage(t, path, images[j]).Root != openImage(t, path, images[i]).Root {
				continue
			}
			met++
			body := slices.Clone(images[i])
			copy(body[2*os.Getpagesize():], images[j][2*os.Getpagesize():]) // all but the heads
			must(t, os.WriteFile(path, body, 0o600))
			file, err := boltpage.Open(path)
			must(t, err)
			m, _ := file.Newest()
			if end, whole := commitIn(file, m); whole {
				t.Errorf("commit %d with the pages of commit %d passes for whole, up to record %d of %d", i, j, end, last[i])
			}
			file.Close()
		}
	}
	if met == 0 {
		t.Error("no two commits have their root on the same page")
	}
}

func openImage(t *testing.T, path string, image []byte) boltpage.Meta {
	must(t, os.WriteFile(path, image, 0o600))
	file, err := boltpage.Open(path)
	must(t, err)
	defer file.Close()
	m, _ := file.Newest()
	return m
}

// TestACommitWhoseFlushFailedIsTakenBackFirst: the kernel may have forgotten its pages, so nothing may be
// built on them.
func TestACommitWhoseFlushFailedIsTakenBackFirst(t *testing.T) {
	in, err := Open(fastDir(t), Config{Epoch: 7, First: 1, Records: plain})
	must(t, err)
	defer in.Close()
	must(t, in.Append(t.Context(), frame("first")))
	s := in.segments[0]
	in.Hold()
	_, err = s.write(2, groupcommit.Group{groupcommit.NewRequest(frame("unflushed"))}, nil)
	s.unsyncedTxid = s.txid // as a flush that fails leaves it: bbolt has no seam for it
	in.Release()
	must(t, err)
	if records, err := in.Read(1, 1<<20); err != nil || len(records) != 1 {
		t.Errorf("a record that is not flushed can be read: %d, %v", len(records), err)
	}
	must(t, in.Append(t.Context(), frame("second")))
	records, err := in.Read(1, 1<<20)
	must(t, err)
	if len(records) != 2 || !bytes.Contains(records[1].Frame, []byte("second")) {
		t.Errorf("%d records, the last is %q", len(records), records[len(records)-1].Frame)
	}
	if s.unsyncedTxid != 0 {
		t.Error("it is still in doubt")
	}
	must(t, errors.Join(boltpage.RollBack(s.path, s.txid-1))) // not the newest: nothing is changed
	if records, err := in.Read(1, 1<<20); err != nil || len(records) != 2 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

// fastDir is a directory in memory where there is one: these tests write little and sync much.
func fastDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "wal-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// used is how much of a file its pages take up.
func used(t testing.TB, path string) int64 {
	p, err := boltpage.Open(path)
	must(t, err)
	defer p.Close()
	m, _ := p.Newest()
	return int64(m.Pages) * p.PageSize
}
