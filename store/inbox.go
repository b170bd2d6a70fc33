package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"personasync/store/crashpoint"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/wire"
)

// inbox is the chain of segments that received records go through, in order. Whoever has the turn
// commits: takes whatever waits, writes it in one transaction, and answers everybody who waited. There
// is no timer, so a lone sender waits for one commit and nothing else, not even for another goroutine
// to wake up: it finds the turn free and commits by itself. Under load the commit in progress is what
// gathers the next group, and the committer has the turn as long as anybody waits.
type inbox struct {
	dir    string
	epoch  uint32
	enough atomic.Int64 // bytes after which a segment gives way to the next: segmentBytes, less under a small limit

	requests chan *appendRequest
	turn     sync.Mutex    // held while committing
	apart    atomic.Int64  // ns from the beginning of one commit to that of the next, at least; see pacing
	began    time.Time     // when the last one did; belongs to the turn
	waiting  chan struct{} // buffer of one: somebody waits and nobody has the turn
	closing  chan struct{} // closed by close; stops the committer once requests is drained
	gone     chan struct{} // closed when the committer has ended
	written  chan struct{} // buffer of one: something new can be read
	senders  sync.RWMutex  // held for reading while sending to requests; Close takes it whole
	closed   bool          // under senders

	mu       sync.RWMutex // covers segments and their bounds
	segments []*segment   // oldest first; the last one is written to

	next     atomic.Uint64 // number of the next record; changes with the turn
	commits  atomic.Uint64 // how many there were
	finished atomic.Uint64 // transactions that came to an end, good or bad, probes included
	buf      []byte        // for chunks; belongs to the turn

	others  atomic.Int64  // records appended by this process and not applied yet that are no events
	ordered atomic.Uint64 // orders appended by this process, ever

	records records
	hooks   hooks

	spare     chan *segment  // the next segment, made in advance; buffer of one
	preparing atomic.Bool    // one is being made
	making    sync.WaitGroup // joins the maker
}

// records is what the inbox must know of the records that it keeps.
type records struct {
	weigh    func(frame []byte) int              // its size as far as applying it goes
	received func(frame []byte, was int64) int64 // its receipt, ns; was if it has none
}

// hooks are what the owner of an inbox is asked, or does. Each may be nil.
type hooks struct {
	refuse      func() error // before records are taken: why they are not
	home        func() error // before a file is made or removed by its name: why that must not be
	naming      sync.Locker  // held while a file takes the name of another
	afterCommit func() error // before a commit is answered
}

func ask(hook func() error) error {
	if hook == nil {
		return nil
	}
	return hook()
}

var (
	errBusy   = errors.New("the inbox is full") // try again in a moment
	errClosed = errors.New("the store is closed")
)

// appendRequest is one caller of append, waiting.
type appendRequest struct {
	frames [][]byte
	size   int
	done   chan error // buffer of one
}

const (
	// queueLength bounds how many requests wait for the next commit. With Segment's usual request of
	// one event that is 4,096 connections; more than that are told to come again.
	queueLength = 4096

	// groupBytes bounds one commit, so that the first of a long queue is not kept waiting by the last.
	groupBytes = 8 << 20

	// turnLength is how many groups the committer commits before others may have the turn.
	turnLength = 64
)

// openInbox opens the chain. A new one begins with record number first.
func openInbox(dir string, epoch uint32, first uint64, records records) (*inbox, error) {
	in := &inbox{
		dir: dir, epoch: epoch, records: records,
		requests: make(chan *appendRequest, queueLength),
		waiting:  make(chan struct{}, 1),
		closing:  make(chan struct{}),
		gone:     make(chan struct{}),
		written:  make(chan struct{}, 1),
		spare:    make(chan *segment, 1),
	}
	in.enough.Store(segmentBytes)
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
	in.next.Store(max(first, in.last()+1, lastGiven(segments)+1))
	go in.commitLoop()
	return in, nil
}

// openSegments opens every inbox file of dir, oldest first, and checks that they belong together.
func openSegments(dir string, epoch uint32, readOnly bool, records records) (segments []*segment, err error) {
	defer func() {
		if err != nil {
			closeSegments(segments)
			segments = nil
		}
	}()
	paths, _, err := segmentFiles(dir)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		s, e, err := openSegment(path, readOnly, records)
		if err != nil {
			return segments, err
		}
		segments = append(segments, s)
		if e != epoch {
			return segments, foreignEpoch(path, e, epoch)
		}
		if !readOnly {
			if err := s.db.Sync(); err != nil { // kill -9 may have come before the flush
				return segments, fmt.Errorf("flush %s: %w", filepath.Base(path), err)
			}
		}
	}
	return segments, nil
}

func foreignEpoch(path string, its, ours uint32) error {
	return fmt.Errorf("%w: %s is of another store than %s (epochs %08x and %08x): move the one that was put here out of %s, or restore both from a backup with `personasync db restore FILE`",
		boltfile.ErrForeign, filepath.Base(path), boltfile.StateFile, its, ours, filepath.Dir(path))
}

func closeSegments(segments []*segment) {
	for _, s := range segments {
		s.runway.close()
		s.db.Close()
	}
}

// append waits until records, encoded as frames, are on disk.
func (in *inbox) append(ctx context.Context, frames ...[]byte) error {
	req := &appendRequest{frames: frames, done: make(chan error, 1)}
	for _, f := range frames {
		req.size += len(f)
	}
	err := ask(in.hooks.refuse)
	if err == nil {
		err = in.enqueue(req)
	}
	if err != nil {
		return err
	}
	in.lead()
	select {
	case err := <-req.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// appendOther is append for what is no event.
func (in *inbox) appendOther(ctx context.Context, frames ...[]byte) error {
	in.others.Add(int64(len(frames)))
	err := in.append(ctx, frames...)
	if err != nil {
		in.others.Add(-int64(len(frames)))
	}
	return err
}

// events counts what arrived, orders left out: whoever gives those waits for them to be applied, and
// not for the disk.
func (in *inbox) events() int64 { return int64(in.next.Load()) - int64(in.ordered.Load()) }

func (in *inbox) enqueue(req *appendRequest) error {
	in.senders.RLock()
	defer in.senders.RUnlock()
	if in.closed {
		return errClosed
	}
	select {
	case in.requests <- req:
		return nil
	default:
		return errBusy
	}
}

// lead commits what waits, once, if nobody is at it. What came meanwhile is the committer's.
func (in *inbox) lead() {
	if !in.turn.TryLock() {
		return
	}
	in.commitOnce()
	in.giveBack()
}

// giveBack lets others have the turn. A sender that finds it taken has queued its request before, and
// leaves it at that: so whoever had the turn, and for whatever, looks at the queue after giving it back,
// and nobody is left waiting.
func (in *inbox) giveBack() {
	in.turn.Unlock()
	if len(in.requests) > 0 {
		select {
		case in.waiting <- struct{}{}:
		default:
		}
	}
}

func (in *inbox) commitLoop() {
	defer close(in.gone)
	for {
		select {
		case <-in.waiting:
			in.drain()
		case <-in.closing:
			in.drain()
			return
		}
	}
}

// drain commits until nobody waits. It lets go of the turn now and then: under a load that does not end
// somebody always waits, and a forget wants it, too.
func (in *inbox) drain() {
	for len(in.requests) > 0 {
		in.turn.Lock()
		for n := 0; n < turnLength && in.commitOnce(); n++ {
		}
		in.turn.Unlock()
	}
}

// commitOnce commits a group of what waits, and reports whether anything did.
func (in *inbox) commitOnce() bool {
	if len(in.requests) == 0 {
		return false
	}
	in.keepApart()
	group, size := []*appendRequest(nil), 0
	for size < groupBytes {
		select {
		case req := <-in.requests:
			group, size = append(group, req), size+req.size
			continue
		default:
		}
		break
	}
	in.commit(group)
	return true
}

// keepApart waits until the next commit may begin, unless the inbox closes.
func (in *inbox) keepApart() {
	apart := time.Duration(in.apart.Load())
	if wait := time.Until(in.began.Add(apart)); apart > 0 && wait > 0 {
		select {
		case <-time.After(wait):
		case <-in.closing:
		}
	}
	in.began = time.Now()
}

func (in *inbox) commit(group []*appendRequest) {
	err := in.write(group)
	if err == nil {
		err = ask(in.hooks.afterCommit)
	}
	in.finished.Add(1)
	for _, req := range group {
		req.done <- err
	}
	if err != nil {
		return
	}
	select {
	case in.written <- struct{}{}:
	default:
	}
}

func (in *inbox) write(group []*appendRequest) error {
	s, err := in.writable()
	if err != nil {
		return err
	}
	first, count, newest := in.next.Load(), uint64(0), int64(0)
	for _, req := range group {
		count += uint64(len(req.frames))
		for _, f := range req.frames {
			newest = in.records.received(f, newest)
		}
	}
	if err = boltfile.Guard(func() error { in.buf, err = s.write(first, group, in.buf); return err }); err != nil {
		return fmt.Errorf("write the inbox: %w", err)
	}
	if count == 0 { // a probe
		return nil
	}
	crashpoint.Reach(crashpoint.InboxCommitted)
	in.mu.Lock()
	if s.first == 0 {
		s.first = first
	}
	s.last, s.newest = first+count-1, max(s.newest, newest)
	in.mu.Unlock()
	in.next.Store(first + count)
	in.commits.Add(1)
	return nil
}

// writable returns the segment to write to, going over to the next when this one has enough.
func (in *inbox) writable() (*segment, error) {
	s, err := in.newest()
	if err != nil {
		return nil, err
	}
	if s.used > in.enough.Load()/2 {
		in.prepare(s.number + 1)
	}
	if s.used < in.enough.Load() {
		return s, nil
	}
	return in.goOver(s)
}

// newest returns the last segment, without a commit in doubt: its numbers will be given again, be it in
// the next file.
func (in *inbox) newest() (*segment, error) {
	in.mu.RLock()
	s := in.segments[len(in.segments)-1]
	in.mu.RUnlock()
	if s.doubt == 0 {
		return s, nil
	}
	in.mu.Lock() // nobody reads it meanwhile
	defer in.mu.Unlock()
	if err := boltfile.Guard(s.withdraw); err != nil {
		return nil, fmt.Errorf("write the inbox: %w", err)
	}
	return s, nil
}

// goOver begins the segment behind s.
func (in *inbox) goOver(s *segment) (*segment, error) {
	next, err := in.nextSegment(s.number + 1)
	if err != nil {
		return nil, fmt.Errorf("begin a new inbox file: %w", err)
	}
	s.runway.close()
	in.mu.Lock()
	defer in.mu.Unlock()
	in.segments = append(in.segments, next)
	return next, nil
}

// prepare makes a segment in the background, once, so that going over costs no fsync.
func (in *inbox) prepare(number uint64) {
	if len(in.spare) > 0 || in.preparing.Swap(true) {
		return
	}
	in.making.Add(1)
	go func() {
		defer in.making.Done()
		if s, err := in.makeSegment(number); err == nil {
			in.spare <- s
		}
		in.preparing.Store(false)
	}()
}

func (in *inbox) nextSegment(number uint64) (*segment, error) {
	in.making.Wait()
	select {
	case s := <-in.spare:
		if s.hasName() {
			return s, nil
		}
		s.db.Close()
	default:
	}
	return in.makeSegment(number)
}

// makeSegment makes a file with that number, or the next that is free.
func (in *inbox) makeSegment(number uint64) (*segment, error) {
	if err := ask(in.hooks.home); err != nil {
		return nil, err
	}
	if number = freeNumber(in.dir, number); number > maxSegment {
		return nil, fmt.Errorf("no number is left behind that of %s: stop the agent, and give the files of the inbox lower numbers, in their order", filepath.Base(segmentPath(in.dir, maxSegment)))
	}
	return createSegment(in.dir, number, in.epoch, in.records)
}

// freeNumber is the first number from number on whose name nobody has taken: a file that is put in place would
// destroy what is there.
func freeNumber(dir string, number uint64) uint64 {
	for {
		if _, err := os.Lstat(segmentPath(dir, number)); err != nil {
			return number
		}
		number++
	}
}

// last returns the number of the newest record on disk, 0 when there is none.
func (in *inbox) last() uint64 {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return lastRecord(in.segments)
}

func lastRecord(segments []*segment) (last uint64) {
	for _, s := range segments { // the newest has it, unless somebody put a copy of an older one beside it
		last = max(last, s.last)
	}
	return last
}

// first is the number of the oldest record that is kept, 0 without any.
func (in *inbox) first() uint64 {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for _, s := range in.segments {
		if s.first > 0 {
			return s.first
		}
	}
	return 0
}

// lastGiven is the highest number ever given to a record of these segments.
func lastGiven(segments []*segment) (last uint64) {
	for _, s := range segments {
		last = max(last, s.given)
	}
	return last
}

// read copies records from number from on, or none when there are none yet.
func (in *inbox) read(from uint64, maxBytes int) ([]numbered, error) {
	in.mu.RLock()
	defer in.mu.RUnlock() // keeps the segment from being unlinked meanwhile
	return readRecords(in.segments, from, maxBytes)
}

func readRecords(segments []*segment, from uint64, maxBytes int) ([]numbered, error) {
	for _, s := range segments {
		if s.last >= from && s.first > 0 {
			return s.read(max(from, s.first), maxBytes)
		}
	}
	return nil, nil
}

// trim removes segments whose records are all applied, once they are older than keepFor, or once the
// whole chain is larger than keepBytes. The segment being written stays.
func (in *inbox) trim(applied uint64, now time.Time, keepFor time.Duration, keepBytes int64) error {
	if err := ask(in.hooks.home); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	total := int64(0)
	for _, s := range in.segments {
		total += boltfile.Size(s.path)
	}
	for len(in.segments) > 1 {
		s := in.segments[0]
		old := keepFor > 0 && now.Sub(time.Unix(0, s.newest)) > keepFor
		large := keepBytes > 0 && total > keepBytes
		if s.last > applied || !old && !large {
			return nil
		}
		total -= boltfile.Size(s.path)
		if s.hasName() {
			if err := os.Remove(s.path); err != nil {
				return fmt.Errorf("remove an applied inbox file: %w", err) // it can still be read
			}
		}
		s.db.Close()
		crashpoint.Reach(crashpoint.InboxTrimmed)
		in.segments = in.segments[1:]
	}
	return nil
}

func (in *inbox) close() {
	in.stop()
	in.closeFiles()
}

// stop answers what waits and takes nothing more. What is on disk can still be read.
func (in *inbox) stop() {
	in.senders.Lock()
	in.closed = true
	in.senders.Unlock()
	close(in.closing)
	<-in.gone
	in.turn.Lock()
	defer in.turn.Unlock() // nobody waits any more
	// One more commit, of nothing: so the last one, which a later damage could make look unfinished,
	// brought no record. What it comes to grief over is nobody's loss.
	_ = in.write(nil)
}

func (in *inbox) closeFiles() {
	in.making.Wait()
	select {
	case s := <-in.spare:
		s.db.Close()
	default:
	}
	closeSegments(in.segments)
}

// idles reports whether the newest file holds much, and nothing that is still to be applied.
func (in *inbox) idles(applied uint64, smallest int64) bool {
	in.mu.RLock()
	defer in.mu.RUnlock()
	newest := in.segments[len(in.segments)-1]
	return newest.last > 0 && newest.last <= applied && boltfile.OnDiskAt(newest.path) > smallest
}

// oldest is the number of the first file of the chain.
func (in *inbox) oldest() uint64 {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return in.segments[0].number
}

// behind estimates the bytes of the records that follow applied, by the share of each file they are.
func (in *inbox) behind(applied uint64) (bytes int64) {
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

// turnOver begins a new file, unless the last is one.
func (in *inbox) turnOver() error {
	in.turn.Lock()
	defer in.giveBack()
	s, err := in.newest()
	if err != nil || s.first == 0 {
		return err
	}
	_, err = in.goOver(s)
	return err
}

// exchange puts the file at path, which db is, in the place of a segment's, unless the segment was pruned
// meanwhile.
func (in *inbox) exchange(g *segment, db *bolt.DB, path string) (err error) {
	in.hooks.naming.Lock()
	defer in.hooks.naming.Unlock()
	in.mu.Lock()
	defer in.mu.Unlock()
	info, err := os.Stat(path)
	if err == nil && slices.Contains(in.segments, g) {
		if err = boltfile.IsStill(g.path, g.info); err == nil {
			err = os.Rename(path, g.path)
		}
		if err == nil {
			g.info, g.db, db = info, db, g.db
			return db.Close()
		}
	}
	return errors.Join(err, db.Close(), os.Remove(path))
}

type eraseChunk struct {
	first uint64
	bytes []byte
}

// chunks copies the next chunks of a segment.
func (in *inbox) chunks(g *segment, from uint64, maxBytes int) (list []eraseChunk, more bool, err error) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	err = g.db.View(func(tx *bolt.Tx) error {
		size := 0
		c := tx.Bucket(bucketRecords).Cursor()
		for k, v := c.Seek(binary.BigEndian.AppendUint64(nil, from)); k != nil; k, v = c.Next() {
			if more = size >= maxBytes; more {
				return nil
			}
			if len(k) != 8 {
				return wire.ErrDamaged
			}
			list = append(list, eraseChunk{binary.BigEndian.Uint64(k), bytes.Clone(v)})
			size += len(v)
		}
		return nil
	})
	return list, more, err
}

// compareFiles looks for the files of the inbox. One that is applied may be gone: it is kept for inspection.
func (in *inbox) compareFiles(applied uint64) error {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for i, s := range in.segments {
		if err := boltfile.IsStill(s.path, s.info); err != nil && (s.last > applied || i == len(in.segments)-1) {
			return err
		}
	}
	return nil
}

// hasName reports whether the name of a segment leads to its file.
func (s *segment) hasName() bool { return boltfile.IsStill(s.path, s.info) == nil }

// probe has the committer make an empty transaction, as if for a sender. It does not take the turn
// itself: then it could not stop waiting for a disk that does not answer.
func (in *inbox) probe(ctx context.Context) error {
	req := &appendRequest{done: make(chan error, 1)}
	if err := in.enqueue(req); err != nil {
		return err
	}
	select {
	case in.waiting <- struct{}{}:
	default:
	}
	select {
	case <-req.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// list is the chain as it is now.
func (in *inbox) list() []*segment {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return slices.Clone(in.segments)
}
