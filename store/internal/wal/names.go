package wal

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"personasync/store/internal/boltfile"
)

// maxSegment is the highest number of a segment. A name with a higher one is not ours, and might leave no number for
// the next segment.
const maxSegment = 1<<40 - 1

// Path returns the path of segment number in dir.
func Path(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("inbox-%08d.db", number))
}

// Number returns the number of the segment at path. It returns 0 unless path has exactly the name of a segment: a copy
// that somebody made beside one is none.
func Number(path string) (number uint64) {
	_, err := fmt.Sscanf(filepath.Base(path), "inbox-%d.db", &number)
	if err != nil || number > maxSegment || filepath.Base(Path("", number)) != filepath.Base(path) {
		return 0
	}
	return number
}

// Files lists the paths of the segments in dir, oldest first, and the names of strays: files that are called like a
// segment and are none.
func Files(dir string) (paths, strays []string, err error) {
	names, err := boltfile.Named(dir, "inbox-*.db")
	for _, path := range names {
		info, failed := os.Stat(path)
		switch {
		case failed == nil && info.Mode().IsRegular() && Number(path) > 0:
			paths = append(paths, path)
		case errors.Is(failed, fs.ErrNotExist) && !boltfile.IsLink(path): // removed a moment ago
		case failed != nil && Number(path) > 0:
			return nil, nil, fmt.Errorf("look at %s: %w", filepath.Base(path), failed)
		default:
			strays = append(strays, filepath.Base(path))
		}
	}
	slices.SortFunc(paths, func(a, b string) int { return cmp.Compare(Number(a), Number(b)) })
	return paths, strays, err
}

// RemoveHalfWritten removes the files in dir that a crash left unfinished. The directory must be locked.
func RemoveHalfWritten(dir string) {
	half, _ := boltfile.Named(dir, boltfile.NewPath("inbox-*.db"))
	for _, path := range half {
		os.Remove(path)
	}
}

// freeNumber returns the first number from number on whose name is not taken. A rename to a taken name would destroy
// the file there.
func freeNumber(dir string, number uint64) uint64 {
	for {
		if _, err := os.Lstat(Path(dir, number)); err != nil {
			return number
		}
		number++
	}
}
