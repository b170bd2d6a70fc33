package datadir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
)

// Place is where the files of a running store are, and the lock of their directory.
//
// A process goes on writing to a file that was moved or removed, and the next start does not find those writes. So the open
// files are compared with the files that their names lead to:
//
//	each second          all of them
//	after each commit    the folder, which costs one stat; all of them when it is not as it was
//
// The comparison after a commit comes before its answer. While the names lead elsewhere nothing is acknowledged, and the
// agent is not ready. It goes on by itself once they lead to the open files again. It never opens others in their place,
// because the acknowledged events are in the open ones alone, and `db backup` still reads them. Outcomes go on being
// written to the open files, and files are neither made nor removed by name.
//
// Lock order: comparing before Naming. Methods may be called concurrently.
type Place struct {
	Dir     string
	log     *slog.Logger
	command string   // see LockDir
	held    *os.File // Dir: some file systems give a folder another inode once no process has it open
	home    fs.FileInfo

	Naming sync.RWMutex // held while a file takes the name of another; covers state
	state  fs.FileInfo  // of state.db

	comparing sync.Mutex // held while the files are compared with their names; covers Lock
	Lock      *os.File
	inbox     func() error // compares the files of the inbox; set before Watch and the first commit

	seen atomic.Pointer[dirStamp] // Dir when everything was last compared; nil: compare again
	lost atomic.Pointer[error]    // wraps ErrMoved; nil while all is where it belongs
}

const (
	// stampSettles is how old a change must be before the stamp is believed to show the next one. Clocks of file
	// systems move in steps of some milliseconds.
	stampSettles = 100 * time.Millisecond

	// compareEvery is how often everything is compared.
	compareEvery = time.Second
)

// MakeDir makes dir where it is missing, but nothing above it. A folder that is missing there is more often than not a
// disk that is not mounted yet, and data beside its mount point would be out of sight afterwards.
func MakeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	_, missing := os.Stat(dir)
	switch {
	case err == nil, missing == nil:
		return nil // LockDir says if anything else is wrong with it
	case !errors.Is(missing, fs.ErrNotExist):
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s does not exist: mount its disk, or make that folder", ErrNoPlace, filepath.Dir(dir))
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %s points to a folder that does not exist: mount its disk, or make that folder", ErrNoPlace, dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %s does not exist, and this user may not make it: mount its disk, or make it and give it to the agent's user",
			ErrNoPlace, dir)
	}
	return Roomless(fmt.Errorf("make the data directory: %w", err))
}

// OpenPlace makes dir if it is missing, and locks it for command, see LockDir.
func OpenPlace(dir, command string, log *slog.Logger) (*Place, error) {
	if err := MakeDir(dir); err != nil {
		return nil, err
	}
	lock, err := LockDir(dir, command)
	if err != nil {
		return nil, Roomless(err)
	}
	p := &Place{Dir: dir, log: log, command: command, Lock: lock}
	if p.held, err = os.Open(dir); err == nil {
		p.home, err = os.Stat(dir)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Close releases the directory.
func (p *Place) Close() error {
	var err error
	if p.held != nil {
		err = p.held.Close()
	}
	return errors.Join(err, boltfile.Unlock(p.Lock))
}

// OpenedState notes which file state.db is: the one that was just opened.
func (p *Place) OpenedState() (err error) {
	p.Naming.Lock()
	defer p.Naming.Unlock()
	p.state, err = os.Stat(filepath.Join(p.Dir, StateFile))
	return err
}

// ReplaceState renames the file at from to state.db, and calls renamed before any comparison sees it.
func (p *Place) ReplaceState(from string, renamed func(path string)) error {
	p.Naming.Lock()
	defer p.Naming.Unlock()
	path := filepath.Join(p.Dir, StateFile)
	if err := boltfile.IsStill(path, p.state); err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.Rename(from, path); err != nil {
		return err
	}
	p.state = info
	renamed(path)
	return nil
}

// SetInbox says how the files of the inbox are compared with their names.
func (p *Place) SetInbox(compare func() error) { p.inbox = compare }

// Refusal says why nothing is acknowledged; nil when all is where it belongs. It costs nothing.
func (p *Place) Refusal() error {
	if lost := p.lost.Load(); lost != nil {
		return *lost
	}
	return nil
}

// Check returns an error unless Dir is the folder that it was. It is asked before a file is made, removed or renamed by
// its name: another folder's files are not ours.
func (p *Place) Check() error { return boltfile.IsStill(p.Dir, p.home) }

// AfterCommit returns an error when a record that was just written is not where the next start looks for it.
func (p *Place) AfterCommit() error {
	now, err := stampOf(p.Dir)
	if seen := p.seen.Load(); err == nil && seen != nil && *seen == now && p.Refusal() == nil {
		return nil
	}
	return p.Compare()
}

// Watch compares everything each second until ctx ends.
func (p *Place) Watch(ctx context.Context) {
	tick := time.NewTicker(compareEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = p.Compare()
		case <-ctx.Done():
			return
		}
	}
}

// Compare compares all files with their names, logs when the answer is another than before, and returns it.
func (p *Place) Compare() error {
	p.comparing.Lock()
	defer p.comparing.Unlock()
	before, err := stampOf(p.Dir)
	if err == nil {
		err = p.compareFiles()
	} else {
		err = p.Check()
	}
	was := p.Refusal()
	p.seen.Store(nil)
	if err != nil {
		err = fmt.Errorf("%w: put it back where it was (`umount -l` where something is mounted over it), and the agent goes on; or %ssave the acknowledged events with `personasync db backup FILE`, "+
			"stop it, and `personasync db restore FILE`", err, p.wayIn())
		p.lost.Store(&err)
		if was == nil {
			p.log.Error("the data is not where it was: events are refused until it is", "data_dir", p.Dir, "reason", err)
		}
		return err
	}
	p.lost.Store(nil)
	if was != nil {
		p.log.Info("the data is where it was again: events are taken", "data_dir", p.Dir)
	}
	if changed := time.Unix(before.mtime.Unix()); time.Since(changed).Abs() > stampSettles {
		p.seen.Store(&before)
	}
	return nil
}

// wayIn says how commands reach the agent where its folder was removed, and its socket with it: the agent makes another
// socket in a folder of that name.
func (p *Place) wayIn() string {
	if _, err := os.Stat(p.Dir); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return fmt.Sprintf("`install -d -m 700 -o %d %s`, so that commands reach it, ", os.Getuid(), domain.ShellWord(p.Dir))
}

func (p *Place) compareFiles() error {
	if err := p.Check(); err != nil {
		return err
	}
	p.Naming.RLock()
	err := boltfile.IsStill(filepath.Join(p.Dir, StateFile), p.state)
	if err == nil {
		err = p.inbox()
	}
	p.Naming.RUnlock()
	if err != nil {
		return err
	}
	return p.keepLock()
}

// keepLock takes the lock of the directory again where its file was removed: without it a second agent could begin
// to start.
func (p *Place) keepLock() error {
	info, err := p.Lock.Stat()
	if err != nil {
		return fmt.Errorf("look at the lock: %w", err)
	}
	if boltfile.IsStill(filepath.Join(p.Dir, LockFile), info) == nil {
		return nil
	}
	lock, err := LockDir(p.Dir, p.command)
	if errors.Is(err, boltfile.ErrInUse) {
		return fmt.Errorf("%w: %w", boltfile.ErrMoved, err)
	}
	if err != nil {
		return nil // a disk that is full or read-only, which others say
	}
	p.log.Warn("the lock file was removed while the agent runs; it was made again", "file", filepath.Join(p.Dir, LockFile))
	p.Lock, lock = lock, p.Lock
	return boltfile.Unlock(lock)
}

// dirStamp is what a change of a folder changes.
type dirStamp struct {
	dev, ino     uint64
	mtime, ctime unix.Timespec
}

func stampOf(dir string) (dirStamp, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return dirStamp{}, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	return dirStamp{uint64(st.Dev), st.Ino, st.Mtim, st.Ctim}, nil
}
