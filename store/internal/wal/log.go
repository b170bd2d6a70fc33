package wal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/wire"
)

// A Log is the chain of segments that received records go through, in order. It commits in groups: the goroutine
// that holds the turn takes every queued request, writes all of them in one transaction, and answers their callers.
// There is no timer. A lone sender finds the turn free and commits by itself, without waking another goroutine.
// Under load the commit in progress gathers the next group, and the committer keeps the turn while requests are queued.
type Log struct {
	dir      string
	Epoch    uint32       // of the store
	MaxBytes atomic.Int64 // bytes after which a segment gives way to the next; SegmentBytes at first

	requests chan *appendRequest
	commitMu sync.Mutex    // held while committing
	Apart    atomic.Int64  // ns from the beginning of one commit to that of the next, at least
	began    time.Time     // when the last one did; belongs to the turn
	waiting  chan struct{} // buffer of one: requests are queued and nobody has the turn
	closing  chan struct{} // closed by close; stops the committer once requests is drained
	gone     chan struct{} // closed when the committer has ended
	Written  chan struct{} // buffer of one: something new can be read
	senders  sync.RWMutex  // held for reading while sending to requests; Close takes it whole
	closed   bool          // under senders

	mu       sync.RWMutex // covers segments and their bounds
	segments []*Segment   // oldest first; the last one is written to

	Next     atomic.Uint64 // number of the next record; changes with the turn
	Commits  atomic.Uint64 // how many there were
	Finished atomic.Uint64 // transactions that came to an end, good or bad, probes included
	buf      []byte        // for chunks; belongs to the turn

	Others  atomic.Int64  // records appended by this process and not applied yet that are no events
	Ordered atomic.Uint64 // orders appended by this process, ever

	records Records
	Hooks   Hooks // set before the first Append

	prepared  chan *Segment  // the next segment, made in advance; buffer of one
	preparing atomic.Bool    // one is being made
	making    sync.WaitGroup // joins the maker
}

// Hooks are what the owner of a log is asked, or does. Each may be nil.
type Hooks struct {
	Refuse      func() error // before records are taken: why they are not
	Home        func() error // before a file is made or removed by its name: why that must not be
	Naming      sync.Locker  // held while a file takes the name of another
	AfterCommit func() error // before a commit is answered
}

func ask(hook func() error) error {
	if hook == nil {
		return nil
	}
	return hook()
}

// Open opens the chain in dir to append to it. A new one begins with record number first.
func Open(dir string, epoch uint32, first uint64, records Records) (*Log, error) {
	in := &Log{
		dir: dir, Epoch: epoch, records: records,
		requests: make(chan *appendRequest, queueLength),
		waiting:  make(chan struct{}, 1),
		closing:  make(chan struct{}),
		gone:     make(chan struct{}),
		Written:  make(chan struct{}, 1),
		prepared: make(chan *Segment, 1),
	}
	in.MaxBytes.Store(SegmentBytes)
	segments, err := openSegments(dir, epoch, false, records)
	if err != nil {
		return nil, err
	}
	if len(segments) == 0 {
		s, err := createSegment(dir, freeNumber(dir, 1), epoch, records)
		if err != nil {
			return nil, err
		}
		segments = append(segments, s)
	}
	in.segments = segments
	in.Next.Store(max(first, in.Last()+1, lastAssigned(segments)+1))
	go in.commitLoop()
	return in, nil
}

// OpenReadOnly opens the chain to read it. CloseFiles closes it.
func OpenReadOnly(dir string, epoch uint32, records Records) (*Log, error) {
	segments, err := openSegments(dir, epoch, true, records)
	if err != nil {
		return nil, err
	}
	return &Log{dir: dir, Epoch: epoch, records: records, segments: segments}, nil
}

// openSegments opens every inbox file of dir, oldest first, and checks that they belong together.
func openSegments(dir string, epoch uint32, readOnly bool, records Records) (segments []*Segment, err error) {
	defer func() {
		if err != nil {
			CloseSegments(segments)
			segments = nil
		}
	}()
	paths, _, err := Files(dir)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		s, e, err := OpenSegment(path, readOnly, records)
		if err != nil {
			return segments, err
		}
		segments = append(segments, s)
		if e != epoch {
			return segments, ForeignEpoch(path, e, epoch)
		}
		if !readOnly {
			if err := s.DB.Sync(); err != nil { // kill -9 may have come before the flush
				return segments, fmt.Errorf("flush %s: %w", filepath.Base(path), err)
			}
		}
	}
	return segments, nil
}

// ForeignEpoch is the error about the file at path, whose epoch is not that of the state.
func ForeignEpoch(path string, its, ours uint32) error {
	return fmt.Errorf("%w: %s is of another store than %s (epochs %08x and %08x): move the one that was put here out of %s, or restore both from a backup with `personasync db restore FILE`",
		boltfile.ErrForeign, filepath.Base(path), boltfile.StateFile, its, ours, filepath.Dir(path))
}

// CloseSegments closes the files of segments that are no part of a log.
func CloseSegments(segments []*Segment) {
	for _, s := range segments {
		s.runway.close()
		s.DB.Close()
	}
}

// Last returns the number of the newest record on disk, 0 without any.
func (in *Log) Last() uint64 {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return lastRecord(in.segments)
}

func lastRecord(segments []*Segment) (last uint64) {
	for _, s := range segments { // the newest has it, unless somebody put a copy of an older one beside it
		last = max(last, s.Last)
	}
	return last
}

// First returns the number of the oldest record that is kept, 0 without any.
func (in *Log) First() uint64 {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for _, s := range in.segments {
		if s.First > 0 {
			return s.First
		}
	}
	return 0
}

// lastAssigned is the highest number ever given to a record of these segments.
func lastAssigned(segments []*Segment) (last uint64) {
	for _, s := range segments {
		last = max(last, s.LastAssigned)
	}
	return last
}

// Read copies records from number from on, or none when there are none yet.
func (in *Log) Read(from uint64, maxBytes int) ([]Record, error) {
	in.mu.RLock()
	defer in.mu.RUnlock() // keeps the segment from being unlinked meanwhile
	return ReadRecords(in.segments, from, maxBytes)
}

// ReadRecords is Log.Read for segments that are no part of a log.
func ReadRecords(segments []*Segment, from uint64, maxBytes int) ([]Record, error) {
	for _, s := range segments {
		if s.Last >= from && s.First > 0 {
			return s.read(max(from, s.First), maxBytes)
		}
	}
	return nil, nil
}

// Close stops the log and closes its files.
func (in *Log) Close() {
	in.Stop()
	in.CloseFiles()
}

// Stop answers the queued requests and takes no more. What is on disk can still be read.
func (in *Log) Stop() {
	in.senders.Lock()
	in.closed = true
	in.senders.Unlock()
	close(in.closing)
	<-in.gone
	in.commitMu.Lock()
	defer in.commitMu.Unlock() // nobody waits any more
	// One more commit, of nothing: so the last one, which a later damage could make look unfinished,
	// brought no record. What it comes to grief over is nobody's loss.
	_ = in.write(nil)
}

// CloseFiles closes the files. Nothing can be read after that.
func (in *Log) CloseFiles() {
	in.making.Wait()
	select {
	case s := <-in.prepared:
		s.DB.Close()
	default:
	}
	CloseSegments(in.segments)
}

// Idles reports whether the newest file holds much, and nothing that is still to be applied.
func (in *Log) Idles(applied uint64, smallest int64) bool {
	in.mu.RLock()
	defer in.mu.RUnlock()
	newest := in.segments[len(in.segments)-1]
	return newest.Last > 0 && newest.Last <= applied && boltfile.OnDiskAt(newest.Path) > smallest
}

// Oldest is the number of the first file of the chain.
func (in *Log) Oldest() uint64 {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return in.segments[0].number
}

// Behind estimates the bytes of the records that follow applied, by the share of each file they are.
func (in *Log) Behind(applied uint64) (bytes int64) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for _, s := range in.segments {
		if s.Last <= applied {
			continue
		}
		info, err := os.Stat(s.Path)
		if err != nil {
			continue
		}
		waiting, all := s.Last-max(applied, s.First-1), s.Last-s.First+1
		bytes += int64(float64(boltfile.OnDisk(info)) * float64(waiting) / float64(all))
	}
	return bytes
}

// A Chunk is consecutive records as they lie in a segment.
type Chunk struct {
	First uint64
	Bytes []byte
}

// Chunks copies chunks of a segment from record number from on, about maxBytes of them. more says that others follow.
func (in *Log) Chunks(g *Segment, from uint64, maxBytes int) (list []Chunk, more bool, err error) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	err = g.DB.View(func(tx *bolt.Tx) error {
		size := 0
		c := tx.Bucket(BucketRecords).Cursor()
		for k, v := c.Seek(binary.BigEndian.AppendUint64(nil, from)); k != nil; k, v = c.Next() {
			if more = size >= maxBytes; more {
				return nil
			}
			if len(k) != 8 {
				return wire.ErrDamaged
			}
			list = append(list, Chunk{binary.BigEndian.Uint64(k), bytes.Clone(v)})
			size += len(v)
		}
		return nil
	})
	return list, more, err
}

// CompareFiles looks for the files of the inbox. One that is applied may be gone: it is kept for inspection.
func (in *Log) CompareFiles(applied uint64) error {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for i, s := range in.segments {
		if err := boltfile.IsStill(s.Path, s.info); err != nil && (s.Last > applied || i == len(in.segments)-1) {
			return err
		}
	}
	return nil
}

// List returns the segments, oldest first.
func (in *Log) List() []*Segment {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return slices.Clone(in.segments)
}

// releaseCommit unlocks turn and wakes the committer if requests were queued meanwhile. A sender that loses the
// TryLock relies on this: it has queued its request before, and waits. So every holder of turn gives it back
// through here, or through drain.
func (in *Log) releaseCommit() {
	in.commitMu.Unlock()
	if len(in.requests) > 0 {
		select {
		case in.waiting <- struct{}{}:
		default:
		}
	}
}
