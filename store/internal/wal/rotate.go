package wal

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"personasync/store/crashpoint"
	"personasync/store/internal/boltfile"
)

// writable returns the segment to write to, and rotates when the newest is full.
func (in *Log) writable() (*Segment, error) {
	s, err := in.newest()
	if err != nil {
		return nil, err
	}
	limit := in.maxBytes.Load()
	if s.used > limit/2 {
		in.prepared.start(func() (*Segment, error) { return in.makeSegment(s.number + 1) })
	}
	if s.used < limit {
		return s, nil
	}
	return in.rotate(s)
}

// newest returns the newest segment. It rolls back a commit whose flush failed first: the numbers of its records will be
// assigned again, perhaps in the next segment.
func (in *Log) newest() (*Segment, error) {
	in.mu.RLock()
	s := in.segments[len(in.segments)-1]
	in.mu.RUnlock()
	if s.unsyncedTxid == 0 {
		return s, nil
	}
	in.mu.Lock() // Read must not see it
	defer in.mu.Unlock()
	if err := boltfile.Guard(s.rollBackTail); err != nil {
		return nil, fmt.Errorf("write the inbox: %w", err)
	}
	return s, nil
}

// rotate begins the segment that follows s.
func (in *Log) rotate(s *Segment) (*Segment, error) {
	next, err := in.nextSegment(s.number + 1)
	if err != nil {
		return nil, fmt.Errorf("begin a new inbox file: %w", err)
	}
	s.ahead.close()
	in.mu.Lock()
	defer in.mu.Unlock()
	in.segments = append(in.segments, next)
	return next, nil
}

// RotateNow begins a new segment, unless the newest is empty.
func (in *Log) RotateNow() error {
	in.Hold()
	defer in.Release()
	s, err := in.newest()
	if err != nil || s.first == 0 {
		return err
	}
	_, err = in.rotate(s)
	return err
}

func (in *Log) nextSegment(number uint64) (*Segment, error) {
	if s := in.prepared.take(); s != nil {
		if s.hasName() {
			return s, nil
		}
		s.db.Close()
	}
	return in.makeSegment(number)
}

// makeSegment creates a segment with that number, or the next that is free.
func (in *Log) makeSegment(number uint64) (*Segment, error) {
	if err := ask(in.hooks.Home); err != nil {
		return nil, err
	}
	if number = freeNumber(in.dir, number); number > maxSegment {
		return nil, fmt.Errorf("no number is left behind that of %s: stop the agent, and give the files of the inbox lower numbers, in their order", filepath.Base(Path(in.dir, maxSegment)))
	}
	return createSegment(in.dir, number, in.epoch, in.records)
}

// Trim removes segments whose records are all applied, once they are older than keepFor, or once all
// segments together are larger than keepBytes. The segment being written stays.
func (in *Log) Trim(applied uint64, now time.Time, keepFor time.Duration, keepBytes int64) error {
	if err := ask(in.hooks.Home); err != nil {
		return err
	}
	trimmed, err := in.unlinkApplied(applied, now, keepFor, keepBytes)
	for _, s := range trimmed {
		s.db.Close() // without mu: it waits for a check, which reads a whole segment in one transaction
	}
	return err
}

func (in *Log) unlinkApplied(applied uint64, now time.Time, keepFor time.Duration, keepBytes int64) (trimmed []*Segment, err error) {
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
			break
		}
		total -= boltfile.Size(s.path)
		if s.hasName() {
			if err := os.Remove(s.path); err != nil {
				return trimmed, fmt.Errorf("remove an applied inbox file: %w", err) // it can still be read
			}
		}
		crashpoint.Reach(crashpoint.InboxTrimmed)
		in.segments, trimmed = in.segments[1:], append(trimmed, s)
	}
	return trimmed, nil
}
