package state

import (
	"errors"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// StateDB is state.db, whichever file bears the name: a compaction puts another in its place while
// readers come and go. Only the writer's goroutine calls Update and replace.
type StateDB struct {
	DB   atomic.Pointer[bolt.DB]
	Toll atomic.Int64 // bytes of lists of free pages written to this file, one with every commit
}

func NewStateDB(db *bolt.DB) *StateDB {
	f := new(StateDB)
	f.DB.Store(db)
	return f
}

// View runs one read transaction. A reader that was given the old file a moment before it closed is
// given the new one; it has read nothing by then.
func (f *StateDB) View(look func(tx *bolt.Tx) error) error {
	for {
		db := f.DB.Load()
		err := db.View(look)
		if errors.Is(err, berrors.ErrDatabaseNotOpen) && f.DB.Load() != db {
			continue
		}
		return err
	}
}

// Update runs one transaction.
func (f *StateDB) Update(do func(tx *bolt.Tx) error) error {
	db := f.DB.Load()
	err := db.Update(do)
	stats := db.Stats()
	f.Toll.Add(int64(stats.FreelistInuse))
	return err
}

// Replace makes db the state, and returns what was. Closing that waits for its last readers.
func (f *StateDB) Replace(db *bolt.DB) (was *bolt.DB) {
	f.Toll.Store(0)
	return f.DB.Swap(db)
}

// Close waits for the readers.
func (f *StateDB) Close() error { return f.DB.Load().Close() }

// Fill says how large the file is, up to its last page in use, and how much of that is live.
func (f *StateDB) Fill() (size, live int64, err error) {
	err = f.View(func(tx *bolt.Tx) error {
		size = tx.Size()
		live = size - int64(tx.DB().Stats().FreePageN+tx.DB().Stats().PendingPageN)*int64(tx.DB().Info().PageSize)
		return nil
	})
	return size, max(live, 0), err
}
