package wal

import (
	"fmt"
	"os"

	"personasync/store/internal/boltfile"
)

// A preallocation is the part of a segment's file that is written with zeros ahead of its use. A commit that
// overwrites blocks waits for its bytes alone; one that makes the file system allocate blocks waits for
// the journal too. Measured on ext4: 0.20 ms a write and fdatasync into new blocks, 0.10 ms into
// written ones, 0.25 ms and more into blocks that fallocate only reserved.
//
// Whoever has the turn lays it, between two transactions, and only behind the end of the file, where
// bbolt has nothing: so nothing that counts is ever overwritten.
type preallocation struct {
	file *os.File // the segment's, opened once more; nil until the first is laid
	end  int64    // of the file
	off  bool     // the file system refused: commits go on without
}

const (
	// preallocateBytes is laid at a time: what a full group of single events takes many commits to use.
	preallocateBytes = 1 << 20

	// preallocateGroup is the largest group that has one: the bytes of larger ones cost more than the journal,
	// and would be written twice.
	preallocateGroup = 256 << 10
)

var zeros = make([]byte, preallocateBytes)

// lay makes sure that a transaction of about size bytes behind used finds written blocks. The zeros
// reach the disk with that transaction's own fdatasync.
func (r *preallocation) reserve(s *Segment, size int) {
	if r.off || size > preallocateGroup {
		return
	}
	if need := s.used + 2*int64(size) + 64<<10; need < r.end {
		return
	}
	if err := r.extend(s); err != nil {
		r.close()
		r.off = true // the transaction itself will say what is wrong, if anything is
	}
}

func (r *preallocation) extend(s *Segment) (err error) {
	if r.file == nil {
		if r.file, err = os.OpenFile(s.path, os.O_WRONLY, 0); err != nil {
			return fmt.Errorf("lay a runway: %w", err)
		}
	}
	info, err := r.file.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(info, s.info) {
		return fmt.Errorf("lay a runway: %w", boltfile.ErrMoved)
	}
	if r.end = info.Size(); r.end >= 2*SegmentBytes {
		return nil
	}
	n, err := r.file.WriteAt(zeros, r.end)
	r.end += int64(n)
	return err
}

func (r *preallocation) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}
