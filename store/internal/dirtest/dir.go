package dirtest

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/apply"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/datadir"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
	"personasync/store/internal/wal"
)

// Dir is a data directory.
type Dir struct {
	testing.TB
	Path string
}

// New makes a data directory without a record. Its rules send by the given methods, and its epoch is statetest.Epoch.
func New(t testing.TB, send domain.SendMethods) *Dir { return NewOf(t, statetest.Epoch, send) }

// NewOf is New for another epoch, and so another store.
func NewOf(t testing.TB, epoch uint32, send domain.SendMethods) *Dir {
	t.Helper()
	d := &Dir{TB: t, Path: filepath.Join(t.TempDir(), "data")}
	rules := statetest.Rules(send)
	frame, err := record.AppendRules(nil, &rules)
	d.Must(errors.Join(err, os.Mkdir(d.Path, 0o700), bolt.Create(d.StatePath(), epoch, state.StateBuckets, state.Init)))
	d.append(epoch, frame)
	d.Apply()
	return d
}

// StatePath is where the state is.
func (d *Dir) StatePath() string { return filepath.Join(d.Path, datadir.StateFile) }

// Receive appends events to the inbox, one record each, and applies none.
func (d *Dir) Receive(events ...*domain.Event) {
	d.Helper()
	var frames [][]byte
	for _, e := range events {
		frames = append(frames, statetest.Frame(e))
	}
	d.append(d.epoch(), frames...)
}

func (d *Dir) append(epoch uint32, frames ...[]byte) {
	d.Helper()
	d.Inbox(epoch, func(in *wal.Log) { d.Must(in.Append(context.Background(), frames...)) })
}

// Rotate begins the next file of the inbox.
func (d *Dir) Rotate() {
	d.Helper()
	d.Inbox(d.epoch(), func(in *wal.Log) { d.Must(in.RotateNow()) })
}

// Inbox opens the inbox to write, and closes it behind f.
func (d *Dir) Inbox(epoch uint32, f func(in *wal.Log)) {
	d.Helper()
	in, err := wal.Open(d.Path, wal.Config{Epoch: epoch, Records: record.InboxRecords})
	d.Must(err)
	defer in.Close()
	f(in)
}

// Apply applies every record that the state has not, in one transaction.
func (d *Dir) Apply() {
	d.Helper()
	d.Inbox(d.epoch(), func(in *wal.Log) {
		d.Write(func(tx *state.Tx) {
			for tx.State.Applied < in.Last() { // Read returns records of one file
				records, err := in.Read(tx.State.Applied+1, 1<<30)
				d.Must(err)
				for _, r := range records {
					rec, err := record.DecodeRecord(r.Seq, r.Frame)
					d.Must(err)
					apply.Record(tx, rec, r.Frame)
				}
			}
		})
	})
}

func (d *Dir) epoch() (epoch uint32) {
	d.Helper()
	d.Open(true, func(db *bolt.State) error {
		var err error
		epoch, err = db.Epoch()
		return err
	})
	return epoch
}

// Open opens the state, and closes it behind f.
func (d *Dir) Open(readOnly bool, f func(db *bolt.State) error) {
	d.Helper()
	db, err := bolt.Open(d.StatePath(), 0, readOnly)
	d.Must(err)
	d.Must(errors.Join(f(db), db.Close()))
}

// Write runs f in a transaction on the state, flushes and commits it.
func (d *Dir) Write(f func(tx *state.Tx)) {
	d.Helper()
	d.Edit(func(kv engine.Tx) error {
		st, err := state.LoadCounted(kv)
		if err != nil {
			return err
		}
		tx := state.NewTx(kv, st, slog.New(slog.DiscardHandler))
		f(tx)
		return tx.Flush()
	})
}

// Edit writes past the state and everything that it promises.
func (d *Dir) Edit(f func(kv engine.Tx) error) {
	d.Helper()
	d.Open(false, func(db *bolt.State) error { return db.Update(f) })
}

// Load returns the state as the file has it.
func (d *Dir) Load() (st *state.State) {
	d.Helper()
	d.Open(true, func(db *bolt.State) error {
		return db.View(func(kv engine.Tx) (err error) {
			st, err = state.LoadCounted(kv)
			return err
		})
	})
	return st
}

// Last returns the number of the last record received.
func (d *Dir) Last() (last uint64) {
	d.Helper()
	d.Inbox(d.epoch(), func(in *wal.Log) { last = in.Last() })
	return last
}

// Clone copies the directory.
func (d *Dir) Clone(t testing.TB) *Dir {
	t.Helper()
	c := &Dir{TB: t, Path: filepath.Join(t.TempDir(), "data")}
	c.Must(os.CopyFS(c.Path, os.DirFS(d.Path)))
	return c
}

// CopyFile copies a file under another name in its folder, or over another file.
func (d *Dir) CopyFile(from, to string) {
	d.Helper()
	body, err := os.ReadFile(from)
	d.Must(errors.Join(err, os.WriteFile(to, body, 0o600)))
}

// Leaves returns the pages of a file that hold entries of a bucket, in the order of their keys.
func (d *Dir) Leaves(path, bucket string) (pages []uint64) {
	d.Helper()
	file, err := boltpage.Open(path)
	d.Must(err)
	defer file.Close()
	m, _ := file.Newest()
	w := boltpage.Walk{
		File: file, Meta: m, Fault: func(error) {}, Bucket: func([]string, uint64) {},
		Leaf: func(page uint64, path []string, _ []boltpage.Element) {
			if len(path) == 1 && path[0] == bucket {
				pages = append(pages, page)
			}
		},
	}
	w.Run()
	return pages
}

// Spoil writes over pages of a file, as a failing disk does.
func (d *Dir) Spoil(path string, pages ...uint64) {
	d.Helper()
	file, err := boltpage.Open(path)
	d.Must(err)
	size := file.PageSize
	file.Close()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	d.Must(err)
	junk := make([]byte, size)
	for i := range junk {
		junk[i] = 0xa5
	}
	for _, page := range pages {
		_, err := f.WriteAt(junk, int64(page)*size)
		d.Must(err)
	}
	d.Must(f.Close())
}

// Must fails the test on an error.
func (d *Dir) Must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}
