package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
)

// A process goes on writing to a file that was moved or removed: what it writes there the next start does not
// find. So the open files are compared with what their names lead to:
//
//	each second            all of them
//	after each commit      the folder, which costs one stat; all of them when it is not as it was
//
// The commit's comparison comes before its answer: while they differ, nothing is acknowledged, and the agent is
// not ready. It goes on by itself once the names lead to the open files again. It never opens others in their
// place: what it has acknowledged is in the open ones alone, and `db backup` still reads them. Outcomes go on
// being written to the open files, and files are neither made nor removed by name.

// ErrMoved says that the files of the store are not where their names say.
var ErrMoved = boltfile.ErrMoved

// place is where the files of a running store are. Its methods work on a nil place, which is never left.
type place struct {
	dir  string
	held *os.File // dir

	naming sync.RWMutex // held while a file takes the name of another; covers state
	state  fs.FileInfo  // of state.db
	home   fs.FileInfo  // of dir

	seen atomic.Pointer[dirStamp] // dir when everything was last compared; nil: compare again
	lost atomic.Pointer[error]    // wraps ErrMoved; nil while all is where it belongs
}

// dirStamp is what a change of a folder changes.
type dirStamp struct {
	dev, ino     uint64
	mtime, ctime unix.Timespec
}

// stampSettles is how old a change must be before the stamp is believed to show the next one: clocks of file
// systems move in steps of some milliseconds.
const stampSettles = 100 * time.Millisecond

// placeEvery is how often everything is compared.
const placeEvery = time.Second

func stampOf(dir string) (dirStamp, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return dirStamp{}, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	return dirStamp{uint64(st.Dev), st.Ino, st.Mtim, st.Ctim}, nil
}

// newPlace holds dir open: some file systems give a folder another inode once nobody has it open.
func newPlace(dir string) (*place, error) {
	held, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	home, err := os.Stat(dir)
	if err != nil {
		held.Close()
		return nil, err
	}
	return &place{dir: dir, held: held, home: home}, nil
}

// refusal says why nothing is acknowledged; nil when all is where it belongs.
func (p *place) refusal() error {
	if p == nil {
		return nil
	}
	if lost := p.lost.Load(); lost != nil {
		return *lost
	}
	return nil
}

// check returns an error unless dir is the folder that it was. Who makes, removes or renames a file by its name
// asks first: what is there else is not ours.
func (p *place) check() error {
	if p == nil {
		return nil
	}
	return boltfile.IsStill(p.dir, p.home)
}

// afterCommit returns an error when a record that was just written is not where the next start looks for it.
func (s *Store) afterCommit() error {
	now, err := stampOf(s.dir)
	if seen := s.place.seen.Load(); err == nil && seen != nil && *seen == now && s.place.refusal() == nil {
		return nil
	}
	return s.lookForFiles()
}

// wayIn says how commands reach the agent where its folder is gone, and its socket with it: it makes another
// socket in whatever folder is there.
func (s *Store) wayIn() string {
	if _, err := os.Stat(s.dir); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return fmt.Sprintf("`install -d -m 700 -o %d %s`, so that commands reach it, ", os.Getuid(), domain.ShellWord(s.dir))
}

// lookForFiles compares everything, says so when the answer is another than before, and returns it.
func (s *Store) lookForFiles() error {
	s.looking.Lock()
	defer s.looking.Unlock()
	before, err := stampOf(s.dir)
	if err == nil {
		err = s.compareFiles()
	} else {
		err = boltfile.IsStill(s.dir, s.place.home)
	}
	was := s.place.refusal()
	if err != nil {
		err = fmt.Errorf("%w: put it back where it was (`umount -l` where something is mounted over it), and the agent goes on; or %ssave what it has acknowledged with `personasync db backup FILE`, "+
			"stop it, and `personasync db restore FILE`", err, s.wayIn())
		s.place.lost.Store(&err)
		s.place.seen.Store(nil)
		if was == nil {
			s.log.Error("the data is not where it was: events are refused until it is", "data_dir", s.dir, "reason", err)
		}
		return err
	}
	s.place.lost.Store(nil)
	if was != nil {
		s.log.Info("the data is where it was again: events are taken", "data_dir", s.dir)
	}
	s.place.seen.Store(nil)
	if changed := time.Unix(before.mtime.Unix()); time.Since(changed).Abs() > stampSettles {
		s.place.seen.Store(&before)
	}
	return nil
}

func (s *Store) compareFiles() error {
	if err := s.place.check(); err != nil {
		return err
	}
	s.place.naming.RLock()
	err := boltfile.IsStill(filepath.Join(s.dir, stateFile), s.place.state)
	if err == nil {
		err = s.inbox.CompareFiles(s.applied.Load())
	}
	s.place.naming.RUnlock()
	if err != nil {
		return err
	}
	return s.keepLock()
}

// keepLock takes the lock of the directory anew where somebody removed its file: without it a second agent
// could begin to start.
func (s *Store) keepLock() error {
	info, err := s.lock.Stat()
	if err != nil {
		return fmt.Errorf("look at the lock: %w", err)
	}
	if boltfile.IsStill(filepath.Join(s.dir, lockFile), info) == nil {
		return nil
	}
	lock, err := lockDir(s.dir, s.retention.Load().Command)
	if errors.Is(err, ErrInUse) {
		return fmt.Errorf("%w: %w", ErrMoved, err)
	}
	if err != nil {
		return nil // a disk that is full or read-only, which others say
	}
	s.log.Warn("the lock file was removed while the agent runs; it was made again", "file", filepath.Join(s.dir, lockFile))
	s.lock, lock = lock, s.lock
	return boltfile.Unlock(lock)
}

// watchPlace compares until the store closes.
func (s *Store) watchPlace() {
	tick := time.NewTicker(placeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = s.lookForFiles()
		case <-s.life.Done():
			return
		}
	}
}

// Refusal says why events are refused, as long as that lasts: the data was moved (ErrMoved), or there is no room
// (a *FullError). It is nil while they are taken, and costs nothing.
func (s *Store) Refusal() error {
	if err := s.place.refusal(); err != nil {
		return err
	}
	return s.budget.refusal()
}
