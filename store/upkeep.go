package store

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"personasync/store/domain"
	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/repair"
	"personasync/store/internal/snapshot"
	"personasync/store/internal/wal"
	"personasync/store/internal/writer"
)

// Maintenance of the data as a whole. Compact, Backup, Check and an erasure run one at a time: another one is ErrUnderway,
// but an erasure waits. progress may be nil; it counts bytes.

// Backup writes a backup of the store as it is now, while everything goes on. Until state.db is copied, pages freed
// meanwhile are not used again, so that it grows with every write; when that uses up the disk budget for events, the backup
// gives up. So w must not be slow.
func (s *Store) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (BackupReport, error) {
	return s.upkeep.backup(ctx, w, progress)
}

// Check checks a store that is at work, all but bbolt's page links, at one moment. Like a backup it is a long reader, and
// gives up when the writes of the meantime use up the disk budget for events.
func (s *Store) Check(ctx context.Context, progress func(done, total int64)) (*CheckReport, error) {
	return s.upkeep.check(ctx, progress)
}

// upkeep works on the data as a whole. A compaction, a backup, a check and an erasure run one at a time, and
// none outlives the store. Pruning runs beside them, but removes nothing of the inbox while a backup reads it.
type upkeep struct {
	log     *slog.Logger
	r       *query.Reader
	records inbox
	writer  *writer.Writer
	budget  *datadir.DiskBudget

	// The files; nil on PostgreSQL.
	place *datadir.Place
	db    *bolt.State
	inbox *wal.Log

	life      context.Context // of the store
	busy      sync.Mutex      // held by a compaction, a backup, a check or an erasure, and for good once the store closes
	pinned    atomic.Bool     // a backup reads the inbox: nothing of it is removed
	compacted atomic.Int64    // when it was last compacted unasked, ns
	retention atomic.Pointer[Options]
	exits     exitWalk         // of prune
	now       func() time.Time // of a command; time.Now but in tests
}

// ErrUnderway says that the store is being compacted, backed up or checked already.
var ErrUnderway = errors.New("a compaction, a backup or a check is under way already: try again when it is done")

// errNotFiles says that a work on files is asked for where PostgreSQL keeps the data.
var errNotFiles = errors.New("the data is in PostgreSQL and not in files")

// begin takes busy, if it is free and the store is open. end releases it, and ends the context that is returned, which
// ends with the store.
func (u *upkeep) begin(ctx context.Context) (_ context.Context, end func(), err error) {
	if !u.busy.TryLock() {
		return nil, nil, ErrUnderway
	}
	if u.life.Err() != nil {
		u.busy.Unlock()
		return nil, nil, domain.ErrClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(u.life, func() { cancel(domain.ErrClosed) })
	return ctx, func() { stop(); cancel(nil); u.busy.Unlock() }, nil
}

// longRead bounds a reader of the whole state at one moment. Pages that are freed meanwhile are not reused, so that state.db
// grows by every write. halt returns an error once that uses up the disk budget; grew
// returns by how much the file did.
func (u *upkeep) longRead() (halt func() error, grew func() int64) {
	path, had := filepath.Join(u.place.Dir, datadir.StateFile), u.budget.Refusal() == nil
	before := boltfile.OnDiskAt(path)
	return func() error {
		if full := u.budget.Refusal(); had && full != nil {
			return full
		}
		return nil
	}, func() int64 { return boltfile.OnDiskAt(path) - before }
}

// backup is Store.Backup.
func (u *upkeep) backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (r snapshot.BackupReport, err error) {
	ctx, end, err := u.begin(ctx)
	if err != nil {
		return r, err
	}
	defer end()
	u.pinned.Store(true)
	defer u.pinned.Store(false)
	if u.db == nil {
		return r, errNotFiles
	}
	halt, grew := u.longRead()
	r, err = snapshot.Backup(ctx, u.r, u.db, u.inbox, w, progress, halt)
	r.Grew = grew()
	return r, err
}

// check is Store.Check.
func (u *upkeep) check(ctx context.Context, progress func(done, total int64)) (*repair.CheckReport, error) {
	ctx, end, err := u.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if u.db == nil {
		return repair.CheckTables(ctx, u.r, u.records.First())
	}
	halt, grew := u.longRead()
	r, err := repair.CheckLive(ctx, u.r, u.db, u.inbox, progress, halt)
	if err == nil {
		r.Grew = grew()
	}
	return r, err
}
