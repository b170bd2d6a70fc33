package wal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/wire"
)

// The torn tail. The inbox flushes once a commit. bbolt flushes twice, first the pages and then the meta page that leads
// to them, so that a meta page on disk always leads to whole pages. The second flush is half of the time that a sender
// waits: 0.1 ms of 0.2. With it 0.34 as many events a second are acknowledged at 1 connection, 0.66 at 64 and 0.80 at
// 256. Here pages and meta page go to the disk together, in any order, and the next start after a power
// failure finds out whether all of them arrived:
//
//	whole    the tree has no fault, the root names the transaction of the meta page (stampTxid), and every record up to
//	         the last number assigned is there with its checksum
//	torn     the commit was never acknowledged: no caller is answered before the flush returns. The other meta page
//	         leads to the commit before it, whose pages are untouched: bbolt gives the pages that a commit frees to the
//	         commit after the next. It takes over.
//	         Unless the state has applied one of its records. Records are applied once they are flushed, so the commit
//	         had arrived, and this is damage. Stop and Probe commit no record, so a doubt about records arises only if
//	         the machine went down within milliseconds of their commit. The first commit of a segment goes on from the
//	         segment before. Where that was removed already, nothing says where it began, and it counts as damage.
//
// The stamp shows a page of an older commit in the place of a newer one: the two meta pages take turns, and so do the
// pages at the right edge.
//
// kill -9 tears nothing, because the page cache keeps the order. Nor does the state, which flushes as bbolt does.

// RollBackUnfinished rolls back the last commit of the segments in dir where it did not reach the disk whole, and returns
// their names. applied is the state's position. Only the two newest segments can have such a commit: the next one is made
// while the one before is written to.
func RollBackUnfinished(dir string, applied uint64) (taken []string, err error) {
	paths, _, err := Files(dir)
	if err != nil {
		return nil, err
	}
	for i := max(0, len(paths)-2); i < len(paths); i++ {
		path, previous := paths[i], ""
		if i > 0 {
			previous = paths[i-1]
		}
		was, err := rollBackIfUnfinished(path, previous, applied)
		if err != nil {
			return taken, fmt.Errorf("take back the last commit of %s, which did not reach the disk whole: %w", filepath.Base(path), err)
		}
		if was {
			taken = append(taken, filepath.Base(path))
		}
	}
	return taken, nil
}

// rollBackIfUnfinished does so for one segment. previous is the path of the segment before it, or "".
func rollBackIfUnfinished(path, previous string, applied uint64) (taken bool, err error) {
	file, err := boltpage.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	newest, older := file.Metas()
	if !newest.Valid || !older.Valid {
		return false, nil // a meta page is one sector, which arrives whole or not at all: this is damage
	}
	if _, whole := commitIn(file, newest); whole {
		return false, nil
	}
	before, sound := commitIn(file, older)
	if before == 0 && previous != "" { // the commit is the first one with records
		before = lastIn(previous)
	}
	if !sound || applied > before {
		return false, nil // something else than a torn tail did this
	}
	return true, boltpage.RollBack(path, newest.Txid)
}

// lastIn returns the last number assigned in the segment at path, or 0 if it cannot be read.
func lastIn(path string) (last uint64) {
	file, err := boltpage.Open(path)
	if err != nil {
		return 0
	}
	defer file.Close()
	if m, ok := file.Newest(); ok {
		last, _ = commitIn(file, m)
	}
	return last
}

// commitIn reads everything that a meta page of a segment leads to. It reports whether all of it is as it was written, and
// the last number assigned.
func commitIn(file *boltpage.File, m boltpage.Meta) (last uint64, whole bool) {
	if m.Pages > file.Pages() {
		return 0, false
	}
	whole = true
	next, newer, ours := uint64(0), false, false // a commit before the bucket meta is no segment to go back to
	w := boltpage.Walk{
		File: file, Meta: m, Fault: func(error) { whole = false },
		Bucket: func(path []string, sequence uint64) {
			switch path[0] {
			case string(boltfile.BucketMeta): // a copy made by bbolt has an older meta page too, that leads to the same
				ours = true
				whole = whole && (sequence == m.Txid || sequence == m.Txid+1)
			case string(bucketRecords):
				last = sequence
			}
		},
		Leaf: func(_ uint64, path []string, list []boltpage.Element) {
			switch {
			case len(path) == 0:
				return
			case path[0] == string(boltfile.BucketMeta):
				newer = newer || saysNewer(list)
				return
			}
			for i := range list {
				var held bool
				next, held = chunkHolds(next, &list[i])
				whole = whole && held
			}
		},
	}
	w.Run()
	return last, newer || ours && whole && (next == 0 || next == last+1)
}

// saysNewer reports whether a segment has a newer format, whose commits this program cannot judge.
func saysNewer(meta []boltpage.Element) bool {
	return slices.ContainsFunc(meta, func(e boltpage.Element) bool {
		return bytes.Equal(e.Key, boltfile.MetaFormat) && len(e.Value) == 4 && binary.BigEndian.Uint32(e.Value) > boltfile.Format
	})
}

// chunkHolds reports whether an element is the chunk that begins with record next, 0 for any, and whether the checksums
// of its records are right. It returns the number that should follow.
func chunkHolds(next uint64, e *boltpage.Element) (uint64, bool) {
	if len(e.Key) != 8 || next != 0 && binary.BigEndian.Uint64(e.Key) != next {
		return next, false
	}
	next = binary.BigEndian.Uint64(e.Key)
	f := wire.Frames{Rest: e.Value}
	for ; f.Next(); next++ {
		if len(f.Frame) == 0 {
			return next, false
		}
		if _, err := wire.Unseal(f.Frame, f.Frame[0]); err != nil {
			return next, false
		}
	}
	return next, f.Err == nil
}
