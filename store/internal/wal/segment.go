package wal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/wire"
)

// A segment is one file of the inbox. Its bucket records maps the number of a chunk's first record to
// the chunk: consecutive records, each preceded by its length. Keys only ever grow, so a commit
// touches the right edge of the tree and nothing else, whatever else is stored.
//
//	records: 8-byte number -> ( uvarint length | frame )*
//
// A segment is removed whole, by unlink, so it never has free pages to manage.
type Segment struct {
	number       uint64
	Path         string
	info         fs.FileInfo // of the file that db is
	DB           *bolt.DB
	First        uint64 // number of the first record; 0 while empty
	Last         uint64 // number of the last record; 0 while empty
	LastAssigned uint64 // the highest number given to a record; beyond last only after damage
	newest       int64  // receipt of the newest chunk, ns

	records Records

	used         int64  // bytes of the file that bbolt has given out; belongs to the turn, as do the next two
	txid         uint64 // of the last commit
	unsyncedTxid uint64 // the commit whose flush failed, which is to be taken back; 0: none
	runway       preallocation
}

var BucketRecords = []byte("records")

const (
	// segmentBytes is when a segment has enough and the next one takes over.
	SegmentBytes = 256 << 20

	// chunkBytes bounds a chunk. A chunk shares its leaf page with its neighbour, which the next commit
	// writes again, so larger ones cost bytes and smaller ones cost tree work.
	ChunkBytes = 16 << 10

	// segmentMmap leaves room for the largest single Append behind segmentBytes.
	Mmap = 2 * SegmentBytes

	// maxSegment is the highest number of a segment: a name with a higher one is somebody else's, and could leave
	// none for the next.
	maxSegment = 1<<40 - 1
)

// Path is where segment number lies in dir.
func Path(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("inbox-%08d.db", number))
}

// Number is the number of a file of the inbox, 0 when path has not exactly the name of one: a copy that
// somebody made beside it is none.
func Number(path string) (number uint64) {
	_, err := fmt.Sscanf(filepath.Base(path), "inbox-%d.db", &number)
	if err != nil || number > maxSegment || filepath.Base(Path("", number)) != filepath.Base(path) {
		return 0
	}
	return number
}

// Files lists the files of the inbox in dir, oldest first, and what is called like one and is none.
func Files(dir string) (paths, strays []string, err error) {
	names, err := boltfile.Named(dir, "inbox-*.db")
	for _, path := range names {
		info, failed := os.Stat(path)
		switch {
		case failed == nil && info.Mode().IsRegular() && Number(path) > 0:
			paths = append(paths, path)
		case errors.Is(failed, fs.ErrNotExist) && !boltfile.IsLink(path): // removed a moment ago
		case failed != nil && Number(path) > 0:
			return nil, nil, fmt.Errorf("look at %s: %w", filepath.Base(path), failed)
		default:
			strays = append(strays, filepath.Base(path))
		}
	}
	slices.SortFunc(paths, func(a, b string) int { return cmp.Compare(Number(a), Number(b)) })
	return paths, strays, err
}

// createSegment makes an empty segment that survives power loss.
func createSegment(dir string, number uint64, epoch uint32, records Records) (*Segment, error) {
	path := Path(dir, number)
	err := boltfile.Create(path, func(db *bolt.DB) error {
		if err := boltfile.Init(db, epoch, BucketRecords); err != nil {
			return err // on a full disk: then there is no bucket to stamp
		}
		return db.Update(StampTxid)
	})
	if err != nil {
		return nil, err
	}
	db, err := OpenFile(path, false)
	if err != nil {
		return nil, err
	}
	s := &Segment{number: number, Path: path, DB: db, records: records}
	if s.info, err = os.Stat(path); err != nil {
		db.Close()
		return nil, err
	}
	return s, nil
}

// OpenSegment opens an existing file and reads how far it goes.
func OpenSegment(path string, readOnly bool, records Records) (*Segment, uint32, error) {
	number := Number(path)
	if number == 0 {
		return nil, 0, fmt.Errorf("%s: not the name of an inbox file", filepath.Base(path))
	}
	db, err := OpenFile(path, readOnly)
	if err != nil {
		return nil, 0, err
	}
	var epoch uint32
	if err := boltfile.Guard(func() (err error) { epoch, err = boltfile.Epoch(db); return err }); err != nil {
		db.Close()
		return nil, 0, err
	}
	s := &Segment{number: number, Path: path, DB: db, records: records}
	if s.info, err = os.Stat(path); err == nil {
		err = boltfile.Guard(s.bounds)
	}
	if err != nil {
		db.Close()
		return nil, 0, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	return s, epoch, nil
}

func (s *Segment) bounds() error {
	return s.DB.View(func(tx *bolt.Tx) error {
		s.used = tx.Size()
		c := tx.Bucket(BucketRecords).Cursor()
		s.LastAssigned = tx.Bucket(BucketRecords).Sequence()
		k, _ := c.First()
		if k == nil {
			return nil
		}
		s.First = binary.BigEndian.Uint64(k)
		k, chunk := c.Last()
		s.Last = binary.BigEndian.Uint64(k) - 1
		frames := Frames{Rest: chunk}
		for frames.Next() {
			s.Last++
			s.newest = s.records.Received(frames.Frame, s.newest)
		}
		return frames.Err
	})
}

// write puts the records of one group commit behind the last, and returns when they are on disk.
// buf is memory for the chunks; what it became is returned, to be used again after the commit.
func (s *Segment) write(first uint64, group []*appendRequest, buf []byte) ([]byte, error) {
	chunks := chunkGroup(first, group, buf[:0])
	s.runway.reserve(s, len(chunks.buf))
	err := s.DB.Update(func(tx *bolt.Tx) error {
		s.used, s.txid = tx.Size(), uint64(tx.ID())
		b := tx.Bucket(BucketRecords)
		b.FillPercent = 1 // keys only grow: full pages are never split again
		for _, c := range chunks.list {
			if err := b.Put(binary.BigEndian.AppendUint64(nil, c.first), chunks.buf[c.start:c.end]); err != nil {
				return err
			}
		}
		// On a page that is written anyway: a lost right edge is known.
		return errors.Join(b.SetSequence(chunks.last), StampTxid(tx))
	})
	if err != nil {
		s.readMeta()
		return chunks.buf, err
	}
	return chunks.buf, s.flush()
}

// chunks is a group's records cut into chunks, one behind the other in one buffer.
type chunks struct {
	buf  []byte
	list []chunk
	last uint64 // number of the last record
}

type chunk struct {
	first      uint64
	start, end int
}

func chunkGroup(seq uint64, group []*appendRequest, buf []byte) chunks {
	c := chunks{buf: buf}
	open := chunk{first: seq}
	for _, req := range group {
		for _, frame := range req.frames {
			if size := len(c.buf) - open.start; size > 0 && size+len(frame) > ChunkBytes {
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

// A Record is a frame with its number.
type Record struct {
	Seq   uint64
	Frame []byte
}

// read copies records from number from to s.last, at most about maxBytes of them but at least one. What
// is behind s.last is not on disk yet.
func (s *Segment) read(from uint64, maxBytes int) (records []Record, err error) {
	err = s.DB.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(BucketRecords).Cursor()
		k, chunk := seekChunk(c, from)
		size := 0
		for ; k != nil && size < maxBytes && binary.BigEndian.Uint64(k) <= s.Last; k, chunk = c.Next() {
			frames := Frames{Rest: append([]byte(nil), chunk...)}
			for seq := binary.BigEndian.Uint64(k); frames.Next(); seq++ {
				if seq >= from && seq <= s.Last {
					records = append(records, Record{seq, frames.Frame})
					size += s.records.Weigh(frames.Frame)
				}
			}
			if frames.Err != nil {
				return frames.Err
			}
		}
		return nil
	})
	return records, err
}

// seekChunk places c on the chunk that holds record seq, or behind the last.
func seekChunk(c *bolt.Cursor, seq uint64) (k, chunk []byte) {
	want := binary.BigEndian.AppendUint64(nil, seq)
	k, chunk = c.Seek(want)
	if k != nil && binary.BigEndian.Uint64(k) == seq {
		return k, chunk
	}
	if k == nil {
		return c.Last()
	}
	if k, chunk = c.Prev(); k == nil {
		return c.First()
	}
	return k, chunk
}

// Frames walks a chunk, which begins as Rest.
type Frames struct {
	Rest  []byte
	Frame []byte
	Err   error
}

// Next moves on to the next frame. It returns false at the end of the chunk, and at a frame that is cut short: then Err is set.
func (f *Frames) Next() bool {
	if len(f.Rest) == 0 || f.Err != nil {
		return false
	}
	r := wire.NewReader(f.Rest)
	f.Frame = r.Bytes()
	f.Rest = r.Rest()
	if !r.OK() {
		f.Err = wire.ErrDamaged
	}
	return r.OK()
}

// StampTxid puts the number of the transaction on the page of the root, as the sequence of bucket meta.
func StampTxid(tx *bolt.Tx) error {
	return tx.Bucket(boltfile.BucketMeta).SetSequence(uint64(tx.ID()))
}

// flush waits until the last commit is on disk. One whose flush failed is taken back before the next:
// after an error the kernel may forget pages that it could not write and call the next flush a success.
func (s *Segment) flush() error {
	if err := s.DB.Sync(); err != nil {
		s.unsyncedTxid = s.txid
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// seeHead looks whether a commit that failed put its head into the file all the same: the disk took it
// and did not confirm it. Such a commit is taken back like one whose flush failed.
func (s *Segment) readMeta() {
	_ = s.DB.View(func(tx *bolt.Tx) error {
		if uint64(tx.ID()) == s.txid {
			s.unsyncedTxid = s.txid
		}
		return nil
	})
}

// withdraw takes back the commit whose flush failed. Nobody may be reading the segment.
func (s *Segment) rollBackTail() error {
	err := boltfile.IsStill(s.Path, s.info)
	if err == nil {
		err = errors.Join(s.DB.Close(), boltpage.RollBack(s.Path, s.unsyncedTxid))
	}
	if err != nil {
		return fmt.Errorf("take back a commit that was not flushed: %w", err)
	}
	db, err := OpenFile(s.Path, false)
	if err != nil {
		return err
	}
	s.DB, s.unsyncedTxid = db, 0
	return nil
}

// OpenFile opens an inbox file; who writes to it flushes by segment.flush.
func OpenFile(path string, readOnly bool) (*bolt.DB, error) {
	db, err := boltfile.Open(path, Mmap, readOnly)
	if err == nil {
		db.NoSync = !readOnly
	}
	return db, err
}

// Records says what the log must know of the records that it keeps.
type Records struct {
	Weigh    func(frame []byte) int              // its size as far as applying it goes
	Received func(frame []byte, was int64) int64 // its receipt, ns; was if it has none
}

// freeNumber is the first number from number on whose name nobody has taken: a file that is put in place would
// destroy what is there.
func freeNumber(dir string, number uint64) uint64 {
	for {
		if _, err := os.Lstat(Path(dir, number)); err != nil {
			return number
		}
		number++
	}
}

// hasName reports whether the name of a segment leads to its file.
func (s *Segment) hasName() bool { return boltfile.IsStill(s.Path, s.info) == nil }
