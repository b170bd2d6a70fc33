package statetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"testing"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Epoch is the epoch of a new DB.
const Epoch = 7

// DB is a state on a file in the temporary folder of a test.
type DB struct {
	testing.TB
	State *state.State // what the writer would keep in memory
	file  *bolt.State
	path  string
	log   bytes.Buffer
}

// New makes a state that applies by r.
func New(t testing.TB, r domain.Rules) *DB {
	t.Helper()
	d := &DB{TB: t, path: filepath.Join(t.TempDir(), "state.db")}
	d.Must(bolt.Create(d.path, Epoch, state.StateBuckets, state.Init))
	d.open()
	t.Cleanup(func() { d.file.Close() })
	d.SetRules(r)
	return d
}

func (d *DB) open() {
	d.Helper()
	var err error
	d.file, err = bolt.Open(d.path, 0, false)
	d.Must(err)
	d.Must(d.Load())
}

// Load reads the state back from the file.
func (d *DB) Load() error {
	return d.file.View(func(kv engine.Tx) (err error) {
		d.State, err = state.LoadCounted(kv)
		return err
	})
}

// Reopen closes the file and reads the state back from it, as a start does.
func (d *DB) Reopen() {
	d.Helper()
	d.Must(d.file.Close())
	d.open()
}

// SetRules has what follows applied by r. The rules are written as apply.Record writes them, but change nothing else.
func (d *DB) SetRules(r domain.Rules) {
	d.Helper()
	text, err := json.Marshal(r)
	d.Must(err)
	d.Do(func(tx *state.Tx) {
		tx.State.Rules = r
		tx.Put(tx.Bucket(state.BucketMeta), state.MetaRules, text)
		tx.State.Registry.SettleOwners(&r)
	})
}

// Do runs f in a transaction, flushes and commits it.
func (d *DB) Do(f func(*state.Tx)) {
	d.Helper()
	d.Must(d.Try(f))
}

// Try is Do for a transaction that may fail.
func (d *DB) Try(f func(*state.Tx)) error {
	d.Helper()
	err := d.file.Update(func(kv engine.Tx) error {
		tx := state.NewTx(hinted{kv}, d.State, d.logger())
		f(tx)
		return tx.Flush()
	})
	if err != nil {
		d.Must(d.Load())
	}
	return err
}

// Read runs f in a read-only transaction, on the state as the file has it.
func (d *DB) Read(f func(*state.Tx)) {
	d.Helper()
	d.Must(d.file.View(func(kv engine.Tx) error {
		st, err := state.LoadCounted(kv)
		if err == nil {
			f(state.NewTx(hinted{kv}, st, d.logger()))
		}
		return err
	}))
}

// hinted asks for what it is hinted at, as PostgreSQL does and a file does not.
type hinted struct{ engine.Tx }

// Bucket implements engine.Tx.
func (t hinted) Bucket(name []byte) engine.Bucket { return asking(t.Tx.Bucket(name)) }

func asking(b engine.Bucket) engine.Bucket {
	if b == nil {
		return nil
	}
	return askingBucket{b}
}

type askingBucket struct{ engine.Bucket }

// Inner implements engine.Bucket.
func (b askingBucket) Inner(name []byte) engine.Bucket { return asking(b.Bucket.Inner(name)) }

// Want implements engine.Bucket.
func (b askingBucket) Want(ranges iter.Seq2[[]byte, []byte]) {
	for from, to := range ranges {
		if to != nil && bytes.Compare(from, to) >= 0 {
			panic(fmt.Sprintf("a hint at the keys from %x up to %x", from, to))
		}
	}
}

// File returns the file, for a reader and to write bytes past the state.
func (d *DB) File() engine.State { return d.file }

func (d *DB) logger() *slog.Logger { return slog.New(slog.NewTextHandler(&d.log, nil)) }

// Logged returns the lines logged since the last call.
func (d *DB) Logged() string {
	defer d.log.Reset()
	return d.log.String()
}

// Put writes a value past the state and everything that it promises.
func (d *DB) Put(bucket, key, value []byte) {
	d.Helper()
	d.Must(d.file.Update(func(kv engine.Tx) error { return kv.Bucket(bucket).Put(key, value) }))
}

// Keys returns the keys of a bucket, in order.
func (d *DB) Keys(bucket []byte) (keys [][]byte) {
	d.Helper()
	d.Must(d.file.View(func(kv engine.Tx) error {
		return kv.Bucket(bucket).ForEach(func(k, _ []byte) error {
			keys = append(keys, bytes.Clone(k))
			return nil
		})
	}))
	return keys
}

// Must fails the test on an error.
func (d *DB) Must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// Balance checks both equations of the ledger, and that the buckets have as many changes as it counts.
func (d *DB) Balance() {
	d.Helper()
	l := d.State.Ledger
	if sum := l.Events.Sum(); l.Events.Accepted != sum {
		d.Errorf("%d events were accepted, and the ledger accounts for %d: %+v", l.Events.Accepted, sum, l.Events)
	}
	if sum := l.Changes.Sum(); l.Changes.Created != sum {
		d.Errorf("%d changes were created, and the ledger accounts for %d: %+v", l.Changes.Created, sum, l.Changes)
	}
	if n := uint64(len(d.Keys(state.BucketParked))); n != l.Events.Parked+l.Changes.Parked {
		d.Errorf("%d are parked, and the ledger counts %d events and %d changes", n, l.Events.Parked, l.Changes.Parked)
	}
	if n := uint64(len(d.Keys(state.BucketHeld))); n != l.Changes.Held {
		d.Errorf("%d are held, and the ledger counts %d", n, l.Changes.Held)
	}
}

// Frame returns the frame of an event, as the inbox has it.
func Frame(e *domain.Event) []byte { return record.AppendEvent(nil, e) }
