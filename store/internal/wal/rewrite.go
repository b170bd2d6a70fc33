package wal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"slices"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/wire"
)

// rewriteSlice is how many bytes of a segment one transaction copies.
const rewriteSlice = 4 << 20

// Rewrite replaces records of all segments but the newest. It passes the frames of each chunk to edit, which replaces
// elements and returns how many; edit is called at least twice for each chunk that it changes, and must decide the same
// way. A segment without a change stays as it is. Any other is rewritten and exchanged in one rename, so nothing of
// the old records stays in the file. Rewrite skips a chunk whose frames are damaged, and a segment that is trimmed
// meanwhile.
//
// Appending, reading and trimming go on meanwhile. Only one Rewrite may run at a time.
func (in *Log) Rewrite(ctx context.Context, edit func(frames [][]byte) (edited uint64, err error)) (edited uint64, err error) {
	r := &rewriting{log: in, ctx: ctx, edit: edit}
	segments := in.Segments()
	for _, s := range segments[:len(segments)-1] {
		n, err := r.segment(s)
		if err != nil && !errors.Is(err, ErrTrimmed) {
			return edited, err
		}
		edited += n
	}
	return edited, nil
}

// rewriting is one Rewrite.
type rewriting struct {
	log  *Log
	ctx  context.Context
	edit func(frames [][]byte) (edited uint64, err error)
}

func (r *rewriting) segment(s *Segment) (edited uint64, err error) {
	if edited, err = r.chunks(s, nil); err != nil || edited == 0 {
		return 0, err
	}
	temporary := boltfile.NewPath(s.path)
	err = boltfile.Fill(temporary, func(db *bolt.DB) error {
		if err := boltfile.Init(db, s.epoch, bucketRecords); err != nil {
			return err
		}
		if _, err := r.chunks(s, db); err != nil {
			return err
		}
		return db.Update(func(tx *bolt.Tx) error { // the last commit, as Segment.write leaves it
			return errors.Join(tx.Bucket(bucketRecords).SetSequence(max(s.lastAssigned, s.last)), stampTxid(tx))
		})
	})
	if err != nil {
		return 0, err
	}
	db, err := openFile(temporary, false)
	if err != nil {
		return 0, errors.Join(err, os.Remove(temporary))
	}
	if err := r.log.exchange(s, db, temporary); err != nil {
		return 0, err
	}
	return edited, boltfile.SyncDir(r.log.dir)
}

// chunks passes every chunk of s to edit and counts the changes. It writes the result to the file to, unless that is nil.
func (r *rewriting) chunks(s *Segment, to *bolt.DB) (edited uint64, err error) {
	for from, more := uint64(0), true; more; {
		if err := r.ctx.Err(); err != nil {
			return edited, context.Cause(r.ctx)
		}
		var list []keyedChunk
		if list, more, err = r.log.readChunks(s, from, rewriteSlice); err != nil {
			return edited, err
		}
		for i := range list {
			n, err := list[i].edit(r.edit)
			if err != nil {
				return edited, err
			}
			edited += n
			from = list[i].first + 1
		}
		if to == nil {
			continue
		}
		if err := putChunks(to, list); err != nil {
			return edited, err
		}
	}
	return edited, nil
}

// keyedChunk is a copy of a chunk.
type keyedChunk struct {
	first uint64
	bytes []byte
}

func (c *keyedChunk) edit(edit func([][]byte) (uint64, error)) (edited uint64, err error) {
	frames, whole := wire.SplitFrames(c.bytes)
	if !whole {
		return 0, nil
	}
	if edited, err = edit(frames); edited > 0 {
		c.bytes = wire.JoinFrames(frames)
	}
	return edited, err
}

func putChunks(to *bolt.DB, list []keyedChunk) error {
	return to.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketRecords)
		b.FillPercent = 1
		for _, c := range list {
			if err := b.Put(keyOf(c.first), c.bytes); err != nil {
				return err
			}
		}
		return nil
	})
}

// readChunks copies chunks of s from record number from on, about maxBytes of them. more says that others follow.
func (in *Log) readChunks(s *Segment, from uint64, maxBytes int) (list []keyedChunk, more bool, err error) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	err = s.db.View(func(tx *bolt.Tx) error {
		size := 0
		c := tx.Bucket(bucketRecords).Cursor()
		for k, v := c.Seek(keyOf(from)); k != nil; k, v = c.Next() {
			if more = size >= maxBytes; more {
				return nil
			}
			if len(k) != 8 {
				return wire.ErrDamaged
			}
			list = append(list, keyedChunk{binary.BigEndian.Uint64(k), bytes.Clone(v)})
			size += len(v)
		}
		return nil
	})
	return list, more, ifTrimmed(err)
}

// exchange puts the file at path, which db has open, in the place of a segment, unless the segment was trimmed
// meanwhile.
func (in *Log) exchange(s *Segment, db *bolt.DB, path string) (err error) {
	if in.hooks.Naming != nil {
		in.hooks.Naming.Lock()
		defer in.hooks.Naming.Unlock()
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	info, err := os.Stat(path)
	if err == nil && slices.Contains(in.segments, s) {
		if err = boltfile.IsStill(s.path, s.info); err == nil {
			err = os.Rename(path, s.path)
		}
		if err == nil {
			s.info, s.db, db = info, db, s.db
			return db.Close()
		}
	}
	return errors.Join(err, db.Close(), os.Remove(path))
}
