package repair

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// A check reads everything and counts again what the store says it counted: the pages as bbolt links them, the checksum
// of every frame, both laws of the ledger, the pointers to every change in both directions, the due index against the
// pending-index rows, the members of every computation, and that no record is missing. It repairs nothing.

// Check checks the files in dir, which no agent may be using. It reads their pages without bbolt first, and opens a file
// with bbolt only if they are sound. A failing disk can still kill the process that maps it, so an agent checks in a
// child process: see CheckInChild. progress may be nil; it counts bytes.
func Check(ctx context.Context, dir string, progress func(done, total int64)) (*CheckReport, error) {
	paths, err := DataFiles(dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("open the data directory: %w", err)
	case errors.Is(err, datadir.ErrForeign):
		return nil, err
	case err != nil || !slices.Contains(paths, filepath.Join(dir, datadir.StateFile)):
		return nil, errors.Join(datadir.ErrNoData, err)
	}
	c := newChecker(ctx, &CheckReport{Pages: true}, progress)
	for _, path := range paths {
		c.report.Bytes += boltfile.Size(path)
	}
	c.total = 2 * c.report.Bytes
	if err := boltfile.Guard(func() error { return c.files(paths) }); err != nil {
		if !errors.Is(err, wire.ErrDamaged) {
			return nil, err
		}
		c.report.Find("open", "%v", err)
	}
	c.tell(c.total - c.done)
	return c.report, nil
}

// CheckPages is the part of Check that maps no file into memory, so damage cannot kill it.
func CheckPages(dir string) (*CheckReport, error) {
	paths, err := DataFiles(dir)
	c := newChecker(context.Background(), &CheckReport{Pages: true}, nil)
	for _, path := range paths {
		if c.report.File = filepath.Base(path); err == nil {
			_, err = c.pages(path)
		}
	}
	return c.report, err
}

// CheckLive checks the files of a store that is at work, except for their pages. Each file is read as of one moment.
// halt is called now and then, and its error ends the check.
func CheckLive(ctx context.Context, v *query.Reader, db *bolt.State, inbox *wal.Log, progress func(done, total int64), halt func() error) (*CheckReport, error) {
	c := newChecker(ctx, new(CheckReport), progress)
	c.halt = halt
	segments := inbox.Segments()
	c.total = c.measure(db, segments)
	c.report.File = datadir.StateFile
	err := v.Look(c.state)
	for _, s := range segments {
		if err == nil {
			c.report.File = filepath.Base(s.Path())
			err = boltfile.Guard(func() error { return c.segment(s) })
		}
		if errors.Is(err, wal.ErrTrimmed) { // its records are applied
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	c.tell(c.total - c.done)
	return c.report, nil
}

// CheckTables checks a store whose tables another program looks after, at one moment: all that Check does but for the pages
// of files.
func CheckTables(ctx context.Context, v *query.Reader, first uint64) (*CheckReport, error) {
	c := newChecker(ctx, new(CheckReport), nil)
	c.report.File, c.report.Engine = "the state", "postgres"
	if err := v.Look(c.state); err != nil {
		return nil, err
	}
	c.report.File = "the inbox"
	for c.next = max(first, 1); ; {
		records, err := v.Inbox.Read(c.next, tablePortion)
		if err != nil {
			return nil, err
		}
		if len(records) == 0 {
			c.tell(0)
			return c.report, nil
		}
		for _, r := range records {
			if err := c.record(r); err != nil {
				return nil, err
			}
		}
	}
}

// tablePortion is about how many bytes of the inbox are read at once.
const tablePortion = 1 << 20

// record checks a record of a table, and that none is missing before it.
func (c *checker) record(r engine.Record) error {
	if r.Seq != c.next {
		c.report.Find("inbox", "record %d follows record %d", r.Seq, c.next-1)
	}
	c.next = r.Seq + 1
	c.report.Records++
	if _, err := record.DecodeRecord(r.Seq, r.Frame); err != nil {
		c.report.Find("record", "record %d: %v", r.Seq, err)
	}
	return c.step(nil, r.Frame)
}

// measure returns how many bytes there are to read.
func (c *checker) measure(db *bolt.State, segments []*wal.Segment) (total int64) {
	size, live, err := db.Fill()
	if err == nil {
		c.report.Bytes, total = size, live
	}
	for _, s := range segments {
		c.report.Bytes += boltfile.Size(s.Path())
		total += boltfile.Size(s.Path())
	}
	return total
}
