package wal

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/groupcommit"
	"personasync/store/internal/wire"
)

// chunkBytes limits a chunk. A chunk shares its leaf page with its neighbour, which the next commit writes again. So
// larger chunks cost bytes, and smaller ones cost tree work.
const chunkBytes = 16 << 10

// write appends the records of one group commit, and returns when they are on disk. buf is memory for the chunks. It
// returns what buf became, to be used again after the commit.
func (s *Segment) write(first uint64, group groupcommit.Group, buf []byte) ([]byte, error) {
	chunks := chunkGroup(first, group, buf[:0])
	s.ahead.reserve(s.path, s.info, s.used, len(chunks.buf))
	err := s.db.Update(func(tx *bolt.Tx) error {
		s.used, s.txid = tx.Size(), uint64(tx.ID())
		b := tx.Bucket(bucketRecords)
		b.FillPercent = 1 // keys only grow: full pages are never split again
		for _, c := range chunks.list {
			if err := b.Put(keyOf(c.first), chunks.buf[c.start:c.end]); err != nil {
				return err
			}
		}
		// The sequence is on a page that is written anyway. It shows when the right edge of the tree is lost.
		return errors.Join(b.SetSequence(chunks.last), stampTxid(tx))
	})
	if err != nil {
		s.readMeta()
		return chunks.buf, err
	}
	return chunks.buf, s.flush()
}

// chunks are the records of a group cut into chunks, one behind the other in one buffer.
type chunks struct {
	buf  []byte
	list []chunk
	last uint64 // number of the last record
}

type chunk struct {
	first      uint64
	start, end int
}

func chunkGroup(seq uint64, group groupcommit.Group, buf []byte) chunks {
	c := chunks{buf: buf}
	open := chunk{first: seq}
	for _, req := range group {
		for _, frame := range req.Frames {
			if size := len(c.buf) - open.start; size > 0 && size+len(frame) > chunkBytes {
				open.end = len(c.buf)
				c.list = append(c.list, open)
				open = chunk{first: seq, start: open.end}
			}
			c.buf = wire.AppendBytes(c.buf, frame)
			seq++
		}
	}
	open.end = len(c.buf)
	if open.end > open.start {
		c.list = append(c.list, open)
	}
	c.last = seq - 1
	return c
}

// stampTxid puts the number of the transaction on the root page, as the sequence of bucket meta. See tail.go.
func stampTxid(tx *bolt.Tx) error {
	return tx.Bucket(boltfile.BucketMeta).SetSequence(uint64(tx.ID()))
}

// flush waits until the last commit is on disk. One whose flush failed is rolled back before the next: after an error
// the kernel may forget pages that it could not write, and call the next flush a success.
func (s *Segment) flush() error {
	if err := s.db.Sync(); err != nil {
		s.unsyncedTxid = s.txid
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// readMeta checks whether a commit that failed put its meta page into the file all the same, because the disk wrote it
// and did not confirm it. Such a commit is rolled back like one whose flush failed.
func (s *Segment) readMeta() {
	_ = s.db.View(func(tx *bolt.Tx) error {
		if uint64(tx.ID()) == s.txid {
			s.unsyncedTxid = s.txid
		}
		return nil
	})
}

// rollBackTail rolls back the commit whose flush failed. No goroutine may be reading the segment.
func (s *Segment) rollBackTail() error {
	err := boltfile.IsStill(s.path, s.info)
	if err == nil {
		err = errors.Join(s.db.Close(), boltpage.RollBack(s.path, s.unsyncedTxid))
	}
	if err != nil {
		return fmt.Errorf("take back a commit that was not flushed: %w", err)
	}
	db, err := openFile(s.path, false)
	if err != nil {
		return err
	}
	s.db, s.unsyncedTxid = db, 0
	return nil
}
