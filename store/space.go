package store

import (
	"fmt"
	"os"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/wal"
)

const (
	measureEvery = time.Second
)

// Full says why events are refused for want of room, as a *FullError; nil when they are not. It costs
// nothing.
func (s *Store) Full() error { return s.budget.Refusal() }

// Space returns the last measurement, at most about a second old.
func (s *Store) Space() datadir.Space {
	s.budget.Mu.Lock()
	defer s.budget.Mu.Unlock()
	return s.budget.Space
}

// watchDisk measures until the store closes.
func (s *Store) watchDisk() {
	tick := time.NewTicker(measureEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.budget.Hurry:
		case <-s.life.Done():
			return
		}
		if s.place.Refusal() == nil { // else what is there is not ours
			s.lookAround()
		}
	}
}

// lookAround measures, makes room of what is dispensable when there is little, and judges.
func (s *Store) lookAround() {
	m, applied, err := s.measure()
	if err == nil && m.Refusal(true) != "" && s.shedInbox(applied) {
		m, _, err = s.measure()
	}
	if err != nil {
		s.log.Error("the room on the disk could not be measured", "err", err)
		return
	}
	if !s.budget.Judge(m, time.Now()) {
		return
	}
	if err := s.budget.Refusal(); err != nil {
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
	if s.inbox.IsApplied(applied, datadir.SmallestSegment) {
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
func (s *Store) measure() (m datadir.Space, applied uint64, err error) {
	m.MaxDataBytes = s.budget.Limit.Load()
	if m.FreeBytes, m.FloorBytes, err = datadir.FreeBytes(s.dir); err != nil {
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
		} else if e.Name() == datadir.StateFile {
			m.DataBytes += boltfile.OnDisk(info)
		}
	}
	if m.StateBytes, m.LiveBytes, err = s.db.Fill(); err != nil {
		return m, 0, err
	}
	applied = s.writer.Applied()
	m.UnappliedBytes = s.inbox.UnappliedBytes(applied)
	return m, applied, nil
}
