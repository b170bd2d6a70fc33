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

// The inbox flushes once a commit. bbolt flushes twice, first the pages and then the head that leads to
// them, so that a head on disk always leads to whole pages. Half of what a sender waits for is the
// second flush: 0.1 ms of 0.2. Here pages and head go to the disk together, in whatever order it likes,
// and who opens the file after the machine went down finds out whether they all arrived:
//
//	whole    the pages follow from the head without a fault, the root names the transaction of the
//	         head (stampTxid), and every record up to the last number given is there with its checksum
//	not      the commit was never acknowledged: nobody was answered before the flush came back. The
//	         other head leads to the commit before it, whose pages nobody has written to since: bbolt
//	         gives pages that a commit let go to the commit after the next. It takes over.
//	         Unless the state has applied a record of it: records are applied once they are flushed,
//	         so then it had arrived, and what is not whole is damage. A stop ends with a commit of
//	         nothing, as does a probe: so there is a doubt about records only if the machine went
//	         down within milliseconds of their commit.
//
// The stamp is what a page of an older commit in the place of a newer one gives itself away by: the two
// heads take turns, and so do the pages at the right edge.
//
// kill -9 leaves no such doubt, because the page cache keeps the order; nor does the state, which
// flushes as bbolt does.

// RollBackUnfinished goes back by one commit in those inbox files of dir whose last one did not reach the
// disk whole; applied is the state's position. Only the two newest can have one: the next file is made while this one is written to.
func RollBackUnfinished(dir string, applied uint64) (taken []string, err error) {
	paths, _, err := Files(dir)
	if err != nil {
		return nil, err
	}
	for _, path := range paths[max(0, len(paths)-2):] {
		was, err := rollBackIfUnfinished(path, applied)
		if err != nil {
			return taken, fmt.Errorf("take back the last commit of %s, which did not reach the disk whole: %w", filepath.Base(path), err)
		}
		if was {
			taken = append(taken, filepath.Base(path))
		}
	}
	return taken, nil
}

func rollBackIfUnfinished(path string, applied uint64) (taken bool, err error) {
	file, err := boltpage.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	newest, older := file.Heads()
	if !newest.Valid || !older.Valid {
		return false, nil // a head is one sector, which arrives whole or not at all: this is damage
	}
	if _, whole := commitIn(file, newest); whole {
		return false, nil
	}
	before, sound := commitIn(file, older)
	if !sound || applied > before {
		return false, nil // it was not the last commit's end that did this
	}
	return true, boltpage.RollBack(path, newest.Txid)
}

// commitIn reads everything that a head of an inbox file leads to, and reports whether all of it is as it
// was written, with the number of the last record given.
func commitIn(file *boltpage.File, m boltpage.Meta) (last uint64, whole bool) {
	if m.Pages > file.Pages() {
		return 0, false
	}
	whole = true
	next, newer := uint64(0), false
	w := boltpage.Walk{
		File: file, Meta: m, Fault: func(error) { whole = false },
		Bucket: func(path []string, sequence uint64) {
			switch path[0] {
			case string(boltfile.BucketMeta): // a copy made by bbolt has an older head, too, that leads to the same
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
	return last, newer || whole && (next == 0 || next == last+1)
}

// saysNewer finds a format that this program does not know, whose commits are not its to judge.
func saysNewer(meta []boltpage.Element) bool {
	return slices.ContainsFunc(meta, func(e boltpage.Element) bool {
		return bytes.Equal(e.Key, boltfile.MetaFormat) && len(e.Value) == 4 && binary.BigEndian.Uint32(e.Value) > boltfile.Format
	})
}

// chunkHolds reports whether an element is the chunk that comes next, with its records' checksums right;
// 0 stands for not known.
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
