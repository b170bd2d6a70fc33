package repair

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"personasync/store/domain"
	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// A check reads everything and counts again what the store says it counted: the pages as bbolt links them, the checksum
// of every frame, both laws of the ledger, the pointers to every change in both directions, the due index against the
// pending-index rows, the members of every computation, and that no record is missing. It repairs nothing.

// Finding is one fault.
type Finding struct {
	File    string `json:"file"`
	Code    string `json:"code"` // open, pages, frame, ledger, pointer, due, members, inbox, record, copy
	Message string `json:"message"`
}

// CheckReport is what a check read, and what it found.
type CheckReport struct {
	Pages    bool      `json:"pages"` // the pages were read as bbolt links them, as long as no agent writes
	Bytes    int64     `json:"bytes"`
	Rows     uint64    `json:"rows"`
	Users    uint64    `json:"users"`
	Pending  uint64    `json:"pending"`
	Held     uint64    `json:"held"`
	Parked   uint64    `json:"parked"`
	History  uint64    `json:"history"`
	Queued   uint64    `json:"queued"`
	Due      uint64    `json:"due"`
	Records  uint64    `json:"records"`  // in the inbox
	Damaged  uint64    `json:"damaged"`  // frames set aside earlier
	Grew     int64     `json:"grew"`     // bytes on disk that state.db grew by meanwhile, while an agent writes
	Faults   uint64    `json:"faults"`   // all of them
	Findings []Finding `json:"findings"` // the first MaxFindings

	// DamagedFiles are those that a salvage would make anew. A record with a wrong checksum is no reason: it is
	// parked when it is applied, and harms no other.
	DamagedFiles []string `json:"damaged_files"`

	File string // the file that is being read
}

// MaxFindings limits the list, not the count: a badly damaged disk has millions.
const MaxFindings = 100

// OK reports whether the check found no fault.
func (r *CheckReport) OK() bool { return r.Faults == 0 }

// findCopy is the code of a file whose records other files have too. It is not damaged.
const findCopy = "copy"

// OnlyCopies reports whether the only faults are copies among the files.
func (r *CheckReport) OnlyCopies() bool {
	return r.Faults == uint64(len(r.Findings)) && !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Code != findCopy })
}

// Find adds a fault of the file r.File. It counts the file as damaged, unless code is that of a single record.
func (r *CheckReport) Find(code, format string, args ...any) {
	if r.Faults++; len(r.Findings) < MaxFindings {
		for i, arg := range args {
			if key, ok := arg.([]byte); ok { // a damaged page may have a key of megabytes
				args[i] = key[:min(len(key), domain.MaxUserID+32)]
			}
		}
		r.Findings = append(r.Findings, Finding{r.File, code, fmt.Sprintf(format, args...)})
	}
	if code != "record" && !slices.Contains(r.DamagedFiles, r.File) {
		r.DamagedFiles = append(r.DamagedFiles, r.File)
	}
}

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
		c.R.Bytes += boltfile.Size(path)
	}
	c.total = 2 * c.R.Bytes
	if err := boltfile.Guard(func() error { return c.files(paths) }); err != nil {
		if !errors.Is(err, wire.ErrDamaged) {
			return nil, err
		}
		c.R.Find("open", "%v", err)
	}
	c.tell(c.total - c.done)
	return c.R, nil
}

// CheckPages is the part of Check that maps no file into memory, so damage cannot kill it.
func CheckPages(dir string) (*CheckReport, error) {
	paths, err := DataFiles(dir)
	c := newChecker(context.Background(), &CheckReport{Pages: true}, nil)
	for _, path := range paths {
		if c.R.File = filepath.Base(path); err == nil {
			_, err = c.pages(path)
		}
	}
	return c.R, err
}

// CheckLive checks the files of a store that is at work, except for their pages. Each file is read as of one moment.
// halt is called now and then, and its error ends the check.
func CheckLive(ctx context.Context, v *query.Reader, db *bolt.State, inbox *wal.Log, progress func(done, total int64), halt func() error) (*CheckReport, error) {
	c := newChecker(ctx, new(CheckReport), progress)
	c.halt = halt
	segments := inbox.Segments()
	c.total = c.measure(db, segments)
	c.R.File = datadir.StateFile
	err := v.Look(c.state)
	for _, s := range segments {
		if err == nil {
			c.R.File = filepath.Base(s.Path())
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
	return c.R, nil
}

func newChecker(ctx context.Context, r *CheckReport, progress func(done, total int64)) *checker {
	r.Findings, r.DamagedFiles = []Finding{}, []string{}
	return &checker{ctx: ctx, progress: progress, R: r}
}

// checker is one check. It reads the files one after the other.
type checker struct {
	ctx         context.Context
	halt        func() error // why to give up; nil to go on
	progress    func(done, total int64)
	done, total int64
	steps       int
	R           *CheckReport

	st   *state.State // of the state file; nil while it is unknown
	next uint64       // number of the record that should come next in the inbox; 0: unknown
}

// measure returns how many bytes there are to read.
func (c *checker) measure(db *bolt.State, segments []*wal.Segment) (total int64) {
	size, live, err := db.Fill()
	if err == nil {
		c.R.Bytes, total = size, live
	}
	for _, s := range segments {
		c.R.Bytes += boltfile.Size(s.Path())
		total += boltfile.Size(s.Path())
	}
	return total
}

// step counts a key and its value as read. Now and then it returns an error if the check is to end.
func (c *checker) step(k, v []byte) error {
	c.done += int64(len(k) + len(v))
	if c.steps++; c.steps%1024 != 0 {
		return nil
	}
	c.tell(0)
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	if c.halt == nil {
		return nil
	}
	return c.halt()
}

func (c *checker) tell(more int64) {
	if c.done += more; c.progress != nil {
		c.progress(min(c.done, c.total), c.total)
	}
}
