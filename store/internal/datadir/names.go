package datadir

import (
	"os"
	"path/filepath"
	"slices"

	"personasync/store/internal/boltfile"
)

// Format is the version of the files. It is raised when an older binary could not read them.
const Format = boltfile.Format

// ErrForeign means that a file is in the data directory by mistake. An operator has to move it.
var ErrForeign = boltfile.ErrForeign

// Names of files in the data directory.
const (
	// StateFile is the file of the state.
	StateFile = boltfile.StateFile

	// LockFile is locked by the process that has the directory.
	LockFile = "lock"

	// CompactFile is the copy of state.db that a compaction is making.
	CompactFile = StateFile + ".compact"
)

func writeAt(f *os.File, b []byte) error {
	_, err := f.WriteAt(b, 0)
	return err
}

// ownNames match the names that this program gives to files and folders of the data directory.
var ownNames = []string{LockFile, RunFile, StateFile + "*", "inbox-*", "before-format-*", MovedFile + "*", "import-*.tmp", RestoreDir, ReplacedPattern, PreviousPattern, "*.damaged-*", "admin.sock*"}

// OwnName returns the element of path that is a name of this program's files: its last one, in any folder, or one directly
// in a data directory. It returns "" if there is none.
func OwnName(path string) string {
	if name := filepath.Base(path); fitsOwn(name) {
		return name
	}
	return NameInData(path)
}

func fitsOwn(name string) bool {
	return slices.ContainsFunc(ownNames, func(pattern string) bool {
		fits, _ := filepath.Match(pattern, name)
		return fits
	})
}

// NameInData is OwnName for the data directory that path leads into.
func NameInData(path string) string {
	above, err := filepath.Abs(filepath.Dir(path))
	for ; err == nil && above != filepath.Dir(above); above = filepath.Dir(above) {
		if found, _ := boltfile.Exists(filepath.Join(above, StateFile)); found {
			if name := NameIn(above, path); name != "" {
				return name
			}
		}
	}
	return ""
}

// NameIn returns the name directly under dir that path leads through, if it is one of ownNames, else "". The
// path may come to dir by another way: relative, or through a link.
func NameIn(dir, path string) string {
	data, err := os.Stat(dir)
	if err != nil {
		return ""
	}
	above, err := filepath.Abs(filepath.Dir(path))
	if err == nil {
		above, err = filepath.EvalSymlinks(above)
	}
	for name := filepath.Base(path); err == nil; above, name = filepath.Dir(above), filepath.Base(above) {
		if info, failed := os.Stat(above); failed == nil && os.SameFile(info, data) {
			if fitsOwn(name) {
				return name
			}
			return ""
		}
		if above == filepath.Dir(above) {
			return ""
		}
	}
	return ""
}

// A restore builds the store beside the old one, checks it, lets it apply the backup's inbox, and only then puts it in
// place:
//
//	restore.new/state.db     from the backup; its inbox is applied, and is no more
//	replaced-TIME/           the files of the old store, until the restore is complete; then they are previous-TIME
//
// The new state.db takes the old one's name in one rename, so that a crash leaves a store at any point: before it the old
// one, after it the new one. The new one reads nothing of the old inbox files that are still there then, because their
// numbers lie below its own.
//
// Change ids are never reused. Events received after the backup are lost here, but their changes may have been sent, under
// ids made of the record numbers that would come next. So a restored store continues at
// a number that no record can have had: the microseconds since 1970 (no store takes a million records
// a second for as long as it lives). The epoch stays, and with it every id that was ever shown.

// RestoreDir and ReplacedPattern name the folders of a restore.
const (
	// RestoreDir is where a restore builds the store.
	RestoreDir = "restore.new"

	// ReplacedPattern matches the directories with the files of a replaced store.
	ReplacedPattern = "replaced-*"

	// PreviousPattern matches the directories with the store that a restore replaced, until somebody removes them.
	PreviousPattern = "previous-*"
)
