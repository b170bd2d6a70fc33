package store

import (
	"errors"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// stateDB is state.db, whichever file bears the name: a compaction puts another in its place while
// readers come and go. Only the writer's goroutine calls Update and replace.
type stateDB struct {
	db   atomic.Pointer[bolt.DB]
	toll atomic.Int64 // bytes of lists of free pages written to this file, one with every commit
}

func newStateDB(db *bolt.DB) *stateDB {
	f := new(stateDB)
	f.db.Store(db)
	return f
}

// View runs one read transaction. A reader that was given the old file a moment before it closed is
// given the new one; it has read nothing by then.
func (f *stateDB) View(look func(tx *bolt.Tx) error) error {
	for {
		db := f.db.Load()
		err := db.View(look)
		if errors.Is(err, berrors.ErrDatabaseNotOpen) && f.db.Load() != db {
			continue
		}
		return err
	}
}

// Update runs one transaction.
func (f *stateDB) Update(do func(tx *bolt.Tx) error) error {
	db := f.db.Load()
	err := db.Update(do)
	stats := db.Stats()
	f.toll.Add(int64(stats.FreelistInuse))
	return err
}

// replace makes db the state, and returns what was. Closing that waits for its last readers.
func (f *stateDB) replace(db *bolt.DB) (was *bolt.DB) {
	f.toll.Store(0)
	return f.db.Swap(db)
}

// Close waits for the readers.
func (f *stateDB) Close() error { return f.db.Load().Close() }

// fill says how large the file is, up to its last page in use, and how much of that is live.
func (f *stateDB) fill() (size, live int64, err error) {
	err = f.View(func(tx *bolt.Tx) error {
		size = tx.Size()
		live = size - int64(tx.DB().Stats().FreePageN+tx.DB().Stats().PendingPageN)*int64(tx.DB().Info().PageSize)
		return nil
	})
	return size, max(live, 0), err
}
