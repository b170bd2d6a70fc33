package datadir

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wal"
)

// The disk budget. Events are refused before the disk is full, so that the store can still write everything that follows
// from those it took: applying, settling, parking and pruning go on in the reserve, and so does compacting as far as a copy
// fits into it. Where the reserve itself is used up, what would grow the state ends first: applying, because its records are
// safe in the inbox, and then leases. A disk that they fill has no page for what MoEngage answers, and none for pruning,
// without which no room comes. Completed changes are pruned before their retention then: only inspection uses them.
//
//	0 ............................... 85 % ....... 90 % ....... 100 % of MaxDataBytes
//	          events are taken         | as it was | refused: the rest is for bookkeeping
//
//	free:  everything ....... 1.25 x floor ....... floor ............ floor / 2 ......... floor / 8 .......... 0
//	          events are taken         | as it was | refused, applied | changes are leased | settled and pruned
//	                                                                   64 MiB at most      16 MiB at most
//
// What state.db has free inside counts as free, as long as the file system has floor / 4 for the inbox.
// Between the marks the answer stays as it was (hysteresis). Records not applied yet count three times, because they are
// to be written to state.db, too, before their file can be removed.
//
// Measuring costs a few stats. It happens once a second, and whenever measureAfter bytes were appended. A disk that fills
// up in between, and limits that no statfs shows, such as a quota, end in an ordinary ENOSPC: that transaction is lost, its
// caller gets the error, and events are refused for refuseFor.

const (
	// floorBytes is twice what the fastest ingest measured writes in a second, 66 MB to the inbox and at
	// most as much to state.db when it is applied, and as much again for bookkeeping. Disks below
	// 12.5 GiB keep 2 % instead: a floor that is too low costs an ENOSPC, one that is too high an agent.
	// But no floor is below leastFloor, or a quarter of a disk that is smaller than half a gigabyte: before the next measurement
	// measureAfter goes to the inbox and twice as much to state.db.
	floorBytes   = 256 << 20
	floorShare   = 50 // one in so many
	leastFloor   = 128 << 20
	leastShare   = 4
	measureAfter = 32 << 20

	// inboxShare is the part of the floor, one in so many, that the inbox needs of the file system.
	inboxShare = 4

	// stateShare is how much state.db takes for a byte of the inbox: 1.8 measured for the smallest events and one attribute.
	stateShare = 2

	// refuseFor is how long events are refused after an ENOSPC that no measurement foresaw.
	refuseFor = 5 * time.Second

	// SmallestSegment is one growth step of bbolt and a half: a smaller segment would be full when empty.
	SmallestSegment = 24 << 20
)

// Space is how much disk the data takes, and how much is free.
type Space struct {
	DataBytes      int64 // on the disk, of the files in use; without unfinished copies and files kept aside
	MaxDataBytes   int64 // 0: no limit
	FreeBytes      int64 // of the file system, for this user
	FloorBytes     int64 // how much of it events must leave free
	InboxBytes     int64
	UnappliedBytes int64 // of the inbox: records that are not applied yet
	StateBytes     int64 // of state.db …
	LiveBytes      int64 // … and how much of it a compaction would leave
}

// FullError says why events are refused. It wraps domain.ErrFull.
type FullError struct {
	Space  Space
	Reason string
}

// Error implements error.
func (e *FullError) Error() string { return e.Reason }

// Unwrap returns domain.ErrFull.
func (e *FullError) Unwrap() error { return domain.ErrFull }

// DiskBudget decides whether events are taken. Its methods may be called concurrently.
type DiskBudget struct {
	Limit  atomic.Int64
	Full   atomic.Pointer[FullError]
	grown  atomic.Int64 // bytes appended since the last measurement
	Hurry  chan struct{}
	Mu     sync.Mutex // covers the fields below
	Space  Space
	Struck time.Time // the last ENOSPC
}

// NewDiskBudget returns a budget of limit bytes; 0: as much as the disk has.
func NewDiskBudget(limit int64) *DiskBudget {
	r := &DiskBudget{Hurry: make(chan struct{}, 1)}
	r.Limit.Store(limit)
	return r
}

// Segment is how large a file of the inbox gets. The newest is never removed, so that it must be small beside a small
// limit.
func (r *DiskBudget) Segment() int64 {
	limit := r.Limit.Load()
	if limit == 0 {
		return wal.SegmentBytes
	}
	return min(wal.SegmentBytes, max(SmallestSegment, limit/16))
}

// Measured returns the last measurement.
func (r *DiskBudget) Measured() Space {
	r.Mu.Lock()
	defer r.Mu.Unlock()
	return r.Space
}

// Refusal returns why events are refused, nil if they are not.
func (r *DiskBudget) Refusal() error {
	if e := r.Full.Load(); e != nil {
		return e
	}
	return nil
}

// Note takes in the size and the error of an append.
func (r *DiskBudget) Note(size int, err error) {
	switch {
	case errors.Is(err, domain.ErrFull):
		r.Mu.Lock()
		r.Struck = time.Now()
		r.Full.Store(&FullError{Space: r.Space, Reason: err.Error()})
		r.Mu.Unlock()
	case err == nil && r.grown.Add(int64(size)) > measureAfter:
		r.grown.Store(0)
		r.Look()
	}
}

// Look asks for a measurement soon.
func (r *DiskBudget) Look() {
	select {
	case r.Hurry <- struct{}{}:
	default:
	}
}

// Judge takes in a measurement, and reports whether the answer changed.
func (r *DiskBudget) Judge(s Space, now time.Time) (changed bool) {
	r.Mu.Lock()
	defer r.Mu.Unlock()
	r.Space = s
	was := r.Full.Load()
	if was != nil && now.Sub(r.Struck) < refuseFor {
		return false
	}
	reason := s.Refusal(was != nil)
	if reason == "" {
		r.Full.Store(nil)
		return was != nil
	}
	r.Full.Store(&FullError{Space: s, Reason: reason})
	return was == nil
}

// Refusal says why there is no room for events; empty when there is. refusing shifts the marks.
func (s *Space) Refusal(refusing bool) string {
	switch {
	case s.DataBytes+stateShare*s.UnappliedBytes > s.ceiling(refusing):
		return fmt.Sprintf("the data takes %s of the %s it may take%s, and the last tenth is kept for bookkeeping: raise retention.max_data_bytes, or keep less",
			domain.Bytes(s.DataBytes), domain.Bytes(s.MaxDataBytes), s.backlog())
	case s.FreeBytes+s.spare()-stateShare*s.UnappliedBytes < s.bottom(refusing), s.FreeBytes < s.bottom(refusing)/inboxShare:
		return fmt.Sprintf("the disk is full: %s are free%s, and %s are kept for bookkeeping: make room on it",
			domain.Bytes(s.FreeBytes), s.backlog(), domain.Bytes(s.FloorBytes))
	}
	return ""
}

// spare is what state.db has free inside, so that it writes there before it grows. The inbox cannot use it.
func (s *Space) spare() int64 { return max(0, s.StateBytes-s.LiveBytes) }

// backlog mentions records that are not applied yet, where they are many.
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

// FreeBytes says how much of dir's file system is free, and how much of that is to stay so.
func FreeBytes(dir string) (free, floor int64, err error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, 0, fmt.Errorf("look at the file system: %w", err)
	}
	block := int64(fs.Bsize)
	size := int64(fs.Blocks) * block
	return int64(fs.Bavail) * block, min(floorBytes, max(size/floorShare, min(leastFloor, size/leastShare))), nil
}

// A Reserve is a part of the floor, or of leastFloor where the floor is larger: one in so many.
type Reserve int64

// What is left for whom.
const (
	ForLeases   Reserve = 2 // and outcomes: nothing is applied
	ForOutcomes Reserve = 8 // of requests under way, and pruning: nothing is leased
)

// Tight returns an error, an ErrFull, while no more is left than is kept. spare returns what state.db can write without growing; it reads the file, and is asked only where that decides.
func Tight(dir string, spare func() int64, keep Reserve) error {
	free, floor, err := FreeBytes(dir)
	if err != nil {
		return nil // what cannot be measured is tried
	}
	return tight(free, floor, spare, keep)
}

func tight(free, floor int64, spare func() int64, keep Reserve) error {
	kept := min(floor, leastFloor) / int64(keep)
	if free >= kept || free+spare() >= kept {
		return nil
	}
	return fmt.Errorf("%w: %s are free, and %s are kept to write down what MoEngage answers: make room on it", domain.ErrFull, domain.Bytes(free), domain.Bytes(kept))
}
