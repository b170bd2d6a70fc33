package datadir

import (
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"personasync/store/internal/boltfile"
)

// Place is where the files of a running store are. Its methods work on a nil place, which is never left.
type Place struct {
	dir  string
	Held *os.File // dir

	Naming sync.RWMutex // held while a file takes the name of another; covers state
	State  fs.FileInfo  // of state.db
	Home   fs.FileInfo  // of dir

	Seen atomic.Pointer[dirStamp] // dir when everything was last compared; nil: compare again
	Lost atomic.Pointer[error]    // wraps ErrMoved; nil while all is where it belongs
}

// dirStamp is what a change of a folder changes.
type dirStamp struct {
	dev, ino     uint64
	Mtime, ctime unix.Timespec
}

func StampOf(dir string) (dirStamp, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return dirStamp{}, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	return dirStamp{uint64(st.Dev), st.Ino, st.Mtim, st.Ctim}, nil
}

// NewPlace holds dir open: some file systems give a folder another inode once nobody has it open.
func NewPlace(dir string) (*Place, error) {
	held, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	home, err := os.Stat(dir)
	if err != nil {
		held.Close()
		return nil, err
	}
	return &Place{dir: dir, Held: held, Home: home}, nil
}

// Refusal says why nothing is acknowledged; nil when all is where it belongs.
func (p *Place) Refusal() error {
	if p == nil {
		return nil
	}
	if lost := p.Lost.Load(); lost != nil {
		return *lost
	}
	return nil
}

// Check returns an error unless dir is the folder that it was. Who makes, removes or renames a file by its name
// asks first: what is there else is not ours.
func (p *Place) Check() error {
	if p == nil {
		return nil
	}
	return boltfile.IsStill(p.dir, p.Home)
}
