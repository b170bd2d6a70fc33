package wal

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"personasync/store/crashpoint"
	"personasync/store/internal/boltfile"
)

// writable returns the segment to write to, going over to the next when this one has enough.
func (in *Log) writable() (*Segment, error) {
	s, err := in.newest()
	if err != nil {
		return nil, err
	}
	if s.used > in.MaxBytes.Load()/2 {
		in.prepare(s.number + 1)
	}
	if s.used < in.MaxBytes.Load() {
		return s, nil
	}
	return in.rotate(s)
}

// newest returns the last segment, without a commit in doubt: its numbers will be given again, be it in
// the next file.
func (in *Log) newest() (*Segment, error) {
	in.mu.RLock()
	s := in.segments[len(in.segments)-1]
	in.mu.RUnlock()
	if s.unsyncedTxid == 0 {
		return s, nil
	}
	in.mu.Lock() // nobody reads it meanwhile
	defer in.mu.Unlock()
	if err := boltfile.Guard(s.rollBackTail); err != nil {
		return nil, fmt.Errorf("write the inbox: %w", err)
	}
	return s, nil
}

// rotate begins the segment behind s.
func (in *Log) rotate(s *Segment) (*Segment, error) {
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
func (in *Log) prepare(number uint64) {
	if len(in.prepared) > 0 || in.preparing.Swap(true) {
		return
	}
	in.making.Add(1)
	go func() {
		defer in.making.Done()
		if s, err := in.makeSegment(number); err == nil {
			in.prepared <- s
		}
		in.preparing.Store(false)
	}()
}

func (in *Log) nextSegment(number uint64) (*Segment, error) {
	in.making.Wait()
	select {
	case s := <-in.prepared:
		if s.hasName() {
			return s, nil
		}
		s.db.Close()
	default:
	}
	return in.makeSegment(number)
}

// makeSegment makes a file with that number, or the next that is free.
func (in *Log) makeSegment(number uint64) (*Segment, error) {
	if err := ask(in.Hooks.Home); err != nil {
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
	if err := ask(in.Hooks.Home); err != nil {
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

// RotateNow begins a new file, unless the last is one.
func (in *Log) RotateNow() error {
	in.commitMu.Lock()
	defer in.releaseCommit()
	s, err := in.newest()
	if err != nil || s.first == 0 {
		return err
	}
	_, err = in.rotate(s)
	return err
}
