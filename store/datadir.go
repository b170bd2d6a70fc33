package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
)

// Format is the version of the files. It changes when an older binary could not read them.
const Format = boltfile.Format

// ErrForeign is about a file that is in the folder by mistake. It stays so until somebody moves it.
var ErrForeign = boltfile.ErrForeign

const (
	stateFile = boltfile.StateFile
	lockFile  = "lock"
)

// lockDir takes the directory for this process and says in the lock file what that is for: command is
// what a person would type, "" for the agent. The kernel drops the lock with the process, so a crash
// leaves nothing to clean up.
func lockDir(dir, command string) (*os.File, error) {
	for _, name := range []string{lockFile, runFile, stateFile} {
		if err := boltfile.CheckRegular(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		text := make([]byte, maxLockText)
		n, _ := f.ReadAt(text, 0)
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &InUseError{dir, readHolding(text[:n])}
		}
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	// The lock is the kernel's, the text is for people: a full disk takes only the text away. It is
	// written over the old one, which needs no room.
	text := Holding{os.Getpid(), command}.lockText()
	if err := translate(errors.Join(writeAt(f, text), f.Truncate(int64(len(text))))); err != nil && !errors.Is(err, domain.ErrFull) {
		_ = boltfile.Unlock(f)
		return nil, fmt.Errorf("write the lock file: %w", err)
	}
	return f, nil
}

func writeAt(f *os.File, b []byte) error {
	_, err := f.WriteAt(b, 0)
	return err
}

// ownNames fit the names that this program gives to files and folders of the data directory.
var ownNames = []string{lockFile, runFile, stateFile + "*", "inbox-*", "before-format-*", "import-*.tmp", restoreDir, replacedPattern, "*.damaged-*", "admin.sock*"}

// OwnName returns the name in path that this program gives to files of a data directory: the last of it, in whatever
// folder, or one directly in a folder that is a data directory. It is "" when there is none.
func OwnName(path string) string {
	if name := filepath.Base(path); fitsOwn(name) {
		return name
	}
	return ownNameInData(path)
}

func fitsOwn(name string) bool {
	return slices.ContainsFunc(ownNames, func(pattern string) bool {
		fits, _ := filepath.Match(pattern, name)
		return fits
	})
}

// ownNameInData is ownName for whichever data directory path leads into.
func ownNameInData(path string) string {
	above, err := filepath.Abs(filepath.Dir(path))
	for ; err == nil && above != filepath.Dir(above); above = filepath.Dir(above) {
		if found, _ := boltfile.Exists(filepath.Join(above, stateFile)); found {
			if name := ownName(above, path); name != "" {
				return name
			}
		}
	}
	return ""
}

// ownName returns the name directly under dir that path leads through, if it is one of ownNames, else "". The
// path may come to dir by another way: relative, or through a link.
func ownName(dir, path string) string {
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
