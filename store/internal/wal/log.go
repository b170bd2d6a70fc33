package wal

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"personasync/store/engine"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/groupcommit"
)

// A Log is the chain of segments that received records go through, in order. All methods may be called concurrently,
// unless they say otherwise. One that OpenReadOnly opened has only the methods that read.
type Log struct {
	*groupcommit.Committer // the zero one in a log that is read only

	dir      string
	epoch    uint32 // of the store
	records  Records
	hooks    Hooks
	maxBytes atomic.Int64 // size after which a segment gives way to the next
	prepared preparer     // of the next segment

	mu       sync.RWMutex // covers segments and their bounds
	segments []*Segment   // oldest first; the last one is written to
	buf      []byte       // for chunks; under the commit lock

	next atomic.Uint64 // number of the next record; written under the commit lock
}

// Config says how to open a log to write.
type Config struct {
	Epoch    uint32 // of the store
	First    uint64 // number of the first record of a new log, at least
	MaxBytes int64  // see SetMaxBytes; 0: SegmentBytes
	Records  Records
	Hooks    Hooks
}

// Hooks are functions that the log calls so that its owner can decide. Each may be nil.
type Hooks struct {
	Refuse      func() error // before records are queued: why they are refused
	Home        func() error // before a file is created or removed by its name: why that is forbidden
	Naming      sync.Locker  // held while a file takes the name of another
	AfterCommit func() error // before a commit is answered: why it is in doubt
}

func ask(hook func() error) error {
	if hook == nil {
		return nil
	}
	return hook()
}

// Open opens the log in dir to append to it. It creates the first segment if there is none. Close closes the log.
func Open(dir string, c Config) (*Log, error) {
	in := &Log{
		dir: dir, epoch: c.Epoch, records: c.Records, hooks: c.Hooks,
		prepared: preparer{ready: make(chan *Segment, 1)},
	}
	in.SetMaxBytes(c.MaxBytes)
	segments, err := openSegments(dir, c.Epoch, false, c.Records)
	if err != nil {
		return nil, err
	}
	if len(segments) == 0 {
		s, err := createSegment(dir, freeNumber(dir, 1), c.Epoch, c.Records)
		if err != nil {
			return nil, err
		}
		segments = append(segments, s)
	}
	in.segments = segments
	in.next.Store(max(c.First, in.Last()+1, lastAssigned(segments)+1))
	in.Committer = groupcommit.New(groupcommit.Config{Refuse: func() error { return ask(in.hooks.Refuse) }, Commit: in.commit})
	return in, nil
}

// OpenReadOnly opens the log in dir to read it. All segments must have the epoch; if it is 0, they must agree on one.
// CloseFiles closes the log.
func OpenReadOnly(dir string, epoch uint32, records Records) (*Log, error) {
	segments, err := openSegments(dir, epoch, true, records)
	if err != nil {
		return nil, err
	}
	if epoch == 0 && len(segments) > 0 {
		epoch = segments[0].epoch
	}
	return &Log{Committer: new(groupcommit.Committer), dir: dir, epoch: epoch, records: records, segments: segments}, nil
}

// openSegments opens every segment in dir, oldest first, and checks that they belong together.
func openSegments(dir string, epoch uint32, readOnly bool, records Records) (segments []*Segment, err error) {
	defer func() {
		if err != nil {
			closeSegments(segments)
			segments = nil
		}
	}()
	paths, _, err := Files(dir)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		s, err := openSegment(path, epoch, readOnly, records)
		if err != nil {
			return segments, err
		}
		segments, epoch = append(segments, s), s.epoch
		if !readOnly {
			if err := s.db.Sync(); err != nil { // kill -9 may have come before the flush
				return segments, fmt.Errorf("flush %s: %w", filepath.Base(path), err)
			}
		}
	}
	return segments, nil
}

func closeSegments(segments []*Segment) {
	for _, s := range segments {
		s.ahead.close()
		s.db.Close()
	}
}

// SetMaxBytes sets the size after which a segment gives way to the next, from the next commit on. 0 is SegmentBytes.
func (in *Log) SetMaxBytes(n int64) {
	n = cmp.Or(n, SegmentBytes)
	in.maxBytes.Store(n)
}

// Epoch returns the epoch of the store that the log belongs to. It is 0 for a log without segments.
func (in *Log) Epoch() uint32 { return in.epoch }

// Next returns the number that the next record gets.
func (in *Log) Next() uint64 { return in.next.Load() }

// Last returns the number of the newest record on disk, 0 without any.
func (in *Log) Last() (last uint64) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for _, s := range in.segments { // the newest has it, unless somebody put a copy of an older one beside it
		last = max(last, s.last)
	}
	return last
}

// First returns the number of the oldest record that is kept, 0 without any.
func (in *Log) First() uint64 {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for _, s := range in.segments {
		if s.first > 0 {
			return s.first
		}
	}
	return 0
}

// lastAssigned returns the highest number ever assigned to a record of these segments.
func lastAssigned(segments []*Segment) (last uint64) {
	for _, s := range segments {
		last = max(last, s.lastAssigned)
	}
	return last
}

// Read copies records from number from on: about maxBytes of them by Records.Weigh, but at least one if there is one.
// It returns none if no record has reached from yet.
func (in *Log) Read(from uint64, maxBytes int) ([]engine.Record, error) {
	in.mu.RLock()
	defer in.mu.RUnlock() // keeps the segment from being trimmed meanwhile
	for _, s := range in.segments {
		if s.last >= from && s.first > 0 {
			return s.read(max(from, s.first), maxBytes)
		}
	}
	return nil, nil
}

// Spans reports whether a segment has records before and behind number n, or that record itself.
func (in *Log) Spans(n uint64) bool {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return slices.ContainsFunc(in.segments, func(s *Segment) bool { return s.first <= n && n <= s.last })
}

// Close stops the log and closes its files.
func (in *Log) Close() {
	in.Stop()
	in.CloseFiles()
}

// Stop answers the queued requests and refuses further ones. Records can still be read.
func (in *Log) Stop() {
	in.Committer.Stop()
	in.Hold()
	defer in.Release()
	// The last commit brings no record, so later damage that makes it look unfinished costs none. Its failure costs
	// none either.
	_ = in.write(nil)
}

// CloseFiles closes the files. Nothing can be read after that.
func (in *Log) CloseFiles() {
	if s := in.prepared.take(); s != nil {
		s.db.Close()
	}
	closeSegments(in.segments)
}

// Segments returns the segments, oldest first. Trim may remove one while the caller reads it, see ErrTrimmed.
func (in *Log) Segments() []*Segment {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return slices.Clone(in.segments)
}

// Oldest returns the number of the first segment.
func (in *Log) Oldest() uint64 {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return in.segments[0].number
}

// IsApplied reports whether all records of the newest segment are applied, and it takes more than minBytes on disk.
// RotateNow and Trim can then free them.
func (in *Log) IsApplied(applied uint64, minBytes int64) bool {
	in.mu.RLock()
	defer in.mu.RUnlock()
	newest := in.segments[len(in.segments)-1]
	return newest.last > 0 && newest.last <= applied && boltfile.OnDiskAt(newest.path) > minBytes
}

// UnappliedBytes estimates the bytes on disk of the records after applied, by their share of each segment.
func (in *Log) UnappliedBytes(applied uint64) (bytes int64) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for _, s := range in.segments {
		if s.last <= applied {
			continue
		}
		info, err := os.Stat(s.path)
		if err != nil {
			continue
		}
		unapplied, all := s.last-max(applied, s.first-1), s.last-s.first+1
		bytes += int64(float64(boltfile.OnDisk(info)) * float64(unapplied) / float64(all))
	}
	return bytes
}

// CompareFiles returns ErrMoved unless the path of every segment still leads to its file. An applied segment may be
// missing: it is kept for inspection only.
func (in *Log) CompareFiles(applied uint64) error {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for i, s := range in.segments {
		if err := boltfile.IsStill(s.path, s.info); err != nil && (s.last > applied || i == len(in.segments)-1) {
			return err
		}
	}
	return nil
}
