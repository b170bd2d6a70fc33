package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/state"
)

// Compact rewrites state.db without its free pages. Everything goes on meanwhile; leases, settling and applying stand
// still for the pause that the report tells.
func (s *Store) Compact(ctx context.Context, progress func(done, total int64)) (CompactReport, error) {
	return s.upkeep.compact(ctx, progress)
}

// CompactIfSparse compacts when enough of state.db is free to be worth it, and reports whether it did.
func (s *Store) CompactIfSparse(ctx context.Context) (r CompactReport, did bool, err error) {
	return s.upkeep.compactIfSparse(ctx)
}

// Compaction rewrites state.db without its free pages, while the store works on:
//
//	copy     every key in order, a slice at a time: no read transaction lasts, no writer waits
//	replay   the keys written meanwhile, in rounds, until few are left
//	swap     between two transactions: the last keys, fsync, rename, fsync of the folder
//
// Only the swap stops the writer. Nothing stops acknowledgements, which are the inbox's. A crash at any point leaves one
// whole state.db: the old one up to the rename, the new one from then on. At the rename they have the same content.

// compactFile is the unfinished copy. One that a crash left is removed at the next start.
const compactFile = datadir.CompactFile

// When a file is compacted unasked. Files below 64 MiB have 128 KiB of freelist at most, and stay.
const (
	// At a half, a compaction gives back at least as much disk as it writes, and time of backups, which copy free pages
	// too.
	sparseBytes = 64 << 20
	sparseShare = 0.5
	sparseRest  = time.Hour // between two of them: a file that fills and drains need not shrink each time

	// Every commit writes the whole freelist, eight bytes a free page, into pages that follow each other. Once it is long,
	// there is no such run of free pages left. Then it goes to the end of the file, and the pages that it leaves make it
	// longer. Measured: 200 MB of state under load, with MoEngage unreachable a quarter of the time, grew from 0.4 GB to
	// 1.7 GB within eight minutes, and a commit wrote 3 MB. So when the freelists written since the last compaction come to
	// tollShare times the size of a compaction, one is due whatever the share and the rest.
	tollShare = 4

	// Where there is no room for events, a compaction that gives back less is worth it.
	pressedBytes = 2 << 20
	pressedShare = 0.9
)

// CompactReport is what a compaction did.
type CompactReport struct {
	Before int64         `json:"before"` // bytes of state.db on the disk
	After  int64         `json:"after"`
	Pause  time.Duration `json:"pause_ns"` // how long the writer stood still
	Took   time.Duration `json:"took_ns"`
}

// compact is Store.Compact.
func (s *upkeep) compact(ctx context.Context, progress func(done, total int64)) (CompactReport, error) {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return CompactReport{}, err
	}
	defer end()
	if s.db == nil {
		return CompactReport{}, errNotFiles
	}
	return s.compactNow(ctx, progress)
}

// compactNow is compact by a caller that holds busy.
func (s *upkeep) compactNow(ctx context.Context, progress func(done, total int64)) (CompactReport, error) {
	begun := time.Now()
	c := &compaction{s: s, path: filepath.Join(s.place.Dir, compactFile), progress: progress}
	err := c.run(ctx)
	c.report.Took = time.Since(begun)
	if err != nil {
		return CompactReport{}, fmt.Errorf("compact %s: %w", datadir.StateFile, datadir.Translate(err))
	}
	s.log.Info("the state was compacted", "before", domain.Bytes(c.report.Before), "after", domain.Bytes(c.report.After), "pause", c.report.Pause, "took", c.report.Took)
	return c.report, nil
}

// compactIfSparse is Store.CompactIfSparse.
func (s *upkeep) compactIfSparse(ctx context.Context) (r CompactReport, did bool, err error) {
	if s.db == nil {
		return r, false, nil
	}
	size, live, err := s.db.Fill()
	if err != nil || !s.sparse(size, live, time.Now()) {
		return r, false, err
	}
	if r, err = s.compact(ctx, nil); errors.Is(err, ErrUnderway) {
		return r, false, nil
	}
	s.compacted.Store(time.Now().UnixNano())
	return r, err == nil, err
}

func (s *upkeep) sparse(size, live int64, now time.Time) bool {
	if s.budget.Refusal() != nil && size-live > pressedBytes && float64(live) < pressedShare*float64(size) {
		return true
	}
	if size-live > sparseBytes && s.db.FreelistBytes.Load() > tollShare*max(live, sparseBytes) {
		return true
	}
	last := time.Unix(0, s.compacted.Load())
	return size > sparseBytes && float64(live) < sparseShare*float64(size) && now.Sub(last).Abs() > sparseRest // however the clock was set
}

// compaction is one run of compact.
type compaction struct {
	s        *upkeep
	path     string
	copy     *bolt.Copy
	progress func(done, total int64)
	total    int64
	report   CompactReport
}

func (c *compaction) run(ctx context.Context) (err error) {
	if err := c.s.place.Compare(); err != nil {
		return err
	}
	if err := c.checkSpace(); err != nil {
		return err
	}
	if err := c.begin(); err != nil {
		return err
	}
	if err = c.copy.All(ctx); err == nil {
		err = c.copy.CatchUp(ctx)
	}
	var old *bolt.State
	if err == nil {
		err = errors.Join(c.s.writer.Pause(func() { old, err = c.swap() }), err)
	}
	if old == nil {
		return errors.Join(err, c.abandon())
	}
	return errors.Join(err, c.finish(old))
}

// checkSpace returns an error if the copy would not fit on the disk.
func (c *compaction) checkSpace() error {
	info, err := os.Stat(filepath.Join(c.s.place.Dir, datadir.StateFile))
	if err != nil {
		return err
	}
	c.report.Before = boltfile.OnDisk(info)
	if _, c.total, err = c.s.db.Fill(); err != nil {
		return err
	}
	free, _, err := datadir.FreeBytes(c.s.place.Dir)
	if err != nil {
		return err
	}
	if need := c.total + c.total/5; free < need {
		return fmt.Errorf("%w: the copy needs %s (1.2 times the %s that are live) beside the file, and %s are free: make room, or move the data to a larger disk by backup and restore",
			domain.ErrFull, domain.Bytes(need), domain.Bytes(c.total), domain.Bytes(free))
	}
	return nil
}

// begin makes the file, and has the writer note the keys that it writes.
func (c *compaction) begin() (err error) {
	if c.copy, err = c.s.db.NewCopy(c.path, state.StateMmap, c.total, c.progress); err != nil {
		return err
	}
	if err := c.s.writer.Pause(func() { c.trace(c.copy.Dirty()) }); err != nil {
		return errors.Join(err, c.copy.Done().Close(), os.Remove(c.path))
	}
	crashpoint.Reach(crashpoint.CompactionBegun)
	return nil
}

// trace has the state note in dirty the keys that are written; nil ends that. It is called within Pause.
func (c *compaction) trace(dirty *bolt.DirtySet) {
	c.s.db.Trace(dirty)
	if dirty == nil {
		c.s.writer.HoldWhile(nil)
		return
	}
	c.s.writer.HoldWhile(dirty.Full)
}

// swap runs in the writer's goroutine, between two transactions. It returns the file that was replaced, or nil if none
// was.
func (c *compaction) swap() (old *bolt.State, err error) {
	begun := time.Now()
	defer func() { c.report.Pause = time.Since(begun) }()
	if err := c.copy.Last(); err != nil {
		return nil, err
	}
	crashpoint.Reach(crashpoint.CompactionSynced)
	if old, err = c.takeName(); err != nil {
		return nil, err
	}
	if err := boltfile.SyncDir(c.s.place.Dir); err != nil {
		return old, fmt.Errorf("sync the data directory: %w", err)
	}
	crashpoint.Reach(crashpoint.CompactionSwapped)
	return old, nil
}

// takeName puts the copy in the place of the state.
func (c *compaction) takeName() (old *bolt.State, err error) {
	err = c.s.place.ReplaceState(c.path, func(path string) {
		crashpoint.Reach(crashpoint.CompactionRenamed)
		c.s.writer.Moved(datadir.HomeOf(path))
		old = c.s.db.Replace(c.copy.Done())
	})
	return old, err
}

// finish closes the file that was replaced, once its last reader is done.
func (c *compaction) finish(old *bolt.State) error {
	err := old.Close()
	info, statErr := os.Stat(filepath.Join(c.s.place.Dir, datadir.StateFile))
	if statErr != nil {
		return errors.Join(err, statErr)
	}
	c.report.After = boltfile.OnDisk(info)
	if c.progress != nil {
		c.progress(c.total, c.total)
	}
	return err
}

// abandon removes the copy, and leaves everything else as it was.
func (c *compaction) abandon() error {
	_ = c.s.writer.Pause(func() { c.trace(nil) }) // a writer that has ended writes nothing more
	return errors.Join(c.copy.Done().Close(), os.Remove(c.path))
}
