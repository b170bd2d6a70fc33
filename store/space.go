package store

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/wal"
)

// Room. Events are refused before the disk is full, so that what the store owes for those it took, it
// can still write: applying, settling, parking and pruning go on in the reserve, and so does compacting as
// far as a copy fits into it.
//
//	0 ............................... 85 % ....... 90 % ....... 100 % of MaxDataBytes
//	          events are taken         | as it was | refused: the rest is for bookkeeping
//
//	free:  everything ....... 1.25 x floor ....... floor ........... 0
//	          events are taken         | as it was | refused
//
// Between the marks things stay as they were, so that an agent at the brink does not flutter. Records
// not applied yet count twice: they are to be written to state.db, too, before their file can go.
//
// Measuring costs a few stats and happens once a second, and whenever measureAfter bytes came in. What
// slips through in between, and limits that no statfs shows, such as a quota, end in an ordinary
// ENOSPC: that transaction is lost, its caller is told, and events are refused for refuseFor.

const (
	// floorBytes is twice what the fastest ingest measured writes in a second, 66 MB to the inbox and at
	// most as much to state.db when it is applied, and as much again for bookkeeping. Disks below
	// 12.5 GiB keep 2 % instead: a floor that is too low costs an ENOSPC, one that is too high an agent.
	floorBytes = 256 << 20
	floorShare = 50 // one in so many

	measureEvery = time.Second
	measureAfter = 32 << 20
	refuseFor    = 5 * time.Second

	// smallestSegment is one growth step of bbolt and a half: a smaller segment would be full when empty.
	smallestSegment = 24 << 20
)

// Space is what the data takes, and what there is.
type Space struct {
	DataBytes      int64 // on the disk, of the files in use: copies in the making, and what is kept aside for people, are left out
	MaxDataBytes   int64 // 0: no limit
	FreeBytes      int64 // of the file system, to us
	FloorBytes     int64 // the least of it that stays free of events
	InboxBytes     int64
	UnappliedBytes int64 // of the inbox: records that state.db does not know yet
	StateBytes     int64 // of state.db …
	LiveBytes      int64 // … and what a compaction would leave of it
}

// FullError says why events are refused. It is an ErrFull.
type FullError struct {
	Space  Space
	Reason string
}

func (e *FullError) Error() string { return e.Reason }
func (e *FullError) Unwrap() error { return domain.ErrFull }

// diskBudget knows whether there is any.
type diskBudget struct {
	limit  atomic.Int64
	full   atomic.Pointer[FullError]
	grown  atomic.Int64 // bytes appended since the last measurement
	hurry  chan struct{}
	mu     sync.Mutex // covers what follows
	space  Space
	struck time.Time // the last ENOSPC
}

func newDiskBudget(limit int64) *diskBudget {
	r := &diskBudget{hurry: make(chan struct{}, 1)}
	r.limit.Store(limit)
	return r
}

// segment is how large a file of the inbox gets: the newest is never removed, so that under a small
// limit it must be small beside it.
func (r *diskBudget) segment() int64 {
	limit := r.limit.Load()
	if limit == 0 {
		return wal.SegmentBytes
	}
	return min(wal.SegmentBytes, max(smallestSegment, limit/16))
}

// refusal says why events are refused; nil when they are not.
func (r *diskBudget) refusal() error {
	if e := r.full.Load(); e != nil {
		return e
	}
	return nil
}

// note takes in how an append went.
func (r *diskBudget) note(size int, err error) {
	switch {
	case errors.Is(err, domain.ErrFull):
		r.mu.Lock()
		r.struck = time.Now()
		r.full.Store(&FullError{Space: r.space, Reason: err.Error()})
		r.mu.Unlock()
	case err == nil && r.grown.Add(int64(size)) > measureAfter:
		r.grown.Store(0)
		r.look()
	}
}

// look has a measurement made soon.
func (r *diskBudget) look() {
	select {
	case r.hurry <- struct{}{}:
	default:
	}
}

// judge takes in a measurement, and reports whether the verdict is another than before.
func (r *diskBudget) judge(s Space, now time.Time) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.space = s
	was := r.full.Load()
	if was != nil && now.Sub(r.struck) < refuseFor {
		return false
	}
	reason := s.refusal(was != nil)
	if reason == "" {
		r.full.Store(nil)
		return was != nil
	}
	r.full.Store(&FullError{Space: s, Reason: reason})
	return was == nil
}

// refusal says why there is no room for events; empty when there is. refusing shifts the marks.
func (s *Space) refusal(refusing bool) string {
	switch {
	case s.DataBytes+s.UnappliedBytes > s.ceiling(refusing):
		return fmt.Sprintf("the data takes %s of the %s it may take%s, and the last tenth is kept for bookkeeping: raise retention.max_data_bytes, or keep less",
			domain.Bytes(s.DataBytes), domain.Bytes(s.MaxDataBytes), s.backlog())
	case s.FreeBytes-s.UnappliedBytes < s.bottom(refusing):
		return fmt.Sprintf("the disk is full: %s are free%s, and %s are kept for bookkeeping: make room on it",
			domain.Bytes(s.FreeBytes), s.backlog(), domain.Bytes(s.FloorBytes))
	}
	return ""
}

// backlog mentions what is still to be written, where that matters.
func (s *Space) backlog() string {
	if s.UnappliedBytes < 1<<20 {
		return ""
	}
	return fmt.Sprintf(" (%s more are received and not applied yet)", domain.Bytes(s.UnappliedBytes))
}

func (s *Space) ceiling(refusing bool) int64 {
	switch {
	case s.MaxDataBytes == 0:
		return 1<<63 - 1
	case refusing:
		return s.MaxDataBytes / 100 * 85
	default:
		return s.MaxDataBytes / 100 * 90
	}
}

func (s *Space) bottom(refusing bool) int64 {
	if refusing {
		return s.FloorBytes + s.FloorBytes/4
	}
	return s.FloorBytes
}

// Full says why events are refused for want of room, as a *FullError; nil when they are not. It costs
// nothing.
func (s *Store) Full() error { return s.budget.refusal() }

// Space returns the last measurement, at most about a second old.
func (s *Store) Space() Space {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	return s.budget.space
}

// watchDisk measures until the store closes.
func (s *Store) watchDisk() {
	tick := time.NewTicker(measureEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.budget.hurry:
		case <-s.life.Done():
			return
		}
		if s.place.refusal() == nil { // else what is there is not ours
			s.lookAround()
		}
	}
}

// lookAround measures, makes room of what is dispensable when there is little, and judges.
func (s *Store) lookAround() {
	m, applied, err := s.measure()
	if err == nil && m.refusal(true) != "" && s.shedInbox(applied) {
		m, _, err = s.measure()
	}
	if err != nil {
		s.log.Error("the room on the disk could not be measured", "err", err)
		return
	}
	if !s.budget.judge(m, time.Now()) {
		return
	}
	if err := s.budget.refusal(); err != nil {
		s.log.Error("no room: events are refused until there is", "reason", err)
		return
	}
	s.log.Info("there is room again: events are taken", "data", domain.Bytes(m.DataBytes), "free", domain.Bytes(m.FreeBytes))
}

// shedInbox removes received events that are applied, before their retention is over: the copies that
// inspection likes to have are the first to go, rather than events that nobody has yet. The newest file is
// among them once it is worth it. So a disk that a backlog filled is at peace again when that is
// delivered, even if state.db, where its pages are free now, is too large to be copied without them.
func (s *Store) shedInbox(applied uint64) (shed bool) {
	if s.tail.Load() {
		return false
	}
	before := s.inbox.Oldest()
	if s.inbox.Idles(applied, smallestSegment) {
		_ = s.inbox.RotateNow() // a disk that has no room for that either has none to give back
	}
	if err := s.inbox.Trim(applied, time.Now(), 0, 1); err != nil {
		s.log.Error("applied inbox files could not be removed", "err", err)
	}
	after := s.inbox.Oldest()
	if after > before {
		s.log.Warn("received events were removed before their retention to make room", "from_file", before, "to_file", after-1)
	}
	return after > before
}

// measure looks at the files and at the file system.
func (s *Store) measure() (m Space, applied uint64, err error) {
	m.MaxDataBytes = s.budget.limit.Load()
	if m.FreeBytes, m.FloorBytes, err = freeBytes(s.dir); err != nil {
		return m, 0, err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return m, 0, fmt.Errorf("look at the data directory: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // removed a moment ago
		}
		if wal.Number(e.Name()) > 0 {
			m.InboxBytes += boltfile.OnDisk(info)
			m.DataBytes += boltfile.OnDisk(info)
		} else if e.Name() == stateFile {
			m.DataBytes += boltfile.OnDisk(info)
		}
	}
	if m.StateBytes, m.LiveBytes, err = s.db.fill(); err != nil {
		return m, 0, err
	}
	applied = s.applied.Load()
	m.UnappliedBytes = s.inbox.Behind(applied)
	return m, applied, nil
}

// freeBytes says how much of dir's file system is free, and how much of that is to stay so.
func freeBytes(dir string) (free, floor int64, err error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, 0, fmt.Errorf("look at the file system: %w", err)
	}
	block := int64(fs.Bsize)
	return int64(fs.Bavail) * block, min(floorBytes, int64(fs.Blocks)*block/floorShare), nil
}
