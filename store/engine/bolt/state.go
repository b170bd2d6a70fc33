package bolt

import (
	"errors"
	"io"
	"os"
	"sync/atomic"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/boltfile"
)

// State is an engine.State in a file. A compaction puts another file in its place while readers come and go. One
// goroutine, the writer's, calls Update, Replace and Trace; all else may be called concurrently.
type State struct {
	db    atomic.Pointer[bbolt.DB]
	dirty *DirtySet // what a compaction must copy again; nil without one

	// FreelistBytes is how much was written for freelists since the file was made: every commit writes one.
	FreelistBytes atomic.Int64
}

// Open opens the file at path. mmap is the address space to reserve; 0 is the file's size.
// It returns boltfile.ErrInUse if another process has it.
func Open(path string, mmap int, readOnly bool) (*State, error) {
	db, err := boltfile.Open(path, mmap, readOnly)
	if err != nil {
		return nil, err
	}
	return newState(db), nil
}

// Create makes the file at path, with its epoch, its buckets and what fill writes: all of it or nothing.
func Create(path string, epoch uint32, buckets [][]byte, fill func(engine.Tx) error) error {
	return boltfile.Create(path, func(db *bbolt.DB) error {
		if err := boltfile.Init(db, epoch, buckets...); err != nil {
			return err
		}
		return newState(db).Update(fill)
	})
}

func newState(db *bbolt.DB) *State {
	s := new(State)
	s.db.Store(db)
	return s
}

// View implements engine.State. A damaged page is wire.ErrDamaged, and a state that was closed
// domain.ErrClosed. A reader that was given the old file a moment before it closed is given the new one; it
// has read nothing by then.
func (s *State) View(f func(engine.Tx) error) error {
	return s.view(func(t *bbolt.Tx) error { return f(&tx{Tx: t}) })
}

func (s *State) view(f func(*bbolt.Tx) error) error {
	return boltfile.Guard(func() error {
		for {
			db := s.db.Load()
			err := db.View(f)
			switch {
			case !errors.Is(err, berrors.ErrDatabaseNotOpen):
				return err
			case s.db.Load() == db:
				return domain.ErrClosed
			}
		}
	})
}

// Update implements engine.State. It seals the small buckets, see boltfile.Seal. A damaged page, which bbolt panics
// about, is wire.ErrDamaged; the file may then hold its own lock forever.
func (s *State) Update(f func(engine.Tx) error) error {
	db := s.db.Load()
	t := &tx{tracing: s.dirty != nil}
	err := boltfile.Guard(func() error {
		return db.Update(func(raw *bbolt.Tx) error {
			t.Tx = raw
			if err := f(t); err != nil {
				return err
			}
			t.note(DirtyKey{Bucket: string(boltfile.BucketMeta), Key: string(boltfile.MetaSeal)})
			return boltfile.Seal(raw)
		})
	})
	stats := db.Stats()
	s.FreelistBytes.Add(int64(stats.FreelistInuse))
	s.dirty.Merge(t.touched) // after the commit: a copy that takes a key now also reads its new value
	return err
}

// Trace has the keys that are written from now on noted in set; nil ends that.
func (s *State) Trace(set *DirtySet) { s.dirty = set }

// Replace makes the file of other the state, and returns the one that was. Closing that waits for its last readers.
func (s *State) Replace(other *State) (was *State) {
	s.dirty = nil
	s.FreelistBytes.Store(0)
	return newState(s.db.Swap(other.db.Load()))
}

// Close implements engine.State.
func (s *State) Close() error { return s.db.Load().Close() }

// DB returns the file, for what bbolt alone can say of it.
func (s *State) DB() *bbolt.DB { return s.db.Load() }

// Path returns the name that the file was opened by.
func (s *State) Path() string { return s.db.Load().Path() }

// Epoch verifies the format of the file and the seal of its small buckets, and returns its epoch.
func (s *State) Epoch() (uint32, error) { return boltfile.Epoch(s.db.Load()) }

// AddBuckets makes those of the buckets that are missing.
func (s *State) AddBuckets(names ...[]byte) error {
	return s.db.Load().Update(func(t *bbolt.Tx) error {
		for _, name := range names {
			if _, err := t.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
}

// Fill returns how large the file is, up to its last page in use, and how much of that is live, in bytes.
func (s *State) Fill() (size, live int64, err error) {
	err = s.view(func(t *bbolt.Tx) error {
		size = t.Size()
		stats := t.DB().Stats()
		live = size - int64(stats.FreePageN+stats.PendingPageN)*int64(t.DB().Info().PageSize)
		return nil
	})
	return size, max(live, 0), err
}

// Spare returns how many bytes the file holds that no entry uses, and that the next transactions write to; 0 if it cannot be read.
func (s *State) Spare() int64 {
	size, live, err := s.Fill()
	if err != nil {
		return 0
	}
	return size - live
}

// Snapshot runs f in a read-only transaction that lasts: file writes the whole file to w as it is at this moment,
// size bytes. Pages that are freed meanwhile are not used again, so the file grows by every write.
func (s *State) Snapshot(f func(tx engine.Tx, size int64, file func(w io.Writer) error) error) error {
	return s.view(func(t *bbolt.Tx) error {
		return f(&tx{Tx: t}, t.Size(), func(w io.Writer) error { _, err := t.WriteTo(w); return err })
	})
}

// Transaction is a transaction without a function: of a salvage, which writes as it comes upon entries.
type Transaction struct{ tx }

// Begin begins one, which waits for nobody.
func (s *State) Begin() (*Transaction, error) {
	t, err := s.db.Load().Begin(true)
	return &Transaction{tx{Tx: t}}, err
}

// Fresh makes a file at path, with its epoch and buckets, that is not synced before Sync: nobody knows of it yet.
func Fresh(path string, mmap int, epoch uint32, buckets [][]byte) (*State, error) {
	os.Remove(path)
	db, err := boltfile.Open(path, mmap, false)
	if err != nil {
		return nil, err
	}
	db.NoSync = true
	return newState(db), boltfile.Init(db, epoch, buckets...)
}

// Sync has everything on disk that was written so far.
func (s *State) Sync() error { return s.db.Load().Sync() }
