package store

import (
	"errors"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/wire"
)

// update is one write transaction on state.db. What bbolt does about a damaged page, which is to
// panic, ends the writer and not the process: see Broken.
func (s *Store) update(f func(tx *bolt.Tx) error) error {
	err := boltfile.Guard(func() error { return s.db.Update(f) })
	s.note(err)
	return err
}

// note remembers an error that speaks of damage for the next start, and tells whoever watches.
func (s *Store) note(err error) {
	if err == nil || !datadir.IsIOError(err) {
		return
	}
	s.marker.Note(err)
	if errors.Is(err, wire.ErrDamaged) {
		s.brokenOnce.Do(func() {
			s.log.Error("the files are damaged; start the agent again: it then saves what can be saved", "err", err, "stack", boltfile.Stack(err))
			close(s.broken)
		})
	}
}

// noteRead remembers damage that a reader met for the next start, and says so once. The writer goes on: it
// may never come to that place.
func (s *Store) noteRead(err error) {
	s.marker.Note(err)
	s.unreadable.Do(func() {
		s.log.Error("what is asked for is damaged; start the agent again, which then reads the files and saves what can be saved", "err", err, "stack", boltfile.Stack(err))
	})
}

// Broken is closed when damage was met at work. The store answers errors from then on; the next Open
// checks the files and salvages them.
func (s *Store) Broken() <-chan struct{} { return s.broken }

// closeState closes the state. A file that panicked may hold its own lock for ever.
func (s *Store) closeState() error {
	if s.isBroken() {
		go s.db.Close()
		return nil
	}
	return s.db.Close()
}

func (s *Store) isBroken() bool {
	select {
	case <-s.broken:
		return true
	default:
		return false
	}
}
