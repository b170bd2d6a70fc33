package repair

import (
	"errors"
	"path/filepath"

	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// inboxFile checks the inbox file at path. epoch is that of the state, 0 if it is unknown.
func (c *checker) inboxFile(path string, epoch uint32) error {
	s, err := wal.OpenSegment(path, epoch)
	switch {
	case errors.Is(err, wire.ErrDamaged):
		c.report.Find("open", "%v", err)
		return nil
	case err != nil:
		return err
	}
	defer s.Close()
	return c.segment(s)
}

// segment checks every record of a file of the inbox, and that none is missing up to the last number assigned. Only the
// first number of a copy, which begins again, is compared with the files before it. A hole in front of a file is no fault
// if the state has applied all its records.
func (c *checker) segment(s *wal.Segment) error {
	name, before, begun := filepath.Base(s.Path()), c.next, false
	assigned, err := s.Chunks(func(key, chunk []byte, assigned uint64) error {
		if !begun {
			begun = true
			c.beginSegment(name, key)
		}
		if len(key) != 8 {
			c.report.Find("inbox", "%s: %x is not the number of a record", name, key)
			return nil
		}
		c.chunk(name, state.Number(key), chunk, assigned)
		return c.step(key, chunk)
	})
	if c.next != 0 && assigned >= c.next && !c.restored(assigned) {
		c.report.Find("inbox", "%s ends with record %d, the last one given was %d", name, c.next-1, assigned)
		c.next = assigned + 1
	}
	c.next = max(c.next, before)
	return err
}

// restored reports whether the numbers between the last record and the last one given are the jump of a restore that was
// killed before it moved the old inbox aside, and no record has come since.
func (c *checker) restored(assigned uint64) bool {
	return assigned-c.next >= wal.RestoreJump && c.st != nil && assigned <= c.st.Applied
}

// beginSegment compares the first number of a file with those of the files before it.
func (c *checker) beginSegment(name string, key []byte) {
	if len(key) != 8 {
		return
	}
	switch first := state.Number(key); {
	case first < c.next:
		c.report.Find(findCopy, "%s begins with record %d, and a file before it ends with record %d: it is a copy, or was renamed", name, first, c.next-1)
		c.next = first
	case c.next != 0 && c.st != nil && first-1 <= c.st.Applied: // files between them were removed, and are not needed
		c.next = first
	}
}

// chunk checks the number of a chunk, and its records.
func (c *checker) chunk(name string, first uint64, chunk []byte, assigned uint64) {
	switch {
	case c.next == 0 && c.st != nil && first > c.st.Applied+1:
		c.report.Find("inbox", "%s begins with record %d, the state ends with %d: the records between are missing", name, first, c.st.Applied)
	case c.next != 0 && first != c.next && (first < c.next+wal.RestoreJump || assigned < first):
		c.report.Find("inbox", "%s: record %d follows record %d", name, first, c.next-1)
	}
	c.next = first
	for f := (wire.Frames{Rest: chunk}); ; c.next++ {
		if !f.Next() {
			if f.Err != nil {
				c.report.Find("inbox", "%s: the chunk of record %d is cut short", name, first)
			}
			return
		}
		c.report.Records++
		if _, err := record.DecodeRecord(c.next, f.Frame); err != nil {
			c.report.Find("record", "%s: record %d: %v", name, c.next, err)
		}
	}
}
