package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/snapshot"
	"personasync/store/internal/state"
)

// Compaction writes state.db anew, without its free pages, while the store works on:
//
//	copy     every key in order, a slice at a time: no read transaction lasts, no writer waits
//	replay   what was written behind the copy's back, in rounds, until little is left
//	swap     between two transactions: the last keys, fsync, rename, fsync of the folder
//
// Only the swap stops the writer, and nothing stops acknowledgements: those are the inbox's. A crash
// at any point leaves one whole state.db: the old one up to the rename, the new one from then on, and
// at the rename they say the same.

// compactFile is the copy in the making; one that a crash left is removed at the next start.
const compactFile = datadir.CompactFile

const (

	// slicePause is the least the disk is left to acknowledgements after each slice; as long as the
	// slice took, usually. A slice's fsync delays theirs.
	slicePause = 5 * time.Millisecond

	// swapKeys is how many keys the swap may have left to copy: some milliseconds' worth. If rounds do
	// not get there, because as much is written as is copied, applying stops for the last ones.
	swapKeys = 1000
	rounds   = 8
)

// When a file is compacted unasked. Files below 64 MiB have 128 KiB of freelist at most, and stay.
const (
	// At a half, a compaction gives back at least what it writes: disk, and time of backups, which copy
	// free pages too.
	sparseBytes = 64 << 20
	sparseShare = 0.5
	sparseRest  = time.Hour // between two of them: a file that fills and drains need not shrink each time

	// Every commit writes the freelist whole, eight bytes a free page, into pages that follow each other.
	// Where it has become long there is no such run of free pages left; it goes to the end of the file, and
	// the run that it leaves makes it longer: measured, 200 MB of state under load, MoEngage away a quarter
	// of the time, grew from 0.4 GB to 1.7 GB within eight minutes, ever faster, a commit writing 3 MB. So
	// when the freelists written since the last compaction make some times what a compaction would write,
	// it is time for one, whatever the share and the rest.
	tollShare = 4

	// Where there is no room for events, less is worth it.
	pressedBytes = 2 << 20
	pressedShare = 0.9
)

// CompactReport is what a compaction did.
type CompactReport struct {
	Before int64         `json:"before"` // bytes of state.db on the disk
	After  int64         `json:"after"`
	Pause  time.Duration `json:"pause_ns"` // how long taking, settling and applying stood still
	Took   time.Duration `json:"took_ns"`
}

// Compact rewrites state.db without its free pages. Everything goes on meanwhile; taking, settling and
// applying stand still for the pause that the report tells. progress may be nil; it counts bytes.
func (s *Store) Compact(ctx context.Context, progress func(done, total int64)) (CompactReport, error) {
	if err := s.beginUpkeep(); err != nil {
		return CompactReport{}, err
	}
	defer s.upkeep.Unlock()
	ctx, cancel := s.lifelong(ctx)
	defer cancel()
	return s.compact(ctx, progress)
}

// compact is Compact by whoever holds the upkeep lock.
func (s *Store) compact(ctx context.Context, progress func(done, total int64)) (CompactReport, error) {
	begun := time.Now()
	c := &compaction{s: s, path: filepath.Join(s.dir, compactFile), progress: progress}
	err := c.run(ctx)
	c.report.Took = time.Since(begun)
	if err != nil {
		return CompactReport{}, fmt.Errorf("compact %s: %w", datadir.StateFile, datadir.Translate(err))
	}
	s.log.Info("the state was compacted", "before", domain.Bytes(c.report.Before), "after", domain.Bytes(c.report.After), "pause", c.report.Pause, "took", c.report.Took)
	return c.report, nil
}

// CompactIfSparse compacts when enough of state.db is free to be worth it, and reports whether it did.
func (s *Store) CompactIfSparse(ctx context.Context) (r CompactReport, did bool, err error) {
	size, live, err := s.db.Fill()
	if err != nil || !s.sparse(size, live, time.Now()) {
		return r, false, err
	}
	if r, err = s.Compact(ctx, nil); errors.Is(err, ErrUnderway) {
		return r, false, nil
	}
	s.compacted.Store(time.Now().UnixNano())
	return r, err == nil, err
}

func (s *Store) sparse(size, live int64, now time.Time) bool {
	if s.Full() != nil && size-live > pressedBytes && float64(live) < pressedShare*float64(size) {
		return true
	}
	if size-live > sparseBytes && s.db.Toll.Load() > tollShare*max(live, sparseBytes) {
		return true
	}
	last := time.Unix(0, s.compacted.Load())
	return size > sparseBytes && float64(live) < sparseShare*float64(size) && now.Sub(last).Abs() > sparseRest // however the clock was set
}

// compaction is one Compact.
type compaction struct {
	s        *Store
	path     string
	to       *bolt.DB
	dirty    *state.DirtySet
	progress func(done, total int64)
	done     int64
	total    int64
	report   CompactReport
}

func (c *compaction) run(ctx context.Context) (err error) {
	if err := c.s.lookForFiles(); err != nil {
		return err
	}
	if err := c.checkRoom(); err != nil {
		return err
	}
	if err := c.begin(); err != nil {
		return err
	}
	if err = c.copyAll(ctx); err == nil {
		err = c.catchUp(ctx)
	}
	var old *bolt.DB
	if err == nil {
		err = errors.Join(c.s.writer.Pause(func() { old, err = c.swap() }), err)
	}
	if old == nil {
		return errors.Join(err, c.abandon())
	}
	return errors.Join(err, c.finish(old))
}

// checkRoom refuses where the copy would not fit.
func (c *compaction) checkRoom() error {
	info, err := os.Stat(filepath.Join(c.s.dir, datadir.StateFile))
	if err != nil {
		return err
	}
	c.report.Before = boltfile.OnDisk(info)
	if _, c.total, err = c.s.db.Fill(); err != nil {
		return err
	}
	free, _, err := datadir.FreeBytes(c.s.dir)
	if err != nil {
		return err
	}
	if need := c.total + c.total/5; free < need {
		return fmt.Errorf("%w: the copy needs %s (1.2 times the %s that are live) beside the file, and %s are free: make room, or move the data to a larger disk by backup and restore",
			domain.ErrFull, domain.Bytes(need), domain.Bytes(c.total), domain.Bytes(free))
	}
	return nil
}

// begin makes the file, with the buckets, and has the writer trace what it touches.
func (c *compaction) begin() (err error) {
	os.Remove(c.path)
	if c.to, err = boltfile.Open(c.path, state.StateMmap, false); err != nil {
		return err
	}
	var names [][]byte
	err = c.s.db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, _ *bolt.Bucket) error {
			names = append(names, bytes.Clone(name))
			return nil
		})
	})
	if err == nil {
		err = c.to.Update(func(tx *bolt.Tx) error {
			for _, name := range names {
				if _, err := tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			return nil
		})
	}
	c.dirty = state.NewDirtySet()
	if err == nil {
		err = c.s.writer.Pause(func() { c.s.writer.Trace(c.dirty) })
	}
	if err != nil {
		return errors.Join(err, c.to.Close(), os.Remove(c.path))
	}
	crashpoint.Reach(crashpoint.CompactionBegun)
	return nil
}

// copyAll copies every key, once, and again those that changed behind it when they get too many.
func (c *compaction) copyAll(ctx context.Context) error {
	for at, done := (state.DirtyKey{}), false; !done; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		var items []snapshot.Item
		var err error
		begun := time.Now()
		if items, done, err = snapshot.ReadSlice(c.s.db, at); err != nil {
			return err
		}
		if err := c.write(items); err != nil {
			return err
		}
		if len(items) > 0 {
			at = items[len(items)-1].At
		}
		c.dirty.Reached(at, done)
		if err := c.replay(ctx, state.DirtySetLimit/2); err != nil {
			return err
		}
		c.tell(items)
		time.Sleep(max(slicePause, time.Since(begun)))
	}
	crashpoint.Reach(crashpoint.CompactionCopied)
	return nil
}

func (c *compaction) tell(items []snapshot.Item) {
	for i := range items {
		c.done += int64(len(items[i].At.Key) + len(items[i].Value))
	}
	if c.progress != nil {
		c.progress(min(c.done, c.total), c.total)
	}
}

// catchUp copies what changed, until little is left.
func (c *compaction) catchUp(ctx context.Context) error {
	for round := 0; c.dirty.Length() > swapKeys; round++ {
		if round == rounds {
			c.dirty.Hold.Store(true)
		}
		if err := c.replay(ctx, 1); err != nil {
			return err
		}
	}
	crashpoint.Reach(crashpoint.CompactionReplayed)
	return nil
}

// replay copies the traced keys again, if there are at least n.
func (c *compaction) replay(ctx context.Context, n int) error {
	spots, err := c.dirty.Take(n)
	if err != nil {
		return err
	}
	for rest := range slices.Chunk(spots, 2000) {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		items, err := snapshot.ReadSpots(c.s.db, rest)
		if err == nil {
			err = c.write(items)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// swap runs in the writer's goroutine, between two transactions. It returns the file that was, or nil
// when that goes on.
func (c *compaction) swap() (old *bolt.DB, err error) {
	begun := time.Now()
	defer func() { c.report.Pause = time.Since(begun) }()
	if err := c.replay(context.Background(), 1); err != nil {
		return nil, err
	}
	crashpoint.Reach(crashpoint.CompactionSynced)
	if old, err = c.takeName(); err != nil {
		return nil, err
	}
	if err := boltfile.SyncDir(c.s.dir); err != nil {
		return old, fmt.Errorf("sync the data directory: %w", err)
	}
	crashpoint.Reach(crashpoint.CompactionSwapped)
	return old, nil
}

// takeName puts the copy in the place of the state.
func (c *compaction) takeName() (old *bolt.DB, err error) {
	at := c.s.place
	at.Naming.Lock()
	defer at.Naming.Unlock()
	path := filepath.Join(c.s.dir, datadir.StateFile)
	if err := boltfile.IsStill(path, at.State); err != nil {
		return nil, err
	}
	info, err := os.Stat(c.path)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(c.path, path); err != nil {
		return nil, err
	}
	crashpoint.Reach(crashpoint.CompactionRenamed)
	at.State = info
	c.s.writer.Moved(datadir.HomeOf(path))
	return c.s.db.Replace(c.to), nil
}

// finish lets go of the file that was, once its last reader is done.
func (c *compaction) finish(old *bolt.DB) error {
	err := old.Close()
	info, statErr := os.Stat(filepath.Join(c.s.dir, datadir.StateFile))
	if statErr != nil {
		return errors.Join(err, statErr)
	}
	c.report.After = boltfile.OnDisk(info)
	if c.progress != nil {
		c.progress(c.total, c.total)
	}
	return err
}

// abandon leaves everything as it was.
func (c *compaction) abandon() error {
	_ = c.s.writer.Pause(func() { c.s.writer.Trace(nil) }) // a writer that has ended writes nothing more
	return errors.Join(c.to.Close(), os.Remove(c.path))
}

// write puts items into the copy, in one transaction.
func (c *compaction) write(items []snapshot.Item) error {
	if len(items) == 0 {
		return nil
	}
	return c.to.Update(func(tx *bolt.Tx) error {
		for i := range items {
			if err := items[i].Write(tx.Bucket([]byte(items[i].At.Bucket))); err != nil {
				return err
			}
		}
		return nil
	})
}
