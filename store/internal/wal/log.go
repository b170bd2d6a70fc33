package wal

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"personasync/store/internal/boltfile"
)

// A Log is the chain of segments that received records go through, in order. It commits in groups: the goroutine
// that holds the turn takes every queued request, writes all of them in one transaction, and answers their callers.
// There is no timer. A lone sender finds the turn free and commits by itself, without waking another goroutine.
// Under load the commit in progress gathers the next group, and the committer keeps the turn while requests are queued.
type Log struct {
	dir      string
	epoch    uint32       // of the store
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

	Others atomic.Int64 // records appended by this process and not applied yet that are no events
	events atomic.Int64 // events appended by this process, ever

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
		dir: dir, epoch: epoch, records: records,
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

// OpenReadOnly opens the chain in dir to read it. All segments must have the epoch; if it is 0, they must agree on one.
// CloseFiles closes the log.
func OpenReadOnly(dir string, epoch uint32, records Records) (*Log, error) {
	segments, err := openSegments(dir, epoch, true, records)
	if err != nil {
		return nil, err
	}
	if epoch == 0 && len(segments) > 0 {
		epoch = segments[0].epoch
	}
	return &Log{dir: dir, epoch: epoch, records: records, segments: segments}, nil
}

// openSegments opens every inbox file of dir, oldest first, and checks that they belong together.
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

// closeSegments closes the files of segments that are no part of a log.
func closeSegments(segments []*Segment) {
	for _, s := range segments {
		s.runway.close()
		s.db.Close()
	}
}

// Epoch returns the epoch of the store that the log belongs to. It is 0 for a log without segments.
func (in *Log) Epoch() uint32 { return in.epoch }

// Last returns the number of the newest record on disk, 0 without any.
func (in *Log) Last() uint64 {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return lastRecord(in.segments)
}

func lastRecord(segments []*Segment) (last uint64) {
	for _, s := range segments { // the newest has it, unless somebody put a copy of an older one beside it
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

// lastAssigned is the highest number ever given to a record of these segments.
func lastAssigned(segments []*Segment) (last uint64) {
	for _, s := range segments {
		last = max(last, s.lastAssigned)
	}
	return last
}

// Read copies records from number from on, or none when there are none yet.
func (in *Log) Read(from uint64, maxBytes int) ([]Record, error) {
	in.mu.RLock()
	defer in.mu.RUnlock() // keeps the segment from being unlinked meanwhile
	for _, s := range in.segments {
		if s.last >= from && s.first > 0 {
			return s.read(max(from, s.first), maxBytes)
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
		s.db.Close()
	default:
	}
	closeSegments(in.segments)
}

// Idles reports whether the newest file holds much, and nothing that is still to be applied.
func (in *Log) Idles(applied uint64, smallest int64) bool {
	in.mu.RLock()
	defer in.mu.RUnlock()
	newest := in.segments[len(in.segments)-1]
	return newest.last > 0 && newest.last <= applied && boltfile.OnDiskAt(newest.path) > smallest
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
		if s.last <= applied {
			continue
		}
		info, err := os.Stat(s.path)
		if err != nil {
			continue
		}
		waiting, all := s.last-max(applied, s.first-1), s.last-s.first+1
		bytes += int64(float64(boltfile.OnDisk(info)) * float64(waiting) / float64(all))
	}
	return bytes
}

// CompareFiles looks for the files of the inbox. One that is applied may be gone: it is kept for inspection.
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

// Segments returns the segments, oldest first.
func (in *Log) Segments() []*Segment {
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
