package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"personasync/store/engine"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/wire"
)

// A Segment is one file of the inbox. Its bucket records maps the number of a chunk's first record to the chunk:
// consecutive records, each preceded by its length. Keys only grow, so a commit touches the right edge of the tree and
// nothing else, whatever else is stored.
//
//	records: 8-byte number -> ( uvarint length | frame )*
//
// A segment is removed whole, by unlink, so it never has free pages to manage.
type Segment struct {
	number  uint64
	path    string
	epoch   uint32 // of the store
	records Records
	info    fs.FileInfo // of the file that db has open
	db      *bolt.DB

	// The bounds. In the newest segment of a log they change with each commit; Log.mu covers them.
	first        uint64 // number of the first record; 0 while empty
	last         uint64 // number of the last record; 0 while empty
	lastAssigned uint64 // highest number assigned to a record when it was opened; beyond last only after damage
	newest       int64  // receipt of the newest record, ns

	// Of the newest segment; under the commit lock.
	used         int64  // bytes of the file that bbolt has assigned
	txid         uint64 // of the last commit
	unsyncedTxid uint64 // the commit whose flush failed and that is to be rolled back; 0: none
	ahead        preallocation
}

// Records tells the log about the records that it keeps and cannot read.
type Records struct {
	Weigh    func(frame []byte) int              // cost of applying it, in bytes of an ordinary event
	Received func(frame []byte, was int64) int64 // time of its receipt, ns; was if it has none
	Check    func(frame []byte) error            // nil, wire.ErrNewer or wire.ErrDamaged
	Lost     []byte                              // frame that stands in for a record that damage took
}

// An Extent is how far the records of a segment go.
type Extent struct {
	Epoch        uint32 // of the store it belongs to
	First, Last  uint64 // numbers of the first and the last record; 0 without any
	LastAssigned uint64 // highest number assigned to a record; beyond Last only after damage
}

// A Range is a run of record numbers.
type Range struct{ First, Last uint64 }

// ErrTrimmed means that the log removed a segment while it was being read.
var ErrTrimmed = errors.New("the inbox file was removed meanwhile, because its records are applied")

var bucketRecords = []byte("records")

// Buckets are the names of the buckets in a segment.
var Buckets = [][]byte{boltfile.BucketMeta, bucketRecords}

const (
	// SegmentBytes is the usual size at which a segment gives way to the next.
	SegmentBytes = 256 << 20

	// segmentMmap leaves room for the largest single Append behind SegmentBytes.
	segmentMmap = 2 * SegmentBytes
)

// createSegment creates an empty segment that survives power loss.
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
	s := &Segment{number: number, path: path, epoch: epoch, db: db, records: records}
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

// openFile opens the file of a segment. Segment.write flushes it once a commit.
func openFile(path string, readOnly bool) (*bolt.DB, error) {
	db, err := boltfile.Open(path, segmentMmap, readOnly)
	if err == nil {
		db.NoSync = !readOnly
	}
	return db, err
}

func (s *Segment) readHead(epoch uint32) (err error) {
	if err := boltfile.Guard(func() (err error) { s.epoch, err = boltfile.Epoch(s.db); return err }); err != nil {
		return err
	}
	if epoch != 0 && s.epoch != epoch {
		return foreignEpoch(s.path, s.epoch, epoch)
	}
	if s.info, err = os.Stat(s.path); err == nil {
		err = boltfile.Guard(s.readBounds)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(s.path), err)
	}
	return nil
}

// foreignEpoch returns the error about the segment at path, whose epoch is not that of the state.
func foreignEpoch(path string, its, ours uint32) error {
	return fmt.Errorf("%w: %s is of another store than %s (epochs %08x and %08x): move the one that was put here out of %s, or restore both from a backup with `personasync db restore FILE`",
		boltfile.ErrForeign, filepath.Base(path), boltfile.StateFile, its, ours, filepath.Dir(path))
}

func (s *Segment) readBounds() error {
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
		}
		s.readNewest(c)
		return frames.Err
	})
}

// readNewest reads the receipt of the newest record that has one. Orders and blanked records, which have none, may fill the
// last chunks.
func (s *Segment) readNewest(c *bolt.Cursor) {
	if s.records.Received == nil {
		return
	}
	for _, chunk := c.Last(); chunk != nil && s.newest == 0; _, chunk = c.Prev() {
		frames := wire.Frames{Rest: chunk}
		for frames.Next() {
			s.newest = s.records.Received(frames.Frame, s.newest)
		}
	}
}

// Close closes a segment that OpenSegment opened.
func (s *Segment) Close() error { return s.db.Close() }

// Path returns the path of the file.
func (s *Segment) Path() string { return s.path }

// Extent returns how far the segment goes. The caller makes sure that no log writes to it meanwhile.
func (s *Segment) Extent() Extent { return Extent{s.epoch, s.first, s.last, s.lastAssigned} }

// hasName reports whether the name of a segment leads to its file.
func (s *Segment) hasName() bool { return boltfile.IsStill(s.path, s.info) == nil }

// ReadExtent reads the extent of the segment at path. No log may have it open to write.
func ReadExtent(path string) (Extent, error) {
	s, err := OpenSegment(path, 0)
	if err != nil {
		return Extent{}, err
	}
	return s.Extent(), s.Close()
}

// ReadRuns returns the runs of consecutive numbers that the records of the segment at path have, in order.
func ReadRuns(path string) (runs []Range, err error) {
	s, err := OpenSegment(path, 0)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	err = boltfile.Guard(func() error {
		_, err := s.Chunks(func(key, chunk []byte, _ uint64) error {
			frames, _ := wire.SplitFrames(chunk)
			first, n := numberOf(key), uint64(len(frames))
			switch last := len(runs) - 1; {
			case n == 0:
			case last >= 0 && first == runs[last].Last+1:
				runs[last].Last += n
			default:
				runs = append(runs, Range{first, first + n - 1})
			}
			return nil
		})
		return err
	})
	return runs, err
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

func ifTrimmed(err error) error {
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return ErrTrimmed
	}
	return err
}

// read copies records from number from to s.last, about maxBytes of them but at least one. A record behind s.last is
// not on disk yet.
func (s *Segment) read(from uint64, maxBytes int) (records []engine.Record, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketRecords).Cursor()
		k, chunk := seekChunk(c, from)
		size := 0
		for ; k != nil && size < maxBytes && binary.BigEndian.Uint64(k) <= s.last; k, chunk = c.Next() {
			frames := wire.Frames{Rest: append([]byte(nil), chunk...)}
			for seq := binary.BigEndian.Uint64(k); frames.Next(); seq++ {
				if seq >= from && seq <= s.last {
					records = append(records, engine.Record{Seq: seq, Frame: frames.Frame})
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
	k, chunk = c.Seek(keyOf(seq))
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

// keyOf returns the key of the chunk that begins with record n. Keys sort by number.
func keyOf(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// numberOf returns the number that a key says, 0 if it is none.
func numberOf(key []byte) uint64 {
	if len(key) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(key)
}
