package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"personasync/store"
	"personasync/store/domain"
)

// place is the folder of the backups, and the names that those of one store have in it.
type place struct {
	dir, stem         string
	unproven, scratch string
}

// nameTime is how the moment of a backup stands in its name, so that names sort by time.
const nameTime = "20060102T150405Z"

// placeOf returns the names that backups of the store epoch have in dir.
func placeOf(dir, epoch string) place {
	stem := "personasync-" + epoch
	return place{dir: dir, stem: stem, unproven: filepath.Join(dir, "."+stem+".unproven"), scratch: filepath.Join(dir, "."+stem+".scratch")}
}

// Folder returns what to do about dir unless it is a folder.
func Folder(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "stat", Path: dir, Err: syscall.ENOTDIR}
	}
	return place{dir: dir}.explain(err)
}

// clear removes what an interrupted run left.
func (p place) clear() error {
	if err := Folder(p.dir); err != nil {
		return err
	}
	return p.explain(errors.Join(ignoreMissing(os.Remove(p.unproven)), os.RemoveAll(p.scratch)))
}

// name gives the proven backup its name.
func (p place) name(made time.Time) (path string, err error) {
	path = filepath.Join(p.dir, p.stem+"-"+made.UTC().Format(nameTime)+".tar")
	if err := os.Rename(p.unproven, path); err != nil {
		return "", err
	}
	return path, syncDir(p.dir)
}

// prune removes the oldest good backups beyond keep, and never the newest one, however the clock went.
func (p place) prune(newest string, keep int) (removed int, err error) {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return 0, p.explain(err)
	}
	var older []string
	for _, e := range entries {
		moment, is := strings.CutPrefix(e.Name(), p.stem+"-")
		if _, err := time.Parse(nameTime+".tar", moment); is && err == nil && e.Name() != filepath.Base(newest) {
			older = append(older, e.Name())
		}
	}
	slices.Sort(older)
	for len(older) > keep-1 {
		if err := os.Remove(filepath.Join(p.dir, older[0])); err != nil {
			return removed, fmt.Errorf("the new backup is good; an older one could not be removed: %w", p.explain(err))
		}
		older, removed = older[1:], removed+1
	}
	return removed, nil
}

// hasRoom refuses to begin without room for the backup and for its restored copy. On the disk of the data it leaves what
// ingest needs, because a full disk would have Segment's events refused.
func (p place) hasRoom(s store.Space, dataDir string) error {
	free, err := freeBytes(p.dir)
	if err != nil {
		return err
	}
	need := s.StateBytes*11/5 + 2*s.UnappliedBytes + leastRoom // twice the data, and a fifth for the restore
	if shared, err := SameFileSystem(p.dir, dataDir); err == nil && shared {
		need += s.FloorBytes * 2
	}
	if free < need {
		return fmt.Errorf("%w: the backup and the copy that proves it need %s in %s, and %s are free: make room, or lower backup.keep and reload",
			domain.ErrFull, domain.Bytes(need), p.dir, domain.Bytes(free))
	}
	return nil
}

// leastRoom is for the files of an empty store.
const leastRoom = 48 << 20

// SameFileSystem reports whether two paths are on one file system, so that its loss takes both.
func SameFileSystem(a, b string) (bool, error) {
	one, err := device(a)
	if err != nil {
		return false, err
	}
	two, err := device(b)
	return err == nil && one == two, err
}

// explain adds to err what to do about the folder.
func (p place) explain(err error) error {
	dir := domain.ShellWord(p.dir)
	make := fmt.Sprintf("type install -d -m 700 -o USER %s, with the user of the agent", dir)
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("backup.dir %s is not a folder: name one, and reload: %w", p.dir, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("backup.dir %s is missing: mount its disk, or %s: %w", p.dir, make, err)
	case errors.Is(err, syscall.EROFS) && os.Getenv("STATE_DIRECTORY") != "":
		return fmt.Errorf("backup.dir %s is read-only for the agent: allow it in ReadWritePaths= (systemctl edit personasync), %s, and restart: %w", p.dir, make, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("backup.dir %s is read-only: mount it for writing: %w", p.dir, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the agent may not write to backup.dir %s: give it to the agent's user: %w", p.dir, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("there is no room in backup.dir %s: make room, or lower backup.keep and reload: %w", p.dir, err)
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("look at the file system of backup.dir %s: %w", dir, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

func device(path string) (uint64, error) {
	var s syscall.Stat_t
	if err := syscall.Stat(path, &s); err != nil {
		return 0, fmt.Errorf("look at %s: %w", path, err)
	}
	return uint64(s.Dev), nil
}
