package recovery

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/datadir"
	"personasync/store/internal/repair"
	"personasync/store/internal/wal"
)

// The files of the inbox follow one another: each begins behind the last record of those before it. A copy of one that is
// put beside it under a higher number would get the new records, and they would go when the copy is removed. Under a
// lower number it would hide the records of its neighbours. So a start compares the files before it opens them to write:
//
//	all its records are in others     it is set aside under another name, which nothing reads
//	all are older, and applied        likewise: it is a file of an older copy of the folder
//	it begins again, and goes on      an older version wrote to a copy: a salvage keeps the records that only it has
//	older records, not applied yet    the start is refused: only a person knows where they belong
//
// Files without records, and the jump that a restore makes in the numbers, are in order.

// fileRange is how far a file of the inbox goes.
type fileRange struct {
	path        string
	first, last uint64
	runs        []wal.Range // of consecutive numbers, in order; nil while the files are in order
}

func (e *fileRange) name() string { return filepath.Base(e.path) }

// setCopiesAside brings the files of the inbox back in order. why is not empty if one of them must be salvaged: the reason
// to check all files.
func (s *Start) setCopiesAside() (why string, err error) {
	epoch, applied := s.stateMeta()
	if epoch == 0 {
		return "", nil // a new store, or a state that is to be salvaged first
	}
	files, err := rangesIn(s.dir, epoch)
	if err != nil {
		return "", err
	}
	for i, j := outOfOrder(files); j > 0; i, j = outOfOrder(files) {
		before, again := &files[i], &files[j]
		own := ownRuns(files, j)
		older := slices.IndexFunc(own, func(r wal.Range) bool { return r.First <= before.last && r.Last > applied })
		newer := slices.IndexFunc(own, func(r wal.Range) bool { return r.First > before.last })
		superfluous := j
		switch {
		case len(own) == 0 && boltfile.IsLink(before.path) && sameFile(before.path, again.path): // the file stays, and the link goes
			superfluous = i
		case len(own) == 0:
		case len(ownRuns(files, i)) == 0:
			superfluous = i
		case older >= 0:
			return "", fmt.Errorf("%w: the records %d to %d in %s come before those of %s, and no other file has them: it was renamed, or is from another copy of this folder. "+
				"Move the one of the two that does not belong here out of %s, or give the files numbers in the order of their records, then start the agent",
				datadir.ErrForeign, own[older].First, own[older].Last, again.name(), before.name(), s.dir)
		case newer >= 0:
			why = fmt.Sprintf("%s begins with records that other files have, as a copy does", again.name())
			again.runs, again.first = own[newer:], own[newer].First
			continue
		}
		if err := s.setAside(&files[superfluous]); err != nil {
			return "", err
		}
		files = slices.Delete(files, superfluous, superfluous+1)
	}
	return why, nil
}

func (s *Start) setAside(e *fileRange) error {
	kept := repair.KeptName(e.path, "copy", time.Now().UTC())
	err := os.Rename(e.path, filepath.Join(s.dir, kept))
	if err == nil {
		err = boltfile.SyncDir(s.dir)
	}
	if err != nil {
		return fmt.Errorf("set %s aside, whose records are in other files or applied: move it out of %s: %w", e.name(), s.dir, err)
	}
	s.log.Warn("a file among those of the inbox has no records of its own, as a copy has none; it was set aside, and nothing is lost: remove it when you have looked at it",
		"file", e.name(), "kept_as", kept, "first_record", e.first, "last_record", e.last)
	return nil
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	other, failed := os.Stat(b)
	return err == nil && failed == nil && os.SameFile(one, other)
}

// outOfOrder returns the first file that begins no later than one before it ends, and that one; 0, 0 without any.
func outOfOrder(files []fileRange) (before, again int) {
	furthest := 0
	for j := 1; j < len(files); j++ {
		if files[j].first <= files[furthest].last {
			return furthest, j
		}
		furthest = j
	}
	return 0, 0
}

// rangesIn reads how far the inbox files of dir go. It leaves out those without records, those that cannot be read, and
// those of another store: opening them returns the reason.
func rangesIn(dir string, epoch uint32) (files []fileRange, err error) {
	paths, _, err := wal.Files(dir)
	for _, path := range paths {
		if boltpage.Glance(path) != nil {
			continue
		}
		x, err := wal.ReadExtent(path)
		if err != nil {
			continue
		}
		if x.Last > 0 && x.Epoch == epoch {
			files = append(files, fileRange{path: path, first: x.First, last: x.Last})
		}
	}
	if _, again := outOfOrder(files); again == 0 {
		return files, err
	}
	for i := range files {
		if files[i].runs, err = wal.ReadRuns(files[i].path); err != nil {
			return nil, fmt.Errorf("compare %s with the other files of the inbox: %w", files[i].name(), err)
		}
	}
	return files, nil
}

// ownRuns returns the records of a file that no other has. A file with a gap in its numbers does not count as another,
// because its numbers cannot be relied on. The jump that a restore makes is no gap.
func ownRuns(files []fileRange, of int) []wal.Range {
	own := slices.Clone(files[of].runs)
	for i := range files {
		if i != of && !hasGap(files[i].runs) {
			own = without(own, files[i].runs)
		}
	}
	return own
}

func hasGap(runs []wal.Range) bool {
	for i := 1; i < len(runs); i++ {
		if runs[i].First-runs[i-1].Last < wal.RestoreJump {
			return true
		}
	}
	return false
}

// without returns the parts of runs that are not in taken.
func without(runs, taken []wal.Range) (left []wal.Range) {
	for _, t := range taken {
		left = nil
		for _, r := range runs {
			if t.Last < r.First || t.First > r.Last {
				left = append(left, r)
				continue
			}
			if r.First < t.First {
				left = append(left, wal.Range{First: r.First, Last: t.First - 1})
			}
			if r.Last > t.Last {
				left = append(left, wal.Range{First: t.Last + 1, Last: r.Last})
			}
		}
		runs = left
	}
	return runs
}
