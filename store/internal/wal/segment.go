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
	berrors "go.etcd.io/bbolt/errors"

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
	path         string
	epoch        uint32
	info         fs.FileInfo // of the file that db has open
	db           *bolt.DB
	first        uint64 // number of the first record; 0 while empty
	last         uint64 // number of the last record; 0 while empty
	lastAssigned uint64 // highest number assigned to a record; beyond last only after damage
	newest       int64  // receipt of the newest chunk, ns

	records Records

	used         int64  // bytes of the file that bbolt has given out; belongs to the turn, as do the next two
	txid         uint64 // of the last commit
	unsyncedTxid uint64 // the commit whose flush failed, which is to be taken back; 0: none
	runway       preallocation
}

var bucketRecords = []byte("records")

// Buckets are the names of the buckets in a segment.
var Buckets = [][]byte{boltfile.BucketMeta, bucketRecords}

// keyOf returns the key of the chunk that begins with record n. Keys sort by number.
func keyOf(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// numberOf returns the number that a key says, 0 if it is none.
func numberOf(key []byte) uint64 {
	if len(key) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(key)
}

const (
	// segmentBytes is when a segment has enough and the next one takes over.
	SegmentBytes = 256 << 20

	// chunkBytes bounds a chunk. A chunk shares its leaf page with its neighbour, which the next commit
	// writes again, so larger ones cost bytes and smaller ones cost tree work.
	chunkBytes = 16 << 10

	// segmentMmap leaves room for the largest single Append behind segmentBytes.
	segmentMmap = 2 * SegmentBytes

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
		if err := boltfile.Init(db, epoch, bucketRecords); err != nil {
			return err // on a full disk: then there is no bucket to stamp
		}
		return db.Update(stampTxid)
	})
	if err != nil {
		return nil, err
	}
	db, err := openFile(path, false)
	if err != nil {
		return nil, err
	}
	s := &Segment{number: number, path: path, db: db, epoch: epoch, records: records}
	if s.info, err = os.Stat(path); err != nil {
		db.Close()
		return nil, err
	}
	return s, nil
}

// OpenSegment opens the segment at path to read it. It returns ErrForeign if its epoch is not epoch; 0 stands for any.
func OpenSegment(path string, epoch uint32) (*Segment, error) {
	return openSegment(path, epoch, true, Records{})
}

// openSegment opens an existing segment and reads how far it goes.
func openSegment(path string, epoch uint32, readOnly bool, records Records) (*Segment, error) {
	s := &Segment{number: Number(path), path: path, records: records}
	if s.number == 0 {
		return nil, fmt.Errorf("%s: not the name of an inbox file", filepath.Base(path))
	}
	var err error
	if s.db, err = openFile(path, readOnly); err != nil {
		return nil, err
	}
	if err := s.readHead(epoch); err != nil {
		s.db.Close()
		return nil, err
	}
	return s, nil
}

func (s *Segment) readHead(epoch uint32) (err error) {
	if err := boltfile.Guard(func() (err error) { s.epoch, err = boltfile.Epoch(s.db); return err }); err != nil {
		return err
	}
	if epoch != 0 && s.epoch != epoch {
		return foreignEpoch(s.path, s.epoch, epoch)
	}
	if s.info, err = os.Stat(s.path); err == nil {
		err = boltfile.Guard(s.bounds)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(s.path), err)
	}
	return nil
}

// foreignEpoch is the error about the file at path, whose epoch is not that of the state.
func foreignEpoch(path string, its, ours uint32) error {
	return fmt.Errorf("%w: %s is of another store than %s (epochs %08x and %08x): move the one that was put here out of %s, or restore both from a backup with `personasync db restore FILE`",
		boltfile.ErrForeign, filepath.Base(path), boltfile.StateFile, its, ours, filepath.Dir(path))
}

// Close closes a segment that OpenSegment opened.
func (s *Segment) Close() error { return s.db.Close() }

// Extent returns how far the segment goes. The caller makes sure that no log writes to it meanwhile.
func (s *Segment) Extent() Extent { return Extent{s.epoch, s.first, s.last, s.lastAssigned} }

// Path returns the path of the file.
func (s *Segment) Path() string { return s.path }

func (s *Segment) bounds() error {
	return s.db.View(func(tx *bolt.Tx) error {
		s.used = tx.Size()
		c := tx.Bucket(bucketRecords).Cursor()
		s.lastAssigned = tx.Bucket(bucketRecords).Sequence()
		k, _ := c.First()
		if k == nil {
			return nil
		}
		s.first = binary.BigEndian.Uint64(k)
		k, chunk := c.Last()
		s.last = binary.BigEndian.Uint64(k) - 1
		frames := wire.Frames{Rest: chunk}
		for frames.Next() {
			s.last++
			if s.records.Received != nil {
				s.newest = s.records.Received(frames.Frame, s.newest)
			}
		}
		return frames.Err
	})
}

// Chunks calls visit for each chunk, in order, all as of one moment. It does not judge keys and chunks: a damaged key
// may be no number. assigned is the last number assigned in the segment, which Chunks also returns. It returns ErrTrimmed
// for a segment of a log that trimmed it.
func (s *Segment) Chunks(visit func(key, chunk []byte, assigned uint64) error) (assigned uint64, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketRecords)
		assigned = b.Sequence()
		return b.ForEach(func(k, v []byte) error { return visit(k, v, assigned) })
	})
	return assigned, ifTrimmed(err)
}

// ErrTrimmed means that the log removed a segment while it was being read.
var ErrTrimmed = errors.New("the inbox file was removed meanwhile, because its records are applied")

func ifTrimmed(err error) error {
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return ErrTrimmed
	}
	return err
}

// write puts the records of one group commit behind the last, and returns when they are on disk.
// buf is memory for the chunks; what it became is returned, to be used again after the commit.
func (s *Segment) write(first uint64, group []*appendRequest, buf []byte) ([]byte, error) {
	chunks := chunkGroup(first, group, buf[:0])
	s.runway.reserve(s, len(chunks.buf))
	err := s.db.Update(func(tx *bolt.Tx) error {
		s.used, s.txid = tx.Size(), uint64(tx.ID())
		b := tx.Bucket(bucketRecords)
		b.FillPercent = 1 // keys only grow: full pages are never split again
		for _, c := range chunks.list {
			if err := b.Put(binary.BigEndian.AppendUint64(nil, c.first), chunks.buf[c.start:c.end]); err != nil {
				return err
			}
		}
		// On a page that is written anyway: a lost right edge is known.
		return errors.Join(b.SetSequence(chunks.last), stampTxid(tx))
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

// A Record is a frame with its number.
type Record struct {
	Seq   uint64
	Frame []byte
}

// read copies records from number from to s.last, at most about maxBytes of them but at least one. What
// is behind s.last is not on disk yet.
func (s *Segment) read(from uint64, maxBytes int) (records []Record, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketRecords).Cursor()
		k, chunk := seekChunk(c, from)
		size := 0
		for ; k != nil && size < maxBytes && binary.BigEndian.Uint64(k) <= s.last; k, chunk = c.Next() {
			frames := wire.Frames{Rest: append([]byte(nil), chunk...)}
			for seq := binary.BigEndian.Uint64(k); frames.Next(); seq++ {
				if seq >= from && seq <= s.last {
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

// stampTxid puts the number of the transaction on the page of the root, as the sequence of bucket meta.
func stampTxid(tx *bolt.Tx) error {
	return tx.Bucket(boltfile.BucketMeta).SetSequence(uint64(tx.ID()))
}

// flush waits until the last commit is on disk. One whose flush failed is taken back before the next:
// after an error the kernel may forget pages that it could not write and call the next flush a success.
func (s *Segment) flush() error {
	if err := s.db.Sync(); err != nil {
		s.unsyncedTxid = s.txid
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// seeHead looks whether a commit that failed put its head into the file all the same: the disk took it
// and did not confirm it. Such a commit is taken back like one whose flush failed.
func (s *Segment) readMeta() {
	_ = s.db.View(func(tx *bolt.Tx) error {
		if uint64(tx.ID()) == s.txid {
			s.unsyncedTxid = s.txid
		}
		return nil
	})
}

// withdraw takes back the commit whose flush failed. Nobody may be reading the segment.
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

// OpenFile opens an inbox file; who writes to it flushes by segment.flush.
func openFile(path string, readOnly bool) (*bolt.DB, error) {
	db, err := boltfile.Open(path, segmentMmap, readOnly)
	if err == nil {
		db.NoSync = !readOnly
	}
	return db, err
}

// Records tells the log about the records that it keeps and cannot read.
type Records struct {
	Weigh    func(frame []byte) int              // cost of applying it, in bytes of an ordinary event
	Received func(frame []byte, was int64) int64 // time of its receipt, ns; was if it has none
	Check    func(frame []byte) error            // nil, wire.ErrNewer or wire.ErrDamaged
	Lost     []byte                              // frame that stands in for a record that damage took
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
func (s *Segment) hasName() bool { return boltfile.IsStill(s.path, s.info) == nil }
