package repair

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/datadir"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// How a check reads the files: their pages by itself, and the inbox record by record.

// DataFiles lists the files there are: the inbox in order, then the state.
func DataFiles(dir string) (paths []string, err error) {
	if paths, _, err = wal.Files(dir); err != nil {
		return nil, err
	}
	state := filepath.Join(dir, datadir.StateFile)
	found, err := boltfile.Exists(state)
	if found {
		paths, err = append(paths, state), boltfile.CheckRegular(state)
	}
	return paths, err
}

// files reads every file: its pages, and then, the state first, what is in it.
func (c *checker) files(paths []string) error {
	sound := make(map[string]bool)
	for _, path := range paths {
		c.R.File = filepath.Base(path)
		unlock, err := lockToRead(path)
		if err != nil {
			return err
		}
		sound[path], err = c.Pages(path)
		unlock()
		if err != nil {
			return err
		}
		c.tell(boltfile.Size(path))
	}
	state := paths[len(paths)-1]
	epoch := uint32(0)
	if c.R.File = datadir.StateFile; sound[state] {
		db, err := bolt.Open(state, 0, true)
		if err != nil {
			return err
		}
		defer db.Close()
		if epoch, err = c.epoch(db); err != nil {
			return err
		}
		if epoch != 0 {
			if err := db.View(c.state); err != nil {
				return err
			}
		}
	}
	for _, path := range paths[:len(paths)-1] {
		if c.R.File = filepath.Base(path); !sound[path] {
			c.next = 0
			continue
		}
		if err := c.inboxFile(path, epoch); err != nil {
			return err
		}
	}
	return nil
}

// epoch reads what a file says of itself; 0 when that does not hold.
func (c *checker) epoch(db *bolt.State) (uint32, error) {
	epoch, err := db.Epoch()
	switch {
	case errors.Is(err, wire.ErrDamaged):
		c.R.Find("frame", "%s: %v", c.R.File, err)
		return 0, nil
	case err != nil:
		return 0, err
	}
	return epoch, nil
}

func (c *checker) inboxFile(path string, of uint32) error {
	s, err := wal.OpenSegment(path, of)
	switch {
	case errors.Is(err, wire.ErrDamaged):
		c.R.Find("open", "%v", err)
		return nil
	case err != nil:
		return err
	}
	defer s.Close()
	return c.segment(s)
}

// Pages follows the pages of a file, whatever they say, and reports whether bbolt can be let near it.
func (c *checker) Pages(path string) (sound bool, err error) {
	file, err := boltpage.Open(path)
	if err != nil {
		return false, fmt.Errorf("open %s: %w", c.R.File, err)
	}
	defer file.Close()
	before := c.R.Faults
	if err := file.Glance(); err != nil {
		c.R.Find("pages", "%s: %v", c.R.File, err)
		return false, nil
	}
	m, _ := file.Newest()
	wanted := wal.Buckets
	if c.R.File == datadir.StateFile {
		wanted = append([][]byte{state.BucketMeta}, state.StateBuckets...)
		wanted = slices.DeleteFunc(wanted, func(b []byte) bool { return containsName(state.LateBuckets, b) })
	}
	known := 0
	w := boltpage.Walk{
		File: file, Meta: m, Fault: func(err error) { c.R.Find("pages", "%s: %v", c.R.File, err) },
		Leaf: func(uint64, []string, []boltpage.Element) {},
		Bucket: func(path []string, _ uint64) {
			if len(path) == 1 && containsName(wanted, []byte(path[0])) {
				known++
			}
		},
	}
	w.Run()
	if sound = c.R.Faults == before; sound && known == 0 {
		return false, boltfile.NotOurs(path)
	}
	if sound && known < len(wanted) {
		c.R.Find("pages", "%s: %d of its %d buckets are there", c.R.File, known, len(wanted))
		return false, nil
	}
	return sound, nil
}

func containsName(names [][]byte, name []byte) bool {
	return slices.ContainsFunc(names, func(n []byte) bool { return bytes.Equal(n, name) })
}

// lockToRead takes a file as a reader of bbolt's does, so that no agent writes to it meanwhile.
func lockToRead(path string) (unlock func(), err error) {
	return boltfile.Lock(context.Background(), path, syscall.LOCK_SH, boltfile.Patience(true), func(time.Duration) {})
}

// segment reads one file of the inbox: every record, and that none is missing up to the last. A file that begins again
// is compared with itself alone: see setCopiesAside. A hole in front of a file is no fault when the state knows all
// records that were in it.
func (c *checker) segment(s *wal.Segment) error {
	name, before, begun := filepath.Base(s.Path()), c.next, false
	assigned, err := s.Chunks(func(key, chunk []byte, assigned uint64) error {
		if !begun {
			begun = true
			c.beginSegment(name, key)
		}
		if len(key) != 8 {
			c.R.Find("inbox", "%s: %x is not the number of a record", name, key)
			return nil
		}
		c.chunk(name, state.Number(key), chunk, assigned)
		return c.step(key, chunk)
	})
	if c.next != 0 && assigned >= c.next {
		c.R.Find("inbox", "%s ends with record %d, the last one given was %d", name, c.next-1, assigned)
		c.next = assigned + 1
	}
	c.next = max(c.next, before)
	return err
}

// beginSegment compares the first number of a file with those of the files before it.
func (c *checker) beginSegment(name string, key []byte) {
	if len(key) != 8 {
		return
	}
	switch first := state.Number(key); {
	case first < c.next:
		c.R.Find(findCopy, "%s begins with record %d, and a file before it ends with record %d: it is a copy, or was renamed", name, first, c.next-1)
		c.next = first
	case c.next != 0 && c.st != nil && first-1 <= c.st.Applied: // files between them were removed, and are not needed
		c.next = first
	}
}

func (c *checker) chunk(name string, first uint64, chunk []byte, given uint64) {
	switch {
	case c.next == 0 && c.st != nil && first > c.st.Applied+1:
		c.R.Find("inbox", "%s begins with record %d, the state ends with %d: the records between are missing", name, first, c.st.Applied)
	case c.next != 0 && first != c.next && (first < c.next+wal.RestoreJump || given < first):
		c.R.Find("inbox", "%s: record %d follows record %d", name, first, c.next-1)
	}
	c.next = first
	for f := (wire.Frames{Rest: chunk}); ; c.next++ {
		if !f.Next() {
			if f.Err != nil {
				c.R.Find("inbox", "%s: the chunk of record %d is cut short", name, first)
			}
			return
		}
		c.R.Records++
		if _, err := record.DecodeRecord(c.next, f.Frame); err != nil {
			c.R.Find("record", "%s: record %d: %v", name, c.next, err)
		}
	}
}
