package repair

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// A check reads everything there is and counts again what the store says it counted: the pages as
// bbolt links them, the checksum of every frame, both laws of the ledger, who points at which change
// and the other way round, the due index against the heads, the members of every computation, and
// that no record is missing. It repairs nothing.

// Finding is one thing that is not as it should be.
type Finding struct {
	File    string `json:"file"`
	Code    string `json:"code"` // open, pages, frame, ledger, pointer, due, members, inbox, record, copy
	Message string `json:"message"`
}

// CheckReport is what a check read, and what it found.
type CheckReport struct {
	Pages    bool      `json:"pages"` // bbolt's own links were followed: only while no agent writes
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
	Grew     int64     `json:"grew"`     // what state.db took more of the disk meanwhile, while an agent writes
	Faults   uint64    `json:"faults"`   // all of them
	Findings []Finding `json:"findings"` // the first maxFindings

	// DamagedFiles are those that a salvage would make anew. A record whose own checksum is all that does
	// not hold is no reason: it is parked when it is applied, and harms no other.
	DamagedFiles []string `json:"damaged_files"`

	File string // the one that is being read
}

// MaxFindings bounds the list, not the count: a shredded disk has millions.
const MaxFindings = 100

// OK reports whether everything is as it should be.
func (r *CheckReport) OK() bool { return r.Faults == 0 }

// findCopy is the code of a file that holds what others hold. Nothing of it is damaged.
const findCopy = "copy"

// OnlyCopies reports whether nothing is wrong but that copies lie among the files.
func (r *CheckReport) OnlyCopies() bool {
	return r.Faults == uint64(len(r.Findings)) && !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Code != findCopy })
}

func (r *CheckReport) Find(code, format string, args ...any) {
	if r.Faults++; len(r.Findings) < MaxFindings {
		for i, arg := range args {
			if key, ok := arg.([]byte); ok { // a damaged page may call megabytes a key
				args[i] = key[:min(len(key), domain.MaxUserID+32)]
			}
		}
		r.Findings = append(r.Findings, Finding{r.File, code, fmt.Sprintf(format, args...)})
	}
	if code != "record" && !slices.Contains(r.DamagedFiles, r.File) {
		r.DamagedFiles = append(r.DamagedFiles, r.File)
	}
}

// Check checks the files in dir, which no agent may be using. It reads their pages by itself first, and
// lets bbolt near a file only when these are sound; a failing disk can all the same kill the process
// that maps it, so an agent has it done in another one: see Options.CheckInChild.
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
	c := NewChecker(ctx, &CheckReport{Pages: true}, progress)
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

func CheckLive(ctx context.Context, v *query.Reader, db *bolt.State, inbox *wal.Log, progress func(done, total int64), halt func() error) (*CheckReport, error) {
	c := NewChecker(ctx, new(CheckReport), progress)
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
		if errors.Is(err, wal.ErrTrimmed) {
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	c.tell(c.total - c.done)
	return c.R, nil
}

func NewChecker(ctx context.Context, r *CheckReport, progress func(done, total int64)) *checker {
	r.Findings, r.DamagedFiles = []Finding{}, []string{}
	return &checker{ctx: ctx, progress: progress, R: r, members: make(map[uint32]uint64), held: make(map[uint32]uint64)}
}

// checker is one check.
type checker struct {
	ctx         context.Context
	halt        func() error // why to give up; nil to go on
	progress    func(done, total int64)
	done, total int64
	steps       int
	R           *CheckReport

	tx      engine.Tx
	st      *state.State
	backlog domain.Backlog
	members map[uint32]uint64 // by field, as the rows have them
	held    map[uint32]uint64
	there   [2]tally // changes that are parked and held …
	meant   [2]tally // … and what points at them
	located [2]tally // the changes of users there are, and those that the locator knows
	queued  uint64   // events that wait, as the users' heads are followed to them
	due     uint64   // due entries that the heads ask for
	user    checkedUser
	next    uint64 // number of the record that should come next in the inbox
}

// measure is how much there is to read.
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

// step counts what was read, and listens for the end now and then.
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
