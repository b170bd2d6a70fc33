package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
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

// stampSettles is how old a change must be before the stamp is believed to show the next one: clocks of file
// systems move in steps of some milliseconds.
const stampSettles = 100 * time.Millisecond

// placeEvery is how often everything is compared.
const placeEvery = time.Second

// afterCommit returns an error when a record that was just written is not where the next start looks for it.
func (s *Store) afterCommit() error {
	now, err := datadir.StampOf(s.dir)
	if seen := s.place.Seen.Load(); err == nil && seen != nil && *seen == now && s.place.Refusal() == nil {
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
	before, err := datadir.StampOf(s.dir)
	if err == nil {
		err = s.compareFiles()
	} else {
		err = boltfile.IsStill(s.dir, s.place.Home)
	}
	was := s.place.Refusal()
	if err != nil {
		err = fmt.Errorf("%w: put it back where it was (`umount -l` where something is mounted over it), and the agent goes on; or %ssave what it has acknowledged with `personasync db backup FILE`, "+
			"stop it, and `personasync db restore FILE`", err, s.wayIn())
		s.place.Lost.Store(&err)
		s.place.Seen.Store(nil)
		if was == nil {
			s.log.Error("the data is not where it was: events are refused until it is", "data_dir", s.dir, "reason", err)
		}
		return err
	}
	s.place.Lost.Store(nil)
	if was != nil {
		s.log.Info("the data is where it was again: events are taken", "data_dir", s.dir)
	}
	s.place.Seen.Store(nil)
	if changed := time.Unix(before.Mtime.Unix()); time.Since(changed).Abs() > stampSettles {
		s.place.Seen.Store(&before)
	}
	return nil
}

func (s *Store) compareFiles() error {
	if err := s.place.Check(); err != nil {
		return err
	}
	s.place.Naming.RLock()
	err := boltfile.IsStill(filepath.Join(s.dir, datadir.StateFile), s.place.State)
	if err == nil {
		err = s.inbox.CompareFiles(s.writer.Applied())
	}
	s.place.Naming.RUnlock()
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
	if boltfile.IsStill(filepath.Join(s.dir, datadir.LockFile), info) == nil {
		return nil
	}
	lock, err := datadir.LockDir(s.dir, s.retention.Load().Command)
	if errors.Is(err, ErrInUse) {
		return fmt.Errorf("%w: %w", ErrMoved, err)
	}
	if err != nil {
		return nil // a disk that is full or read-only, which others say
	}
	s.log.Warn("the lock file was removed while the agent runs; it was made again", "file", filepath.Join(s.dir, datadir.LockFile))
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
	if err := s.place.Refusal(); err != nil {
		return err
	}
	return s.budget.Refusal()
}
